"""What a run needs of memory, by arithmetic and before anything is allocated."""

from typing import Any

import torch
from torch import Tensor, nn

from faceloss import losses, memory, nets
from faceloss.compare.study import BASELINE, Competitor, Study, parse_loss
from faceloss.errors import BadInput
from faceloss.losses.class_vectors import Sampled
from faceloss.losses.core import Loss
from faceloss.losses.scores import Blocks
from faceloss.losses.shards import holding, share
from faceloss.losses.spread import heads, keep, kept_whole
from faceloss.train.ranks import ONE, Ranks
from faceloss.train.settings import Recipe
from faceloss.train.state import resolve_device, resolve_precision


def refuse_what_cannot_fit(study: Study, classes: int, ranks: Ranks = ONE) -> None:
    """Refuse a study with a loss of which not even one run fits into the memory of this machine or its GPU.

    Of the processes of a run each holds its share of the class vectors, and all of what is not spread; those on one
    machine share its memory.

    Raises:
        BadInput: says which loss, with the arithmetic.
    """
    recipe, device = study.recipe, resolve_device(study.recipe.device)
    here = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else memory.available()
    here_too = 1 if device.type == "cuda" else ranks.neighbors  # processes that share the memory
    network = of_network(recipe) * here_too
    for specification in study.losses if study.single else (BASELINE, *study.losses):
        name, hyperparameters = parse_loss(specification)
        try:
            loss = _sketch(name, hyperparameters, recipe, classes, ranks)
        except Exception:  # what is wrong with it is said by who builds it
            continue
        parts = {name: size * here_too for name, size in of_loss(recipe, loss).items()}
        parts["network"] = network
        if sum(parts.values()) > here:
            raise BadInput(
                f"{specification} with {classes:,} classes x {recipe.dim} dimensions cannot be trained here: "
                f"{memory.sum_in_words(parts)}, and there are {memory.in_words(here)}; lower dim, give fewer classes, "
                "or try partial_fc, whose gradients are of a share of the classes."
            )


def not_spread(row: Competitor, recipe: Recipe, classes: int, ranks: Ranks) -> str:
    """A sentence on what each of several ``ranks`` holds for all classes; nothing where that is nothing."""
    try:
        names = kept_whole(_sketch(row.loss, row.hyperparameters, recipe, classes, ranks)) if ranks.size > 1 else []
    except Exception:  # somebody's code that needs values
        return ""
    if not names:
        return ""
    return (
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not spread: each of the {ranks.size} processes holds "
        f"all {classes:,} classes there. Results are those of one process; memory is not saved."
    )


def _sketch(name: str, hyperparameters: dict[str, Any], recipe: Recipe, classes: int, ranks: Ranks) -> Loss:
    """The loss without memory, as this process would hold it."""
    with holding(ranks.rank, ranks.size):
        loss = losses.sketch(name, dim=recipe.dim, classes=classes, **hyperparameters)
    for head in heads(loss):
        if ranks.size > 1 and head.shards is None:  # of a loss of somebody's own
            keep(head, share(head.classes, ranks.rank, ranks.size))
    return loss


def of_loss(recipe: Recipe, loss: Loss) -> dict[str, int]:
    """Bytes that the parts of ``loss`` need in a training step; ``loss`` may be one of :func:`losses.sketch`."""
    learnt = sum(parameter.nbytes for parameter in loss.parameters())
    sampled = {
        id(part.weight): _rate(part) for part in loss.modules() if isinstance(getattr(part, "weight", None), Tensor)
    }
    return {
        "class vectors": learnt,
        "their gradient": round(sum(p.nbytes * sampled.get(id(p), 1.0) for p in loss.parameters())),
        "moments of the optimizer": learnt * _moments(recipe),
        "memories of the loss": sum(buffer.nbytes for buffer in loss.buffers()),
        "logits": sum(_logits(recipe, loss, part) for part in loss.modules()),
    }


def of_network(recipe: Recipe) -> int:
    """Bytes that the network needs in a training step: weights, gradients, moments, and what its layers keep.

    The last is counted in a forward pass of two images.
    """
    net = nets.build(recipe.net, dim=recipe.dim, input_size=recipe.size, **recipe.net_options)
    weights = {parameter.data_ptr() for parameter in net.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    precision = resolve_precision(recipe.precision, torch.device("cpu"))
    with (
        torch.random.fork_rng(devices=[]),
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
    ):
        images = torch.zeros(2, 3, recipe.size, recipe.size).contiguous(memory_format=torch.channels_last)
        embeddings = net(images)
    assert embeddings.requires_grad
    size = sum(parameter.nbytes for parameter in net.parameters())
    return size * (2 + _moments(recipe)) + sum(kept.values()) * recipe.batch // 2


def _moments(recipe: Recipe) -> int:
    return 2 if recipe.optimizer == "adamw" else int(recipe.momentum > 0)


def _rate(part: nn.Module) -> float:
    """The share of the rows of a head that has a gradient in a step."""
    vectors = getattr(part, "vectors", None)
    return vectors.rate if isinstance(vectors, Sampled) else 1.0


def _logits(recipe: Recipe, loss: Loss, part: nn.Module) -> int:
    """What a head keeps of its matrix batch x classes, the gradient that is later written over it not taken off."""
    blocks = getattr(part, "blocks", None)
    if not isinstance(blocks, Blocks):
        return 0
    width = 2 if recipe.head_precision == "bf16" else 4
    held = getattr(part, "shards", None)
    classes = held.high - held.low if held else loss.classes
    whole = round(recipe.batch * classes * _rate(part)) * width
    return whole if whole <= blocks.keep else recipe.batch * blocks.classes * width
