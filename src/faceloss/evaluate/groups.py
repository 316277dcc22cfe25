"""Groups of people or images: error rates of each at ONE global threshold, and whether groups differ.

The threshold is the smallest number at which at most a share f of *all* impostor pairs is accepted (ISO/IEC 19795-10).

    FMR(g,h) = share of the impostor pairs between groups g and h with score >= t        a matrix; g = h within a group
    FNMR(g)  = share of the genuine pairs within g with score < t

Influence of subject s on FMR(g,h): its accepted minus expected pairs of that cell, over all pairs of the cell, minus
(dFMR(g,h) / dFAR) times its influence on the FAR, since the threshold is estimated from the same people. So differences
between groups, and between two networks on the same people, are paired by subject.

Largest over smallest rate is at least 1 even where all groups are equal, because the data choose which two are
compared. Whether a group differs is therefore asked of each group against the mean of the others, with Holm's
adjustment over the groups.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceloss.errors import BadInput
from faceloss.evaluate.cells import MEASURED, NOT_MEASURABLE, Progress, Unit, codes, unit
from faceloss.evaluate.metrics import EXPECTED_ERRORS, Floats, allowed_errors, measurable
from faceloss.evaluate.pairing import Cells, Compared, count_pairs
from faceloss.evaluate.statistics import (
    LEVEL,
    SEEDS_FOR_A_CLAIM,
    holm,
    impostor_scale,
    paired_difference,
    subject_wilson,
    sums,
    vector_variance,
    verdict,
)
from faceloss.evaluate.stream import above, largest

FARS = (1e-3, 1e-2, 1e-1)
MOST_GROUPS = 32
ACCURACY = "accuracy"  # the one metric here of which more is better


class GroupRate(NamedTuple):
    """One number about one group, or about two."""

    metric: str  # fmr | fnmr | accuracy | and of each: "to the others" | "gap" | "ratio"
    group: str
    other: str  # the second group of a cross-group rate; the best group of a gap or ratio; else ""
    at: float | None  # the global FAR; an accuracy has none
    threshold: float | None
    attained: float | None  # attained global FAR
    value: float | None
    low: float | None
    high: float | None
    errors: int | None
    pairs: int
    effective: float | None
    status: str  # measured | not measurable
    influence: Floats | None  # [S]
    note: str = ""
    p: float | None = None
    p_holm: float | None = None
    verdict: str = ""  # of "to the others": better | worse | no difference found | not measurable


def judge_groups(
    embeddings: ArrayLike,
    identities: ArrayLike,
    groups: ArrayLike,
    far: float | None = None,
    progress: Progress | None = None,
) -> tuple[GroupRate, ...]:
    """All group rates of a labelled set at the threshold of one global ``far``.

    ``embeddings`` [N,D] raw or unit, ``identities`` [N], ``groups`` [N] text ("" = unknown: such images take no part).
    ``far`` is by default the first of 1e-3, 1e-2 that the pairs within every group can carry; where a group is too
    small for both, the first of 1e-3, 1e-2, 1e-1 that two of them can. A cell that
    is expected to hold fewer than 30 errors, FAR times its pairs, is not measurable; so is an FNMR of fewer than 30
    pairs or one identity.

    Raises:
        BadInput: fewer than two groups, more than 32, a group without an image, one identity, or embeddings that have
            no direction.
    """
    e = unit(embeddings)
    names = checked_groups(groups, len(e))
    known = names != ""
    if len(np.asarray(identities)) != len(e):
        raise BadInput(f"{len(np.asarray(identities))} identities were given for {len(e)} images; give one for each.")
    found = [str(name) for name in np.unique(names[known])]
    if not 2 <= len(found) <= MOST_GROUPS:
        raise BadInput(f"{len(found)} groups were given ({', '.join(found[:5])}); 2 to {MOST_GROUPS} can be compared.")
    e, group = e[known], np.searchsorted(np.unique(names[known]), names[known]).astype(np.int64)
    code, subjects = codes(np.asarray(identities)[known], len(e))
    if subjects < 2:
        raise BadInput(f"All {len(e)} images belong to one identity; at least two are needed.")
    note = f"{np.count_nonzero(~known)} images without a group left out" if not known.all() else ""
    return rates_of(e, count_pairs(code, subjects, group, len(found)), subjects, found, far, note, progress)


def checked_groups(groups: ArrayLike, images: int) -> NDArray[np.str_]:
    """The name of the group of each of ``images`` images; else refused."""
    names = np.asarray(groups)
    if names.shape != (images,) or names.dtype.kind != "U":
        raise BadInput(
            f"The groups have shape {names.shape} and type {names.dtype}; give one text for each of {images}."
        )
    return names


def rates_of(
    e: Unit, pairs: Compared, subjects: int, names: list[str], far: float | None, note: str,
    progress: Progress | None = None,
) -> tuple[GroupRate, ...]:  # fmt: skip
    """FMR and FNMR of each of the groups ``names`` over ``pairs`` of ``e``; see :func:`judge_groups`."""
    impostors = int(sum(pairs.total.values()))
    within = [pairs.total[g, g] for g in range(len(names))]
    able = [f for f in FARS[:2] if all(measurable(f, count) for count in within)]
    able += [f for f in FARS if sum(measurable(f, count) for count in within) > 1]
    at = far if far is not None else next(iter(able), FARS[-1])
    if not measurable(at, impostors):
        reason = f"needs {EXPECTED_ERRORS / at:,.0f} impostor pairs, there are {impostors:,}"
        return tuple(missing_rate(m, name, "", at, 0, reason) for m in ("fmr", "fnmr") for name in names)
    fars = (min(1.0, 2 * at), at, at / 2)
    limits = [min(allowed_errors(f, impostors), impostors - 1) for f in fars]
    thresholds = [above(score) for score in largest(lambda: pairs.impostor_scores(e, progress), limits)]
    cells = pairs.accepted(e, thresholds, progress)
    genuine = pairs.genuine(e)

    share = [sum(c.accepted[k] for c in cells.values()) / impostors for k in range(3)]  # attained FARs
    touched = sum((c.touched - share[1] * c.all for c in cells.values()), np.zeros(subjects)) / impostors
    whole = touched * impostor_scale(touched, sum(c.dyads(share[1]) for c in cells.values()) / impostors**2)

    rates: list[GroupRate] = []
    for (g, h), c in cells.items():
        other = names[h] if g != h else ""
        if not measurable(at, c.pairs):
            reason = f"needs {EXPECTED_ERRORS / at:,.0f} impostor pairs, there are {c.pairs:,}"
            rates.append(missing_rate("fmr", names[g], other, at, c.pairs, reason, thresholds[1]))
            continue
        value = c.accepted[1] / c.pairs
        own = (c.touched - value * c.all) / c.pairs
        own = own * impostor_scale(own, c.dyads(value) / c.pairs**2)
        wide = share[0] - share[2]
        steep = (c.accepted[0] - c.accepted[2]) / c.pairs / wide if wide > 0 else 0.0
        people = int(np.count_nonzero(c.all))
        rates.append(
            _rate("fmr", names[g], other, at, thresholds[1], share[1], c, value, own - steep * whole, people, note)
        )
    for g, name in enumerate(names):
        inside = genuine.cell == g
        n, mates = int(inside.sum()), int(np.unique(genuine.subject[inside]).size)
        if n < EXPECTED_ERRORS or mates < 2:
            reason = f"{n} genuine pairs of {mates} identities; at least {EXPECTED_ERRORS} of two are needed"
            rates.append(missing_rate("fnmr", name, "", at, n, reason, thresholds[1]))
            continue
        score, subject = genuine.score[inside], genuine.subject[inside]
        miss = score < np.float32(thresholds[1])
        value = float(miss.mean())
        own = sums(subject, (miss - value) / n, subjects)
        rise = float(np.mean(score >= np.float32(thresholds[0])) - np.mean(score >= np.float32(thresholds[2])))
        steep = rise / (np.log(fars[0] / fars[2]) * share[1]) if share[1] > 0 else 0.0
        c = Cells.counted(n, int(miss.sum()))
        rates.append(_rate("fnmr", name, "", at, thresholds[1], share[1], c, value, own + steep * whole, mates, note))
    return (*rates, *(row for metric in ("fmr", "fnmr") for row in compared(metric, rates)))


def missing_rate(
    metric: str, group: str, other: str, at: float | None, pairs: int, note: str, threshold: float | None = None
) -> GroupRate:
    return GroupRate(
        metric, group, other, at, threshold, None, None, None, None, None, pairs, None, NOT_MEASURABLE, None, note
    )


def _rate(
    metric: str, group: str, other: str, at: float, threshold: float, attained: float, c: Cells, value: float,
    psi: Floats, people: int, note: str,
) -> GroupRate:  # fmt: skip
    sure = subject_wilson(value, vector_variance(psi), c.pairs, people)
    return GroupRate(
        metric, group, other, at, threshold, attained, value, sure.low, sure.high, c.accepted[1], c.pairs,
        sure.effective, MEASURED, psi, note,
    )  # fmt: skip


def compared(metric: str, rates: list[GroupRate]) -> list[GroupRate]:
    """Each measurable group against the mean of the others; largest minus, and over, smallest error rate."""
    own = [row for row in rates if row.metric == metric and not row.other]
    able = [row for row in own if row.value is not None]
    rows = []
    for row in own:
        name = f"{metric} to the others"
        if row not in able or len(able) < 2:
            reason = row.note if row not in able else "no other group is measurable"
            rows.append(missing_rate(name, row.group, "", row.at, row.pairs, reason)._replace(verdict="not measurable"))
            continue
        others = [other for other in able if other is not row]
        mean = float(np.mean([other.value for other in others if other.value is not None]))
        psi = np.mean([other.influence for other in others if other.influence is not None], axis=0)
        assert row.value is not None
        assert row.influence is not None
        d = paired_difference([row.value], [mean], row.influence[None], psi[None])
        rows.append(
            row._replace(metric=name, value=d.value, low=d.low, high=d.high, p=d.p, influence=row.influence - psi)
        )
    tested = [row for row in rows if row.p is not None]
    adjusted = dict(
        zip((row.group for row in tested), holm([row.p for row in tested if row.p is not None]), strict=True)
    )
    for k, row in enumerate(rows):
        if row.group in adjusted and row.low is not None and row.high is not None:
            p = adjusted[row.group]  # the claim is about this network: seeds do not come into it
            phrase = verdict(row.low, row.high, p, SEEDS_FOR_A_CLAIM, larger_is_better=metric == ACCURACY)
            rows[k] = row._replace(p_holm=p, verdict=phrase)
    return [*rows, *_extremes(metric, own, able)]


def _extremes(metric: str, own: list[GroupRate], able: list[GroupRate]) -> list[GroupRate]:
    if len(able) < len(own) or len(able) < 2:
        few = ", ".join(row.group for row in own if row not in able)
        reason = f"not measurable in {few}" if few else "one group only"
        return [missing_rate(f"{metric} {name}", "", "", own[0].at, 0, reason) for name in ("gap", "ratio")]
    if metric == ACCURACY:  # of its errors, so that the worst group has the largest
        able = [row._replace(value=1 - row.value, influence=-row.influence) for row in able
                if row.value is not None and row.influence is not None]  # fmt: skip
    ordered = sorted(able, key=lambda row: -(row.value or 0.0))
    worst, best = ordered[0], ordered[-1]
    assert worst.value is not None
    assert best.value is not None
    assert worst.influence is not None
    assert best.influence is not None
    d = paired_difference([worst.value], [best.value], worst.influence[None], best.influence[None])
    pairs = min(worst.pairs, best.pairs)
    chosen = "worst and best group chosen by these data"
    gap = worst._replace(
        metric=f"{metric} gap", other=best.group, value=d.value, low=d.low, high=d.high, errors=None, pairs=pairs,
        effective=None, influence=worst.influence - best.influence, note=chosen,
    )  # fmt: skip
    if best.value <= 0:
        reason = f"{best.group} has no error"
        ratio = missing_rate(f"{metric} ratio", worst.group, best.group, worst.at, pairs, reason, worst.threshold)
        return [gap, ratio]
    psi = worst.influence / worst.value - best.influence / best.value
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    freedom = max(1.0, float(np.sum(psi**2) ** 2 / np.sum(psi**4)) - 1) if np.any(psi) else 1.0
    reach = float(stdtrit(freedom, 0.5 + LEVEL / 2)) * vector_variance(psi) ** 0.5
    value = worst.value / best.value
    ratio = gap._replace(
        metric=f"{metric} ratio", value=value, low=float(value * np.exp(-reach)), high=float(value * np.exp(reach)),
        influence=None,
    )  # fmt: skip
    return [gap, ratio]
