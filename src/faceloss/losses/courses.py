"""The course or the policy that belongs to a loss: the function ``course`` or ``policy`` of its file, if any."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType

from faceloss.search.courses import Course, constant
from faceloss.search.policy import Policy

SHOWN = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)  # progress at which a course is told in words


def of(module: ModuleType, values: Mapping[str, float | str]) -> Course:
    """The course that the file of a loss defines, at these values of all its hyperparameters; none: nothing moves.

    ``course(progress, *, ...)`` is given, by the names of its keywords, the hyperparameters that it asks for.

    Raises:
        TypeError: it asks for what is no hyperparameter of the loss.
    """
    rule: Callable[..., dict[str, float]] | None = getattr(module, "course", None)
    return constant if rule is None else partial(rule, **_asked(rule, "course", values))


def policy_of(module: ModuleType, values: Mapping[str, float | str], seed: int) -> Policy:
    """The policy that the file of a loss defines, at these values of all its hyperparameters; none: its course.

    ``policy(seed, *, ...)`` is given, by the names of its keywords, the hyperparameters that it asks for.

    Raises:
        TypeError: it asks for what is no hyperparameter of the loss.
    """
    rule: Callable[..., Policy] | None = getattr(module, "policy", None)
    return Policy(of(module, values)) if rule is None else rule(seed, **_asked(rule, "policy", values))


def _asked(rule: Callable[..., object], name: str, values: Mapping[str, float | str]) -> dict[str, float | str]:
    asked = list(inspect.signature(rule).parameters)[1:]
    strange = [keyword for keyword in asked if keyword not in values]
    if strange:
        raise TypeError(f"{name} asks for '{strange[0]}', which is none of its hyperparameters: {', '.join(values)}.")
    return {keyword: values[keyword] for keyword in asked}


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
