"""Which difference a test could have shown: said before a verdict of "no difference found" is read as equality.

The paired test (:func:`faceloss.evaluate.statistics.paired_difference`) claims a difference d when
|d| > t_(1 - a/2, v) E, with E its standard error and v its degrees of freedom. A true difference D is claimed with
probability of about P when

    D = (t_(1 - a/2, v) + t_(P, v)) E

a is 0.05, divided by the number of comparisons: what Holm asks of the smallest p, hence of a single true difference
among equals.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit  # type: ignore[import-untyped]

from faceloss.errors import BadInput
from faceloss.evaluate.statistics import SIGNIFICANCE, Difference, paired_difference

POWER = 0.8


def detectable(found: Difference, comparisons: int = 1, power: float = POWER) -> float:
    """The smallest true difference that the test behind ``found`` shows with probability ``power``.

    Infinite where nothing can be shown: one subject, so no standard error.
    """
    if comparisons < 1 or not 0.5 <= power < 1:
        raise BadInput(f"Power {power} over {comparisons} comparisons is not possible; give 0.5 to 1 and at least one.")
    if not np.isfinite([found.error, found.freedom]).all():
        return float("inf")
    reach = stdtrit(found.freedom, 1 - SIGNIFICANCE / comparisons / 2) + stdtrit(found.freedom, power)
    return float(reach * found.error)


def detectable_between(
    values_a: ArrayLike, values_b: ArrayLike, influences_a: ArrayLike, influences_b: ArrayLike, comparisons: int = 1
) -> float:
    """The same from values [R] and influences [R,S], before anything is compared: of two seeds of one loss, say."""
    return detectable(paired_difference(values_a, values_b, influences_a, influences_b), comparisons)
