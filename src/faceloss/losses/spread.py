"""Spread the class vectors of a loss over processes, see :mod:`faceloss.losses.shards`."""

from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from faceloss.losses.binary import BinaryHead
from faceloss.losses.class_vectors import by_class
from faceloss.losses.core import Loss
from faceloss.losses.heads import ClassHead
from faceloss.losses.operations import normalize
from faceloss.losses.shards import Shards, share

L = TypeVar("L", bound=Loss)


def spread(loss: L, group: dist.ProcessGroup | None = None) -> L:
    """``loss`` itself, of whose learnt class vectors this process holds its share from now on.

    All processes of ``group`` must have built the same loss, and must give it the same whole batch in each step. What
    is not a table of learnt class vectors (centers, memories, learnt margins) stays whole on each of them:
    :func:`kept_whole`. A loss built within :func:`faceloss.losses.shards.holding` has no other rows and stays as it is.

    Raises:
        BadInput: fewer classes than processes.
    """
    for head in (head for head in heads(loss) if head.shards is None):
        keep(head, share(head.classes, dist.get_rank(group), dist.get_world_size(group), group))
    return loss


def keep(head: ClassHead | BinaryHead, held: Shards) -> None:
    """Leave to ``head`` the rows of the classes ``held``."""
    head.shards = held
    assert head.weight is not None
    each = len(head.weight) // head.classes
    with torch.no_grad():
        head.weight = nn.Parameter(head.weight[held.low * each : held.high * each].clone())
        if isinstance(head, ClassHead) and head.bias is not None:
            head.bias = nn.Parameter(head.bias[held.low : held.high].clone())


def heads(loss: nn.Module) -> list[ClassHead | BinaryHead]:
    """The parts of ``loss`` whose class vectors can be spread: learnt ones, all, a sample, or several to a class."""
    return [
        part
        for part in loss.modules()
        if isinstance(part, ClassHead | BinaryHead) and part.weight is not None and by_class(part.vectors)
    ]


def class_parameters(loss: nn.Module) -> dict[str, Shards]:
    """The names of the parameters that can be spread -> of which classes this process holds them; all, unless spread.

    A class may have several rows of such a parameter; they are held together.
    """
    found, parts = {}, heads(loss)
    for prefix, part in loss.named_modules():
        if isinstance(part, ClassHead | BinaryHead) and part in parts:
            held = part.shards or Shards(0, part.classes, part.classes)
            found[f"{prefix}.weight" if prefix else "weight"] = held
            if isinstance(part, ClassHead) and part.bias is not None:
                found[f"{prefix}.bias" if prefix else "bias"] = held
    return found


@torch.no_grad()
def class_rows(loss: nn.Module, classes: Tensor) -> Tensor | None:
    """The learnt class vectors of ``classes`` [k], as the first head of ``loss`` uses them: [k,D], float32.

    Of length 1 where they count as directions. None where a class has no row of its own, or several. Where the rows
    are spread, all processes must ask, and all get the same.
    """
    found = [part for part in loss.modules() if isinstance(part, ClassHead | BinaryHead)]
    if not found or found[0].weight is None:
        return None
    head, weight = found[0], found[0].weight
    shards = head.shards or Shards(0, head.classes, head.classes)
    if len(weight) != shards.high - shards.low:
        return None
    column = shards.column(classes.to(weight.device))
    rows = torch.where((column >= 0).unsqueeze(1), weight[column.clamp_min(0)].float(), 0.0)  # [k,D]
    rows = rows if head.shards is None else shards.sum(rows)
    return normalize(rows) if isinstance(head, BinaryHead) or head.unit_classes else rows


def kept_whole(loss: Loss) -> list[str]:
    """The names of what ``loss`` keeps for each class and every process has for all classes; their copies are alike."""
    some = {*class_parameters(loss), *(f"project.{name}" for name in (loss.project or nn.Module()).state_dict())}
    named = {**dict(loss.named_parameters()), **dict(loss.named_buffers())}
    each = [name for name, tensor in named.items() if tensor.shape[:1] == (loss.classes,)]
    return [name for name in each if name not in some and not name.endswith("clock")]
