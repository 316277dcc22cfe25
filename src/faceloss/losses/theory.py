"""What can be said about the losses before any training: bounds on scales and margins, in plain numbers.

Throughout, K classes have unit vectors w_j in d dimensions, a sample has the direction x, and p is the probability
that softmax at scale s gives to its own class. A bound holds for every placement of vectors and samples, so that a
scale below it cannot do what was asked, whatever the network learns.

The first three functions rest on one line. A sample at its own class vector has target logit s t, where t = psi(1) is
the target cosine 1 after the margin: t = 1 without one, 1 - m with CosFace, cos m with ArcFace. The other cosines
c_j = w_y.w_j are on average at least -1/(K-1), since 0 <= ||sum w||^2 = K + sum_{i != j} w_i.w_j, and exp is convex:

    mean over y of ln sum_{j != y} exp(s c_j) >= ln(K-1) - s/(K-1)

Equal where all cosines are -1/(K-1), the simplex, which needs K <= d + 1. Samples elsewhere gain nothing where the
margin takes the least at cosine 1, psi(c) <= c - (1 - t), as CosFace, ArcFace and SphereFace do (the proof is that of
NormFace's bound, with the mean of x over a class in place of w).
"""

import math


def least_scale(probability: float, classes: int, *, target: float = 1.0) -> float:
    """The smallest scale at which perfectly placed samples can reach ``probability``.

        s >= ln( P (K-1) / (1-P) ) / ( t + 1/(K-1) )

    With P above 1/K (below, no scale is needed: 0) and t = ``target`` = psi(1), see above; for t = 1 the denominator
    is K/(K-1), so the factor is (K-1)/K. With a margin P is the probability that the loss itself is made of.

    Beyond K = d + 1 there is no simplex. The bound stays one (its line holds in every dimension) but is not attained,
    and the best placement has no closed form. So it is left as it is: below it P is out of reach for certain, above it
    not certainly within reach. :func:`spread_scale` is enough there.

    Raises:
        ValueError: P not in (0, 1), fewer than 2 classes, or t not above -1/(K-1), where no scale helps.

    Source: for t = 1, Wang et al., "CosFace", CVPR 2018 (reviews print the factor inverted, K/(K-1)); t is ours.

    >>> round(least_scale(0.99, 10), 3), round(least_scale(0.9, 10_575), 2)
    (6.113, 11.46)
    """
    _check_probability(probability)
    _check_least("classes", classes, 2)
    gap = target + 1 / (classes - 1)
    if not gap > 0:
        raise ValueError(f"target must be above -1/(K-1) = {-1 / (classes - 1):.4g}; given {target:g}.")
    return max(0.0, _odds(probability, classes - 1)) / gap


def most_probability(scale: float, classes: int, *, target: float = 1.0) -> float:
    """The largest probability that all classes can have, as a geometric mean: the inverse of :func:`least_scale`.

        P <= 1 / ( 1 + (K-1) exp(-s (t + 1/(K-1))) )

    Raises:
        ValueError: s not above 0, fewer than 2 classes.

    >>> round(most_probability(6.113, 10), 3)
    0.99
    """
    _check_positive("scale", scale)
    _check_least("classes", classes, 2)
    return 1 / (1 + (classes - 1) * math.exp(-scale * (target + 1 / (classes - 1))))


def spread_scale(probability: float, classes: int, dim: int, *, target: float = 1.0) -> float:
    """A scale that is enough even if class vectors are merely spread at random; ``inf`` where none is shown to be.

        s = d ( t - sqrt( t^2 - 2 L / d ) ),  L = ln( P (K-1) / (1-P) )

    The cosine c of a fixed and a random direction has E exp(s c) <= exp(s^2 / (2d)), term by term in its series. Hence
    random class vectors give s t - ln((K-1) E exp(s c)) >= s t - s^2/(2d) - ln(K-1) nats on average over the classes,
    which is ln(P/(1-P)) at the s above; some placement is at least as good as the average one. It exists from
    d = 2 L / t^2 on: with CosFace's m = 0.35, P = 0.9999 and 10,000 classes from 88 dimensions on.

    Raises:
        ValueError: P not in (0, 1), fewer than 2 classes, d below 1, t not in (0, 1].

    Source: our derivation.

    >>> round(spread_scale(0.9999, 10_000, 512, target=0.65), 1), spread_scale(0.9999, 10_000, 64, target=0.65)
    (29.7, inf)
    """
    _check_probability(probability)
    _check_least("classes", classes, 2)
    _check_least("dim", dim, 1)
    if not 0 < target <= 1:
        raise ValueError(f"target must lie in (0, 1]; given {target:g}.")
    needed = max(0.0, _odds(probability, classes - 1))
    inside = target**2 - 2 * needed / dim
    return dim * (target - math.sqrt(inside)) if inside >= 0 else math.inf


def least_alpha(probability: float, classes: int) -> float:
    """L2-Softmax: the radius alpha of the sphere at which ``probability`` is reached, one class opposite.

        alpha = ln( P (K-2) / (1-P) )

    The picture behind it has one class vector opposite to the sample and K - 2 orthogonal to it, as 2d class vectors
    can be placed; the opposite one's exp(-alpha) is left out, which changes P by less than 2e-6 from K = 100 on.

    Raises:
        ValueError: P not in (0, 1), fewer than 3 classes, or so few that the logarithm is not above 0.

    Source: Ranjan, Castillo, Chellappa, "L2-constrained Softmax Loss", 2017.

    >>> round(least_alpha(0.9, 100), 2), round(least_alpha(0.9, 13_403), 2)
    (6.78, 11.7)
    """
    _check_probability(probability)
    _check_least("classes", classes, 3)
    alpha = _odds(probability, classes - 2)
    if alpha <= 0:
        raise ValueError(f"At P = {probability:g} and {classes} classes the bound is not above 0; give a larger P.")
    return alpha


def least_mean_loss(scale: float, classes: int) -> float:
    """NormFace: the softmax loss on cosines that no network gets below, where every class occurs equally often.

        mean loss >= ln( 1 + (K-1) exp(-s K/(K-1)) )

    Equal only at the simplex with every sample at its class vector. Without balance it fails: samples of one class
    alone can have any loss above 0.

    Raises:
        ValueError: s not above 0, fewer than 2 classes.

    Source: Wang et al., "NormFace", ACM MM 2017, proposition 2, which states no balance.

    >>> round(least_mean_loss(1.0, 10), 3), round(least_mean_loss(10.0, 10), 6)
    (1.377, 0.000134)
    """
    _check_positive("scale", scale)
    _check_least("classes", classes, 2)
    return math.log1p((classes - 1) * math.exp(-scale * classes / (classes - 1)))


def least_coco_alpha(loss: float, classes: int, *, balanced: bool = False) -> float:
    """CoCo: the scale alpha below which the loss cannot be as small as ``loss``.

        alpha > ln( (K-1) / (e^loss - 1) ) / 2              as cosines lie in [-1, 1]
        alpha > ln( (K-1) / (e^loss - 1) ) (K-1)/K          balanced, from :func:`least_mean_loss`

    The second is about twice the first. 0 where ``loss`` is no less than ln K, which every scale allows.

    Raises:
        ValueError: loss not above 0, fewer than 2 classes.

    Source: the first, Liu, Li, Wang, "Rethinking Feature Discrimination and Polymerization", 2017; the second is ours.

    >>> round(least_coco_alpha(1e-4, 10_575), 2), round(least_coco_alpha(1e-4, 10_575, balanced=True), 2)
    (9.24, 18.47)
    """
    _check_positive("loss", loss)
    _check_least("classes", classes, 2)
    factor = (classes - 1) / classes if balanced else 0.5
    return factor * max(0.0, math.log(classes - 1) - _log_expm1(loss))


def largest_cosine_margin(classes: int, dim: int) -> float:
    """CosFace: the largest margin m that all classes can keep, 1 - the smallest possible largest cosine.

        m <= K/(K-1)                 for K <= d + 1, attained by the simplex
        m <= 1 - cos(2 pi / K)       in the plane
        m <= 1                       for K >= d + 2, as then some cosine is at least 0; attained up to K = 2d
        m = 0                        on the line, for K >= 3

    Raises:
        ValueError: fewer than 2 classes, d below 1.

    Source: Wang et al., "CosFace", CVPR 2018, for the simplex and the plane; K >= d + 2 is Rankin, "The closest
    packing of spherical caps in n dimensions", 1955.

    >>> largest_cosine_margin(3, 2), largest_cosine_margin(10_575, 512)
    (1.5, 1.0)
    """
    _check_least("classes", classes, 2)
    _check_least("dim", dim, 1)
    if classes <= dim + 1:
        return classes / (classes - 1)
    if dim <= 2:
        return 1 - math.cos(2 * math.pi / classes) if dim == 2 else 0.0
    return 1.0


def welch_bound(classes: int, dim: int) -> float:
    """The largest absolute cosine among K unit vectors in d dimensions is at least this.

        max |c| >= sqrt( (K-d) / (d (K-1)) ),  0 where K <= d

    Raises:
        ValueError: fewer than 2 classes, d below 1.

    Source: Welch, "Lower bounds on the maximum cross correlation of signals", 1974.

    >>> round(welch_bound(10_575, 512), 3)
    0.043
    """
    _check_least("classes", classes, 2)
    _check_least("dim", dim, 1)
    return math.sqrt(max(0, classes - dim) / (dim * (classes - 1)))


def boundary_gap(between: float, m: float) -> float:
    """L-Softmax, two classes: the angle between the two decision boundaries.

        gap = A (m-1) / (m+1)

    A class's boundary is at m theta = A - theta, theta = A / (m+1) from its vector; A = ``between``, the angle between
    the vectors, in degrees. In A-Softmax it is the smallest angle between two classes.

    Raises:
        ValueError: A not in (0, 180], m below 1.

    Source: Liu et al., "Large-Margin Softmax Loss", ICML 2016.

    >>> round(boundary_gap(180.0, 2), 9)
    60.0
    """
    _check_angle(between)
    _check_least("m", m, 1)
    return between * (m - 1) / (m + 1)


def class_width(between: float, m: float) -> float:
    """A-Softmax, two classes: the largest angle within a class, A / (m-1) + A / (m+1).

    A / (m+1) towards the other class and A / (m-1), where m theta = A + theta, away from it.

    Raises:
        ValueError: A not in (0, 180], m not above 1.

    Source: Liu et al., "SphereFace", CVPR 2017.

    >>> round(class_width(40.0, 3.0), 9)
    30.0
    """
    _check_angle(between)
    if not 1 < m < math.inf:
        raise ValueError(f"m must be a finite number above 1; given {m:g}.")
    return between / (m - 1) + between / (m + 1)


def least_angle_factor(classes: int) -> float:
    """A-Softmax: the smallest m at which every class is narrower than the gap to the next.

        two classes   A/(m-1) + A/(m+1) <= A (m-1)/(m+1)  <=>  m^2 - 4m + 1 >= 0  <=>  m >= 2 + sqrt 3
        more          2A/(m+1) <= A (m-1)/(m+1)           <=>  m >= 3, class vectors spread evenly

    With more classes there are neighbors on all sides, so that a class reaches A/(m+1) both ways.

    Raises:
        ValueError: fewer than 2 classes.

    Source: Liu et al., "SphereFace", CVPR 2017, properties 2 and 3.

    >>> round(least_angle_factor(2), 3), least_angle_factor(10)
    (3.732, 3.0)
    """
    _check_least("classes", classes, 2)
    return 2 + math.sqrt(3) if classes == 2 else 3.0


def modulating_factor(a: float, p: float) -> float:
    """h(a, p) = 1 / (a p + 1 - a) = 1 / (1 - a (1-p)): in (0, 1], the factor by which a <= 0 lowers p.

    Raises:
        ValueError: a above 0, where h would raise the probability; p not in [0, 1].

    Source: Wang et al., "Loss Function Search for Face Recognition", ICML 2020.

    >>> modulating_factor(-1.0, 0.5), modulating_factor(0.0, 0.3), modulating_factor(-100.0, 1.0)
    (0.6666666666666666, 1.0, 1.0)
    """
    _check_a(a)
    if not 0 <= p <= 1:
        raise ValueError(f"p must lie in [0, 1]; given {p:g}.")
    return 1 / (1 - a * (1 - p))


def margin_from_a(a: float, scale: float) -> float:
    """The CosFace margin that equals the modulating factor of ``a`` at scale s: m = ln(1-a) / s.

    Raises:
        ValueError: a above 0, s not above 0.

    >>> round(margin_from_a(-10_000, 32), 4)
    0.2878
    """
    _check_a(a)
    _check_positive("scale", scale)
    return math.log1p(-a) / scale


def a_from_margin(margin: float, scale: float) -> float:
    """The inverse of :func:`margin_from_a`: a = 1 - e^(s m).

    Raises:
        ValueError: m below 0, s not above 0, or s m so large (above 709) that a is no float.

    >>> round(a_from_margin(0.35, 32))
    -73129
    """
    _check_positive("scale", scale)
    if not 0 <= margin <= 709 / scale:
        raise ValueError(f"margin must lie between 0 and 709/s = {709 / scale:g}; given {margin:g}.")
    return 0.0 - math.expm1(scale * margin)


def _odds(probability: float, others: int) -> float:
    """ln( P n / (1-P) )."""
    return math.log(probability) - math.log1p(-probability) + math.log(others)


def _log_expm1(x: float) -> float:
    """ln(e^x - 1), for large x too."""
    return x + math.log(-math.expm1(-x))


def _check_probability(probability: float) -> None:
    if not 0 < probability < 1:
        raise ValueError(f"probability must lie between 0 and 1, without both; given {probability:g}.")


def _check_least(name: str, value: float, low: float) -> None:
    if not low <= value < math.inf:
        raise ValueError(f"{name} must be a finite number of at least {low}; given {value:g}.")


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be a finite number above 0; given {value:g}.")


def _check_angle(between: float) -> None:
    if not 0 < between <= 180:
        raise ValueError(f"between must be an angle in (0, 180]; given {between:g}.")


def _check_a(a: float) -> None:
    if not -math.inf < a <= 0:
        raise ValueError(f"a must be a finite number of at most 0; given {a:g}.")
