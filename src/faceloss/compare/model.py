"""A trained network from its file and its preprocessing contract, ready to embed faces for any protocol."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from faceloss import losses, nets
from faceloss.compare.judge import Embed
from faceloss.compare.looks import test_digest
from faceloss.data.decode import PREPROCESSING
from faceloss.data.faces import Faces, PairList
from faceloss.data.pairs import load_test
from faceloss.errors import BadInput, FacelossError
from faceloss.progress import Callback
from faceloss.train import checkpoint
from faceloss.train.loop import embed
from faceloss.train.settings import Recipe
from faceloss.train.state import resolve_device

INPUT = "RGB, (value - 127.5) / 127.5"
CONTRACT = ("net", "net_options", "dim", "projection", "size", "preprocessing", "input", "flip_test", "trained_with")


class Model(NamedTuple):
    """``embedder`` maps crops [N,size,size,3] uint8 to what is compared, [N,D] float32."""

    embedder: Embed
    size: int
    contract: dict[str, Any]


def load_model(path: Path) -> Model:
    """The network of a run, as :func:`faceloss.compare.run.execute` saved it.

    ``path`` is the run's folder, its ``model.json``, or its ``model-*.safetensors`` with the JSON beside it.

    Raises:
        BadInput: no model there; a contract that is incomplete, or of another preprocessing than this version's;
            tensors that are not those of the network it names.
        CouldNotFinish: a file is missing or was changed.
    """
    folder = path if path.is_dir() else path.parent
    saved = checkpoint.load(folder, "model")
    if saved is None:
        raise BadInput(f"{folder} holds no model.json; give the folder of a run, RUNS/runs/NAME, or its model file.")
    tensors, contract = saved
    missing = [name for name in CONTRACT if name not in contract]
    if missing:
        raise BadInput(
            f"{folder / 'model.json'} lacks {', '.join(missing)}, so it is not known what the network expects."
        )
    for name, ours in (("preprocessing", PREPROCESSING), ("input", INPUT)):
        if contract[name] != ours:
            raise BadInput(
                f"The network was trained with {name} '{contract[name]}', this version does '{ours}': its embeddings "
                "would be wrong; use the version that trained it."
            )
    try:
        recipe = Recipe(
            net=contract["net"], net_options=contract["net_options"], dim=contract["dim"], size=contract["size"],
            flip_test=contract["flip_test"],
        )  # fmt: skip
        net = nets.build(recipe.net, dim=recipe.dim, input_size=recipe.size, **recipe.net_options)
        own = {name: tensor for name, tensor in tensors.items() if not name.startswith("projection.")}
        net.load_state_dict(own)
        project = _projection(tensors, contract)
    except FacelossError:
        raise
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        first = str(error).splitlines()[0]
        raise BadInput(
            f"The tensors in {folder} are not those of the network that its contract names ({first})."
        ) from None
    device = resolve_device(recipe.device)
    net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if project is not None:
        project = project.to(device)

    def embedder(pixels: Any) -> NDArray[np.float32]:
        return embed(net, pixels, recipe) if project is None else embed(net, pixels, recipe, project=project)

    return Model(embedder, recipe.size, contract)


def _projection(tensors: dict[str, torch.Tensor], contract: dict[str, Any]) -> torch.nn.Module | None:
    """The map after the net, where the loss that it was trained with has one."""
    if contract["projection"] is None:
        return None
    about = contract["trained_with"]
    loss = losses.build(about["loss"], dim=contract["dim"], classes=2, **about["hyperparameters"])
    if loss.project is None:
        raise BadInput(f"The contract names a projection, but the loss {about['loss']} has none.")
    loss.project.load_state_dict(
        {name.removeprefix("projection."): t for name, t in tensors.items() if name.startswith("projection.")}
    )
    return loss.project


def embedded(
    model: Model, data: str, images: Path | None = None, progress: Callback | None = None
) -> tuple[dict[str, NDArray[Any]], str]:
    """What a protocol takes: the arrays of ``data``, embedded by ``model``, and the digest of the test.

    ``data`` is what ``faceloss compare --test`` takes: a labelled set of faces, or a list of pairs (then with
    ``images``). The arrays are ``embeddings``, ``identities`` and ``groups`` where they are known, and ``pairs``.
    """
    loaded = load_test(data, images=images, size=model.size, progress=progress)
    faces: Faces = loaded.faces if isinstance(loaded, PairList) else loaded
    rows = []
    for start in range(0, len(faces), 1024):
        chosen = np.arange(start, min(start + 1024, len(faces)))  # a copy: the cache is read-only
        rows.append(model.embedder(faces.pixels[chosen]))
        if progress is not None:
            progress("embedding", min(start + 1024, len(faces)), len(faces))
    arrays: dict[str, NDArray[Any]] = {"embeddings": np.concatenate(rows)}
    if "" not in faces.identities:
        arrays["identities"] = np.array(faces.identities)[faces.labels]
    if len(set(faces.groups) - {""}) > 1:
        arrays["groups"] = np.array(faces.groups)
    if isinstance(loaded, PairList):
        arrays["pairs"] = np.stack([loaded.first, loaded.second, loaded.same, loaded.fold], axis=1).astype(np.int64)
    return arrays, test_digest(faces, loaded if isinstance(loaded, PairList) else None)
