"""Probes among distractors: MegaFace (up to a million) and Trillion Pairs.

Of the images of an identity each in turn is the mate in the gallery and each other one a probe: an ordered pair (p, g).
The rest of the gallery are N distractors, who are nobody's mate (Kemelmacher-Shlizerman et al., "The MegaFace
benchmark", 2016). Larger sets of distractors contain the smaller ones.

    rank 1 at N              share of (p, g) with s(p, g) > s(p, d) for all N distractors d; a tie counts against p
    TAR at FAR f and N       genuine pairs against the threshold of FAR f over all pairs (probe, distractor)
    TPIR at FPIR f and N     share of (p, g) with rank 1 and s(p, g) >= t; at t the best distractor of at most a share f
                             of the probes is accepted. Our reading of "identification TPR at FAR 1e-3" of Trillion
                             Pairs (DeepGlint, 2018), whose server computed it and is no more.

Influence of subject s (an identity of the probes, or a distractor, who is a subject of his own): as for any share over
pairs, minus lambda times that of the FAR or FPIR, with lambda the slope of the ROC. For rank 1 and TPIR the distractors
are held fixed. The impostor part is not shrunk for pairs between the same two subjects, so that intervals are a little
wide where few pairs are accepted.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceloss.errors import BadInput
from faceloss.evaluate.cells import Judged, Measured, Progress, Unit, cell, codes, missing, unit
from faceloss.evaluate.metrics import EXPECTED_ERRORS, Ints, allowed_errors, far_threshold, measurable
from faceloss.evaluate.scale import best
from faceloss.evaluate.statistics import sums
from faceloss.evaluate.stream import COLUMNS, ROWS, Scores, above, largest
from faceloss.evaluate.verification import slope

SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
FARS = (1e-3, 1e-4, 1e-5, 1e-6)
GENUINE_LIMIT = 50_000_000


class Probes(NamedTuple):
    """Images of known people, sorted by identity, with all pairs of one person."""

    embeddings: Unit  # [P,D]
    subject: Ints  # [P]
    first: Ints  # [G] of each unordered genuine pair
    second: Ints  # [G]
    genuine: Scores  # [G]


def _probes(e: Unit, code: Ints) -> Probes:
    order = np.argsort(code, kind="stable")
    e, code = e[order], code[order]
    sizes = np.unique(code, return_counts=True)[1]
    if int(np.sum(sizes * (sizes - 1) // 2)) > GENUINE_LIMIT:
        raise BadInput(f"The probes form more than {GENUINE_LIMIT:,} genuine pairs; give fewer images per identity.")
    firsts, seconds = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for begin, size in zip(np.cumsum(sizes) - sizes, sizes, strict=True):
        a, b = np.triu_indices(size, 1)
        firsts.append(begin + a)
        seconds.append(begin + b)
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    genuine = np.empty(first.size, dtype=np.float32)
    for start in range(0, first.size, 65536):
        part = slice(start, start + 65536)
        genuine[part] = np.einsum("md,md->m", e[first[part]], e[second[part]])
    return Probes(e, code, first, second, genuine)


def _blocks(probes: Unit, distractors: Unit) -> Iterator[tuple[int, int, Scores]]:
    for row in range(0, len(probes), ROWS):
        for column in range(0, len(distractors), COLUMNS):
            yield row, column, probes[row : row + ROWS] @ distractors[column : column + COLUMNS].T


def judge_distractors(
    embeddings: ArrayLike,
    identities: ArrayLike,
    roles: ArrayLike,
    *,
    sizes: Sequence[int] | None = None,
    fars: Sequence[float] = FARS,
    fpirs: Sequence[float] = (),
    seed: int = 0,
    protocol: str = "distractors",
    progress: Progress | None = None,
) -> Judged:
    """Rank 1, TAR at ``fars`` and TPIR at ``fpirs`` among each number of distractors in ``sizes``.

    ``embeddings`` [N,D] raw or unit; ``roles`` [N] "probe" or "distractor" (other rows take no part); ``identities``
    [N] count for probes only. ``seed`` orders the distractors. Sizes beyond those there are come back as not
    measurable; without ``sizes`` all distractors are taken, and nothing less.
    """
    e = unit(embeddings)
    part = np.asarray(roles)
    if part.shape != (len(e),) or part.dtype.kind != "U":
        raise BadInput(f"The roles have shape {part.shape} and type {part.dtype}; give one text for each of {len(e)}.")
    known, others = np.flatnonzero(part == "probe"), np.flatnonzero(part == "distractor")
    if not known.size or not others.size:
        raise BadInput(f"{known.size} probes and {others.size} distractors were given; at least one of each is needed.")
    codes(identities, len(e), nameless=True)
    code, people = codes(np.asarray(identities)[known], len(known))
    probes = _probes(e[known], code)
    rng = np.random.Generator(np.random.Philox(key=seed))
    crowd = e[others[np.argsort(rng.random(others.size))]]
    wanted = sorted(set(sizes)) if sizes else [others.size]
    within = [n for n in wanted if n <= others.size]
    _, strangers = best(probes.embeddings, probes.subject, crowd, np.full(others.size, -1), within, progress)
    rows = []
    for k, n in enumerate(within):
        rows += _identification(protocol, probes, strangers[:, k], fpirs, people, n)
        rows += _verification(protocol, probes, crowd[:n], fars, people, progress)
    for n in wanted:
        if n not in within:
            note = f"needs {n:,} distractors, there are {others.size:,}"
            cells = [("rank", 1.0), *(("tpir", f) for f in fpirs), *(("tar", f) for f in fars)]
            rows += [
                missing(protocol, m, at, 2 * probes.first.size, people, note)._replace(gallery=n) for m, at in cells
            ]
    return Judged(tuple(rows))


def _few(probes: Probes) -> str:
    mated = int(np.unique(probes.subject[probes.first]).size)
    if probes.first.size < EXPECTED_ERRORS or mated < 2:
        return f"{probes.first.size} genuine pairs of {mated} identities; at least {EXPECTED_ERRORS} of two are needed"
    return ""


def _identification(
    protocol: str, probes: Probes, stranger: Scores, fpirs: Sequence[float], people: int, n: int
) -> list[Measured]:
    """Over ordered pairs: each of a genuine pair is once the probe and once the mate."""
    score = np.concatenate([probes.genuine, probes.genuine]).astype(np.float64)
    probe = np.concatenate([probes.first, probes.second])
    subject, mated, pairs = probes.subject[probe], int(np.unique(probes.subject[probe]).size), probe.size
    ahead = score > stranger[probe]
    few = _few(probes)
    if few:
        rows = [missing(protocol, "rank", 1.0, pairs, people, few)]
    else:
        value = float(ahead.mean())
        rows = [cell(protocol, "rank", 1.0, value, sums(subject, (ahead - value) / pairs, people), pairs, mated)]
    alarm_score = stranger.astype(np.float64)
    for fpir in fpirs:
        reason = few
        if not reason and not measurable(fpir, stranger.size):
            reason = f"needs {EXPECTED_ERRORS / fpir:,.0f} probes, there are {stranger.size:,}"
        if reason:
            rows.append(missing(protocol, "tpir", fpir, pairs, people, reason))
            continue
        threshold = far_threshold(alarm_score, fpir)
        alarm, hit = alarm_score >= threshold, ahead & (score >= threshold)
        value, attained = float(hit.mean()), float(alarm.mean())
        steep = slope(lambda f: float(np.mean(ahead & (score >= far_threshold(alarm_score, f)))), attained)
        psi = sums(subject, (hit - value) / pairs, people)
        psi = psi - steep * sums(probes.subject, (alarm - attained) / stranger.size, people)
        rows.append(cell(protocol, "tpir", fpir, value, psi, pairs, mated, attained, threshold))
    return [row._replace(gallery=n) for row in rows]


def _verification(
    protocol: str, probes: Probes, crowd: Unit, fars: Sequence[float], people: int, progress: Progress | None
) -> list[Measured]:
    n, p, pairs = len(crowd), len(probes.embeddings), probes.first.size
    impostors = n * p
    few = _few(probes)
    able = [far for far in fars if not few and measurable(far, impostors)]
    limits = [allowed_errors(f, impostors) for far in able for f in (far / 2, far, min(1.0, 2 * far))]
    thresholds: list[float] = []
    if able:
        kept_out = largest(
            lambda: (scores.ravel() for _, _, scores in _blocks(probes.embeddings, crowd)),
            [min(limit, impostors - 1) for limit in limits],
        )
        thresholds = [above(s) if k < impostors else -2.0 for s, k in zip(kept_out, limits, strict=True)]
    at = thresholds[1::3]
    by_probe, by_stranger = np.zeros((len(able), p)), np.zeros((len(able), n))
    for row, column, scores in _blocks(probes.embeddings, crowd) if able else ():
        for k, threshold in enumerate(at):
            accepted = scores >= np.float32(threshold)
            by_probe[k, row : row + len(scores)] += accepted.sum(axis=1)
            by_stranger[k, column : column + scores.shape[1]] += accepted.sum(axis=0)
        if progress is not None and not column:
            progress("distractors", min(row + ROWS, p), p)
    subject, mated = probes.subject[probes.first], int(np.unique(probes.subject[probes.first]).size)
    rows = []
    for far in fars:
        if far not in able:
            note = few or f"needs {EXPECTED_ERRORS / far:,.0f} pairs with distractors, there are {impostors:,}"
            rows.append(missing(protocol, "tar", far, pairs, people, note)._replace(gallery=n))
            continue
        k = able.index(far)
        strict, threshold, loose = thresholds[3 * k : 3 * k + 3]
        hit = probes.genuine >= threshold
        value, attained = float(hit.mean()), float(by_probe[k].sum() / impostors)
        rise = float(np.mean(probes.genuine >= loose) - np.mean(probes.genuine >= strict))
        steep = rise / (np.log(min(1.0, 2 * far) / (far / 2)) * attained) if attained else 0.0
        known = sums(subject, (hit - value) / pairs, people)
        known = known - steep * sums(probes.subject, (by_probe[k] - attained * n) / impostors, people)
        psi: NDArray[np.float64] = np.concatenate([known, -steep * (by_stranger[k] - attained * p) / impostors])
        rate = cell(protocol, "tar", far, value, psi, pairs, mated, attained, threshold)
        rows.append(rate._replace(gallery=n))
    return rows
