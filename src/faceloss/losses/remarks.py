"""What a person should know before training a loss: sentences on what cannot work as meant."""

from collections.abc import Callable

from faceloss.losses import scale
from faceloss.losses.core import Loss


def remarks(loss: Loss, steps: int) -> tuple[str, ...]:
    """Sentences about a training of ``loss`` for ``steps`` steps; none where nothing is suspicious.

    On the scale (:mod:`faceloss.losses.scale`), and what the parts of the loss say for themselves: a part may define
    ``remark(steps) -> str``, "" for nothing.
    """
    parts: list[Callable[[int], str] | None] = [getattr(module, "remark", None) for module in loss.modules()]
    sentences = [scale.remark(loss), *(remark(steps) for remark in parts if remark is not None)]
    return tuple(sentence for sentence in sentences if sentence)
