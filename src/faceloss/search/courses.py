"""Courses: how hyperparameters of a loss move while it trains, without looking at what it learns.

A course is a pure function of the progress of a training, the share of its steps that are done, 0 <= progress < 1. It
gives the values of the hyperparameters that it moves, by name. As it holds no state, a training that was interrupted
continues to the bit, and as it counts shares and not steps, trainings of any length go through the same values.
"""

from collections.abc import Callable

Course = Callable[[float], dict[str, float]]


def constant(progress: float) -> dict[str, float]:
    """The course that moves nothing."""
    return {}


def rise(progress: float, *, over: float) -> float:
    """From 0 to 1 in a straight line over the first share ``over`` of the training, then 1; with ``over`` 0 always 1.

    >>> [rise(progress, over=0.5) for progress in (0.0, 0.25, 0.75)]
    [0.0, 0.5, 1.0]
    """
    return 1.0 if progress >= over else progress / over


def fall(progress: float, *, start: float, speed: float, power: float) -> float:
    """``start`` (1 + ``speed`` progress)^-``power``: how L-Softmax and A-Softmax lower the weight of the plain cosine.

    >>> fall(0.5, start=1000.0, speed=2.0, power=3.0)
    125.0
    """
    return start / float((1 + speed * progress) ** power)
