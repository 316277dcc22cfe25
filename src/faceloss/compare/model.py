"""A trained network as files with its preprocessing contract: handing it over, and embedding faces with it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from faceloss import nets
from faceloss.compare.contracts import like_the_model
from faceloss.compare.judge import Embed
from faceloss.compare.looks import test_digest
from faceloss.compare.robustness import probes
from faceloss.compare.run import summary_of
from faceloss.data.corrupt import corruptions_of
from faceloss.data.decode import PREPROCESSING
from faceloss.data.faces import Faces, PairList
from faceloss.data.pairs import load_test
from faceloss.errors import BadInput, CouldNotFinish, FacelossError
from faceloss.files import write_atomically
from faceloss.losses.projection import Projection
from faceloss.progress import Callback
from faceloss.train import checkpoint
from faceloss.train.loop import Pixels, embed
from faceloss.train.settings import Recipe
from faceloss.train.state import resolve_device

NAME = "model"
INPUT = "RGB, (value - 127.5) / 127.5"
CONTRACT = ("net", "net_options", "dim", "projection", "size", "preprocessing", "input", "flip_test", "trained_with")


class Model(NamedTuple):
    """``embedder`` maps crops [N,size,size,3] uint8 to what is compared, [N,D] float32."""

    embedder: Embed
    size: int
    contract: dict[str, Any]


def hand_over(out: Path) -> tuple[Path, Path]:
    """Copy the model of the only run in ``out`` to ``out/model.safetensors`` and ``out/model.json``.

    Raises:
        CouldNotFinish: the run ended without a network that can be used; says how.
    """
    (planned,) = json.loads((out / "plan.json").read_text())["runs"]
    folder = out / "runs" / planned["folder"]
    record = next(row for row in json.loads((folder / "result.json").read_text()) if row["kind"] == "run")
    if record["status"] != "finished":
        reason = record["reason"].partition(";")[0]  # without the files of the batch
        raise CouldNotFinish(
            f"{record['label']} {record['status']} ({reason}), so there is no model to hand over; train into "
            "another --out with other settings, e.g. a lower learning rate (--set learning_rate=...), a smaller margin "
            "or scale, or more epochs."
        )
    document = json.loads((folder / f"{NAME}.json").read_text())
    ((file, digest),) = document["files"].items()
    tensors, contract = out / f"{NAME}.safetensors", out / f"{NAME}.json"
    write_atomically(tensors, (folder / file).read_bytes())
    document["files"] = {tensors.name: digest}
    write_atomically(contract, json.dumps(document, indent=1, sort_keys=True).encode())
    return tensors, contract


def load(folder: str | Path, device: str = "auto") -> Callable[[Pixels], NDArray[np.float32]]:
    """The trained network of a folder with ``model.json``: crops [N,H,W,3] uint8 RGB -> embeddings [N,dim].

    Crops are square, of the side ``size`` that ``model.json`` names, and framed as those it was trained on. An
    embedding is that of the crop and its mirror image, where the contract says ``flip_test``, through the projection of
    the loss, where it has one; embeddings are compared by their cosine. Raises as :func:`load_model`.
    """
    model = load_model(Path(folder), device, "fp32")

    def embeddings(crops: Pixels) -> NDArray[np.float32]:
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (model.size, model.size, 3):
            raise BadInput(
                f"Crops must be uint8 [N, {model.size}, {model.size}, 3]; given {crops.dtype} {list(crops.shape)}."
            )
        return model.embedder(crops)

    return embeddings


def load_model(path: Path, device: str = "auto", precision: Literal["auto", "fp32", "bf16"] = "auto") -> Model:
    """The network of a run, as :func:`faceloss.compare.run.execute` saved it.

    ``path`` is the run's folder, its ``model.json``, or its ``model-*.safetensors`` with the JSON beside it.

    Raises:
        BadInput: no model there; a contract that is incomplete, or of another preprocessing than this version's;
            tensors that are not those of the network it names.
        CouldNotFinish: a file is missing or was changed.
    """
    folder = path.parent if path.is_file() else path
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
            flip_test=contract["flip_test"], device=device, precision=precision,
        )  # fmt: skip
        net = nets.build(recipe.net, dim=recipe.dim, input_size=recipe.size, **recipe.net_options)
        own = {name: tensor for name, tensor in tensors.items() if not name.startswith("projection.")}
        net.load_state_dict(own)
        project = _projection(contract, tensors)
    except FacelossError:
        raise
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        first = str(error).splitlines()[0]
        raise BadInput(
            f"The tensors in {folder} are not those of the network that its contract names ({first})."
        ) from None
    place = resolve_device(recipe.device)
    net = net.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    project = project.to(place)

    def embedder(pixels: Pixels) -> NDArray[np.float32]:
        return embed(net, pixels, recipe, project=project)

    return Model(embedder, recipe.size, contract)


def _projection(facts: dict[str, Any], tensors: dict[str, Tensor]) -> nn.Module:
    if facts["projection"] is None:
        return nn.Identity()
    if facts["projection"]["does"] != summary_of(Projection):
        raise BadInput(
            f"The embeddings of this model go through a projection of its loss {facts['trained_with']['loss']} "
            f"({facts['projection']['does']}), which only the code of that loss can apply."
        )
    weight = tensors["projection.weight"]
    project = Projection(weight.shape[1], weight.shape[0])
    project.load_state_dict({"weight": weight})
    return project


@dataclass(frozen=True)
class Corrupted:
    """The embeddings [N,D] of ``faces`` under each of the conditions; one is in memory at a time."""

    model: Model
    faces: Faces
    conditions: Sequence[tuple[str, int]]

    def __len__(self) -> int:
        return len(self.conditions)

    def __getitem__(self, number: int) -> NDArray[np.float32]:
        return probes(self.model.embedder, self.faces, *self.conditions[number])


def embedded(
    model: Model,
    data: str,
    images: Path | None = None,
    progress: Callback | None = None,
    conditions: Sequence[tuple[str, int]] = (),
    *,
    any_contract: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
) -> tuple[dict[str, NDArray[Any]], str]:
    """What a protocol takes: the arrays of ``data``, embedded by ``model``, and the digest of the test.

    ``data`` is what ``faceloss compare --test`` takes: a labelled set of faces, or a list of pairs (then with
    ``images``). The arrays are ``embeddings``, ``identities`` and ``groups`` where they are known, and ``pairs``; with
    ``conditions``, corruptions and levels, also ``conditions`` and ``corrupted``, which is embedded when asked for.
    ``say`` is told where it is not known that both were prepared alike.

    Raises:
        BadInput: ``data`` cannot be used, or was prepared otherwise than the faces that the model was trained on, and
            it was not said that this shall be (``any_contract``).
    """
    for name, _ in conditions:
        corruptions_of(name)  # refused before minutes of work
    loaded = load_test(data, images=images, size=model.size, progress=progress)
    faces: Faces = loaded.faces if isinstance(loaded, PairList) else loaded
    if sentence := like_the_model(data, faces, model.contract.get("faces"), any_contract):
        say(f"note: {sentence}")
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
    if conditions:
        arrays["conditions"] = np.array([f"{name} {level}" for name, level in conditions])
        arrays["corrupted"] = cast(Any, Corrupted(model, faces, conditions))
    return arrays, test_digest(faces, loaded if isinstance(loaded, PairList) else None)
