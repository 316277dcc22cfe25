"""Floating-point operations of an embedding and of a training step: a cost that is the same on every machine.

Counted are the multiplications and additions (2 for each pair) of convolutions, matrix products and direct distances,
by the formulas of torch.utils.flop_counter; what is done element by element (normalization, activation, exp) is not. A
copy of the network is run on two images and the loss on one random batch, forward and backward: a miner or a sampled
class costs what it does there.
"""

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from faceloss import losses
from faceloss.compare.study import Competitor, Study
from faceloss.train.settings import Recipe, identity_balanced

WHOLE = 2**22  # numbers in the class vectors up to which a head is counted as it is
aten = torch.ops.aten


class Flops(NamedTuple):
    image: int  # forward pass of the network, one image
    net_step: int  # forward and backward pass of the network, one batch
    head_step: int | None  # of the loss with its class vectors; None where its code raises an error
    batch: int


def count(net: nn.Module, row: Competitor, recipe: Recipe, classes: int) -> Flops:
    """What ``net`` and the loss of ``row`` with ``classes`` cost; neither is changed.

    The optimizer's step, a mirror image at test time and the candidates of a search are not in it.
    """
    batch = recipe.batch
    if identity_balanced(row.batches):
        batch = recipe.identities_per_batch * recipe.images_per_identity
    own = copy.deepcopy(net)
    crops = torch.zeros(2, 3, recipe.size, recipe.size, device=next(own.parameters()).device)
    with torch.no_grad():
        image = counted(lambda: own.eval()(crops)) // 2
    step = counted(lambda: own.train()(crops).sum().backward()) * batch // 2
    try:
        head: int | None = _head(row, recipe, classes, batch)
    except Exception:  # the loss is somebody's own code; that it failed is told by its run
        head = None
    return Flops(image, step, head, batch)


_known: dict[tuple[str, str, int], Flops] = {}


def count_once(net: nn.Module, row: Competitor, study: Study, classes: int) -> Flops:
    """:func:`count` of a row of ``study``, done once in a process: the seeds of a row all cost the same."""
    key = (repr(row), study.model_dump_json(), classes)  # a study names the source of losses that are files
    if key not in _known:
        _known[key] = count(net, row, study.recipe, classes)
    return _known[key]


def _head(row: Competitor, recipe: Recipe, classes: int, batch: int) -> int:
    """Of a loss with many classes by the straight line through two smaller numbers of them."""
    most = max(WHOLE // recipe.dim, 2 * batch)
    if classes <= most:
        return _head_of(row, recipe, classes, batch)
    half, whole = (_head_of(row, recipe, number, batch) for number in (most // 2, most))
    return round(whole + (whole - half) * (classes - most) / (most - most // 2))


def _head_of(row: Competitor, recipe: Recipe, classes: int, batch: int) -> int:
    loss = losses.build(row.loss, dim=recipe.dim, classes=classes, seed=0, **row.hyperparameters)
    embeddings = torch.randn(batch, recipe.dim, generator=torch.Generator().manual_seed(0)).requires_grad_()
    each = recipe.images_per_identity if identity_balanced(row.batches) else 1
    labels = torch.arange(batch) // each % classes
    loss.key(0, 0)
    return counted(lambda: loss(embeddings, labels).loss.backward())


def counted(call: Callable[[], Any]) -> int:
    """The operations of ``call``, which must not run in inference mode: there products are not taken apart."""
    counter = _Counter()  # type: ignore[no-untyped-call]
    with counter:
        call()
    return int(counter.total)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what torch.utils.flop_counter.FlopCounterMode does, without its import of the compiler (a second)."""

    total = 0

    def __torch_dispatch__(self, function: Any, types: Any, given: tuple[Any, ...] = (), named: Any = None) -> Any:
        out = function(*given, **(named or {}))
        own, formula = (table.get(function._overloadpacket) for table in (OWN, flop_registry))
        if own is not None:
            self.total += own(*given)
        elif formula is not None:
            self.total += formula(*given, **(named or {}), out_val=out)
        return out

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


def _convolution_back(gradient: Tensor, _: Tensor, weight: Tensor, *rest: Any) -> int:
    """For the input and for the weights, where they are wanted, as many as forward."""
    wanted: tuple[bool, bool, bool] = rest[-1]
    return 2 * math.prod(gradient.shape) * math.prod(weight.shape[1:]) * sum(wanted[:2])


def _matrix(_: Tensor, a: Tensor, b: Tensor, *__: Any) -> int:
    return 2 * len(a) * math.prod(b.shape)


def _vector(a: Tensor, _: Tensor) -> int:
    return 2 * a.numel()


def _distances(a: Tensor, b: Tensor, *_: Any) -> int:
    """Direct distances of a [n,k] and b [m,k]: subtraction, square, sum."""
    return 3 * len(a) * b.numel()


# What torch has no formula for, and one that counts too high where a convolution has groups.
OWN: dict[Any, Callable[..., int]] = {
    aten.convolution_backward: _convolution_back,
    aten.addmm_: _matrix,
    aten.mv: _vector,
    aten._cdist_forward: _distances,
    aten._cdist_backward: lambda _, a, b, *rest: _distances(a, b),
}
