"""What a training for its own sake hands over: OUT/model.safetensors and its contract OUT/model.json, and their use."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from faceloss import nets
from faceloss.compare.run import summary_of
from faceloss.errors import BadInput, CouldNotFinish
from faceloss.files import write_atomically
from faceloss.losses.projection import Projection
from faceloss.train import checkpoint
from faceloss.train.loop import Pixels, embed
from faceloss.train.settings import Recipe
from faceloss.train.state import resolve_device

NAME = "model"


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
    the loss, where it has one; embeddings are compared by their cosine.

    Raises:
        BadInput: no model there, or one that only the code of its loss can apply.
        CouldNotFinish: its files were changed.
    """
    found = checkpoint.load(Path(folder), NAME)
    if found is None:
        raise BadInput(f"{folder} holds no {NAME}.json; give the folder that `faceloss train --out` wrote.")
    tensors, facts = found
    net = nets.build(facts["net"], dim=facts["dim"], input_size=facts["size"], **facts["net_options"])
    net.load_state_dict({name: value for name, value in tensors.items() if not name.startswith("projection.")})
    place, side = resolve_device(device), facts["size"]
    net, project = net.to(place), _projection(facts, tensors)
    recipe = Recipe(dim=facts["dim"], size=side, flip_test=facts["flip_test"], device=str(place), precision="fp32")

    def embeddings(crops: Pixels) -> NDArray[np.float32]:
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (side, side, 3):
            raise BadInput(f"Crops must be uint8 [N, {side}, {side}, 3]; given {crops.dtype} {list(crops.shape)}.")
        return embed(net, crops, recipe, project=project.to(place))

    return embeddings


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
