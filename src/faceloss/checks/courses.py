"""Checks of the course of a loss, the hyperparameters that its file moves while it trains."""

import math

from faceloss.checks.case import Case, must
from faceloss.search.courses import Course

PROGRESS = (*(step / 200 for step in range(200)), math.nextafter(1.0, 0.0), 1.0)
TOLERANCE = 1e-3


def course_is_sound(case: Case) -> None:
    """A course moves what there is, within its range, ends where the loss was built, and remembers nothing."""
    loss = case.loss()
    course = case.course
    ends = {name: float(value) for name, value in loss.hyperparameters().items()}
    first = [_at(course, progress) for progress in PROGRESS]
    moved = set(first[0])
    for progress, values in zip(PROGRESS, first, strict=True):
        must(set(values) == moved, f"the course names {sorted(moved)} at the start and {sorted(values)} at {progress}")
        try:
            loss.set_hyperparameters(values)
        except (TypeError, ValueError) as error:
            raise AssertionError(f"after {progress:.3f} of the training the course is refused: {error}") from error
    for name in moved:
        must(
            math.isclose(first[-1][name], ends[name], rel_tol=TOLERANCE, abs_tol=TOLERANCE),
            f"the course ends at {name} = {first[-1][name]:g}, but the loss was built with {ends[name]:g}",
        )
    again = [_at(course, progress) for progress in reversed(PROGRESS)][::-1]
    must(first == again, "asked once more, the course gives other values: it must depend on the progress alone")
    said = bool(case.description.course)
    must(said or not moved, "the file has a course; say in words, after 'Course:', what it does and why")
    must(moved or not said, "'Course:' tells of a course, and the file defines none")


def _at(course: Course, progress: float) -> dict[str, float]:
    values = course(progress)
    must(isinstance(values, dict), f"course returned {type(values).__name__}, not a dict of numbers by name")
    return values
