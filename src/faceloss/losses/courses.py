"""The course that belongs to a loss: the function ``course`` of its file, if it has one."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType

from faceloss.search.courses import Course, constant

SHOWN = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)  # progress at which a course is told in words


def of(module: ModuleType, values: Mapping[str, float | str]) -> Course:
    """The course that the file of a loss defines, at these values of all its hyperparameters; none: nothing moves.

    ``course(progress, *, ...)`` is given, by the names of its keywords, the hyperparameters that it asks for.

    Raises:
        TypeError: it asks for what is no hyperparameter of the loss.
    """
    rule: Callable[..., dict[str, float]] | None = getattr(module, "course", None)
    if rule is None:
        return constant
    asked = list(inspect.signature(rule).parameters)[1:]
    strange = [name for name in asked if name not in values]
    if strange:
        raise TypeError(f"course asks for '{strange[0]}', which is none of its hyperparameters: {', '.join(values)}.")
    return partial(rule, **{name: values[name] for name in asked})


def in_words(course: Course) -> str:
    """The values that a course goes through, "" where nothing moves.

    >>> in_words(lambda progress: {"m": 0.5 * progress})
    'm = 0, 0.025, 0.05, 0.125, 0.25, 0.375, 0.5 after 0, 5, 10, 25, 50, 75, 100 % of the training'
    """
    points = [course(progress) for progress in SHOWN]
    moving = [name for name in points[0] if len({point[name] for point in points}) > 1]
    rows = [f"{name} = {', '.join(f'{point[name]:.4g}' for point in points)}" for name in moving]
    shares = ", ".join(f"{100 * progress:g}" for progress in SHOWN)
    return f"{'; '.join(rows)} after {shares} % of the training" if rows else ""
