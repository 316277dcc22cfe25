"""Open-set identification: who is it, or nobody?

A gallery holds one or more images of each enrolled identity. A probe is searched among all of them; m is the score of
its best mate, x that of its best other (ISO/IEC 19795-1, NIST FRVT 1:N).

    FPIR(t) = share of non-mated probes with x >= t                     a stranger is named
    TPIR(t) = share of mated probes with m >= t and m > x = 1 - FNIR    the right person is named first

The threshold is the smallest whose attained FPIR is at most the wanted one. It belongs to a gallery size: of N enrolled
people, FPIR = 1 - (1 - FMR)^N to first order, so galleries of several sizes are judged, each a part of the next, with
the same non-mated probes. Larger ones than there are can only be extrapolated from the largest measured one, of G
people, as if every further person were a stranger like those there are, alike for all probes:

    FPIR(t, N) = 1 - (1 - FPIR(t, G))^(N / G)
    TPIR(t, N) = mean over mated probes of [m >= t and m > x] (1 - FPIR(m, G))^(N / G - 1)

Where some probes resemble more people than others, the true FPIR rises more slowly than that. It says nothing about
scores that no stranger has reached yet.

Influence of subject s, with lambda = dTPIR / dFPIR; the gallery is held fixed:

    1/M sum over mated probes of s (hit - TPIR)  -  lambda / U sum over non-mated probes of s (alarm - FPIR)
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceloss.errors import BadInput
from faceloss.evaluate.cells import Judged, Measured, Progress, Unit, cell, codes, missing, unit
from faceloss.evaluate.metrics import EXPECTED_ERRORS, Floats, Ints, far_threshold, measurable
from faceloss.evaluate.scale import best
from faceloss.evaluate.statistics import sums
from faceloss.evaluate.verification import slope

FPIRS = (0.001, 0.01, 0.1)
RANKS = (1, 5, 10)
CURVE_POINTS = 60
LARGEST = 0.3  # an extrapolated curve that starts at a higher FPIR is of no use


class Search(NamedTuple):
    """What a gallery of one size makes of the probes."""

    gallery: int  # identities
    mate: Floats  # [M] best mate of each mated probe
    other: Floats  # [M] best other of each mated probe
    alarm: Floats  # [U] best score of each non-mated probe
    mated: Ints  # [M] subject of each mated probe
    unmated: Ints  # [U] subject of each non-mated probe


class OpenSetCurve(NamedTuple):
    """FNIR over FPIR for one gallery, from the smallest measurable FPIR up.

    ``extrapolated_from`` is the size of the gallery that was measured where this one is larger than any there is.
    """

    gallery: int
    fpir: Floats  # [T] attained
    fnir: Floats  # [T]
    threshold: Floats  # [T]
    extrapolated_from: int | None = None


class OpenSet(NamedTuple):
    judged: Judged
    curves: tuple[OpenSetCurve, ...]


def enroll(identities: ArrayLike, seed: int = 0) -> NDArray[np.str_]:
    """Roles [N] for a labelled set that has none: half of the identities with two images or more are enrolled.

    The first image of an enrolled identity is the gallery, its others are mated probes; all images of the rest, single
    images too, are non-mated probes.
    """
    names = np.asarray(identities)
    found, first, code, counts = np.unique(names, return_index=True, return_inverse=True, return_counts=True)
    several = np.flatnonzero(counts > 1)
    if several.size < 2:
        raise BadInput(f"{several.size} identities have two images; an open set needs at least two that do.")
    rng = np.random.Generator(np.random.Philox(key=seed))
    chosen = np.zeros(len(found), dtype=bool)
    chosen[several[np.argsort(rng.random(several.size))][: (several.size + 1) // 2]] = True
    roles = np.full(len(names), "probe", dtype="<U10")
    roles[first[chosen[code[first]]]] = "gallery"
    return roles


def gallery_sizes(identities: int) -> list[int]:
    """10, 100, 1,000, ... and all of them."""
    sizes = [10**k for k in range(1, 10) if 10**k < identities]
    return [*sizes, identities]


def _searches(
    e: Unit, code: Ints, gallery: Ints, probes: Ints, sizes: Sequence[int], seed: int, progress: Progress | None
) -> list[Search]:
    enrolled = np.unique(code[gallery])
    rng = np.random.Generator(np.random.Philox(key=seed))
    place = np.full(int(code.max()) + 1, len(enrolled), dtype=np.int64)  # of each identity in the order of enrolling
    place[enrolled[np.argsort(rng.random(len(enrolled)))]] = np.arange(len(enrolled))
    order = gallery[np.argsort(place[code[gallery]], kind="stable")]
    ends = [int(np.searchsorted(place[code[order]], size, "left")) for size in sizes]
    mate, other = best(e[probes], code[probes], e[order], code[order], ends, progress)
    known = place[code[probes]]
    out = known == len(enrolled)
    found = []
    for k, size in enumerate(sizes):
        own = known < size
        alarm = other[out, k].astype(np.float64)
        pair = mate[own, k].astype(np.float64), other[own, k].astype(np.float64)
        found.append(Search(size, *pair, alarm, code[probes][own], code[probes][out]))
    return found


def _tpir(search: Search, threshold: float) -> float:
    return float(np.mean((search.mate >= threshold) & (search.mate > search.other)))


def _rows(protocol: str, search: Search, fpirs: Sequence[float], subjects: int) -> list[Measured]:
    mated, unmated = search.mate.size, search.alarm.size
    people = int(np.unique(search.mated).size)
    few = ""
    if mated < EXPECTED_ERRORS or people < 2:
        few = f"{mated} mated probes of {people} identities; at least {EXPECTED_ERRORS} of two are needed"
    rows = []
    for fpir in fpirs:
        reason = few
        if not reason and not measurable(fpir, unmated):
            reason = f"needs {EXPECTED_ERRORS / fpir:,.0f} non-mated probes, there are {unmated:,}"
        if reason:
            rows.append(missing(protocol, "tpir", fpir, mated, subjects, reason)._replace(gallery=search.gallery))
            continue
        threshold = far_threshold(search.alarm, fpir)
        alarm = search.alarm >= threshold
        hit = (search.mate >= threshold) & (search.mate > search.other)
        value, attained = float(hit.mean()), float(alarm.mean())
        steep = slope(lambda f: _tpir(search, far_threshold(search.alarm, f)), attained)
        psi = sums(search.mated, (hit - value) / mated, subjects)
        psi = psi - steep * sums(search.unmated, (alarm - attained) / unmated, subjects)
        row = cell(protocol, "tpir", fpir, value, psi, mated, people, attained, threshold)
        rows.append(row._replace(gallery=search.gallery))
    return rows


def _curve(search: Search) -> OpenSetCurve | None:
    low = EXPECTED_ERRORS / max(1, search.alarm.size)
    if low >= 1 or search.mate.size < EXPECTED_ERRORS:
        return None
    thresholds = np.unique([far_threshold(search.alarm, f) for f in np.geomspace(low, 1, CURVE_POINTS)])[::-1]
    fpir = np.array([np.mean(search.alarm >= t) for t in thresholds])
    return OpenSetCurve(search.gallery, fpir, 1 - np.array([_tpir(search, t) for t in thresholds]), thresholds)


def _beyond(search: Search) -> list[OpenSetCurve]:
    """Galleries of the powers of ten above the measured one, while an FPIR of ``LARGEST`` can be reached."""
    measured = _curve(search)
    if measured is None:
        return []
    hit = (search.mate >= measured.threshold[:, None]) & (search.mate > search.other)  # [T,M]
    alarms = np.sort(search.alarm)
    stranger = 1 - np.searchsorted(alarms, search.mate, "left") / alarms.size  # [M] FPIR at the score of the mate
    found = []
    for size in (10**k for k in range(1, 10)):
        times = size / search.gallery
        fpir = 1 - (1 - measured.fpir) ** times
        if times > 1 and fpir[0] <= LARGEST:
            fnir = 1 - np.mean(hit * (1 - stranger) ** (times - 1), axis=1)
            found.append(OpenSetCurve(size, fpir, fnir, measured.threshold, search.gallery))
    return found


def _closed(protocol: str, e: Unit, code: Ints, gallery: Ints, probes: Ints, subjects: int) -> list[Measured]:
    """Rank-k of the mated probes in the whole gallery; a tie counts against the mate."""
    probes = probes[np.isin(code[probes], code[gallery])]
    size, n = int(np.unique(code[gallery]).size), len(probes)
    people = int(np.unique(code[probes]).size)
    rows = []
    ranks = np.zeros(n, dtype=np.int64)
    for start in range(0, n, 256):
        block = slice(start, start + 256)
        scores = e[probes[block]] @ e[gallery].T
        own = code[probes[block], None] == code[gallery]
        highest = np.where(own, scores, -np.inf).max(axis=1, initial=-np.inf)
        ranks[block] = 1 + _others_ahead(scores, own, highest, code[gallery])
    for k in RANKS:
        if n < EXPECTED_ERRORS or people < 2:
            note = f"{n} mated probes of {people} identities; at least {EXPECTED_ERRORS} of two are needed"
            rows.append(missing(protocol, "rank", float(k), n, subjects, note)._replace(gallery=size))
            continue
        hit = ranks <= k
        value = float(hit.mean())
        psi = sums(code[probes], (hit - value) / n, subjects)
        rows.append(cell(protocol, "rank", float(k), value, psi, n, people)._replace(gallery=size))
    return rows


def _others_ahead(scores: Unit, own: NDArray[np.bool_], highest: Unit, gallery_code: Ints) -> Ints:
    """[r] identities other than the probe's with an image that scores at least as high as its best mate."""
    ahead = ~own & (scores >= highest[:, None])
    row, column = np.nonzero(ahead)
    pairs = np.unique(np.stack([row, gallery_code[column]]), axis=1)
    return np.bincount(pairs[0], minlength=len(scores)).astype(np.int64)


def judge_open_set(
    embeddings: ArrayLike,
    identities: ArrayLike,
    roles: ArrayLike | None = None,
    *,
    sizes: Sequence[int] | None = None,
    fpirs: Sequence[float] = FPIRS,
    seed: int = 0,
    protocol: str = "open set",
    extrapolate: bool = False,
    progress: Progress | None = None,
) -> OpenSet:
    """TPIR at FPIR for galleries of several ``sizes`` (identities), rank-k in the whole gallery, and curves.

    ``embeddings`` [N,D] raw or unit, ``identities`` [N], ``roles`` [N] "gallery" or "probe" (other rows take no part);
    without roles, those of :func:`enroll`. Several galleries ("gallery1", "gallery2") are judged one after the other
    with all probes, and named in the rows' group; rows without a group are then the means over the galleries.
    With ``extrapolate`` there are curves of larger galleries, too, which say so; never rows.
    """
    e = unit(embeddings)
    code, subjects = codes(identities, len(e))
    part = enroll(identities, seed) if roles is None else np.asarray(roles)
    if part.shape != (len(e),) or part.dtype.kind != "U":
        raise BadInput(f"The roles have shape {part.shape} and type {part.dtype}; give one text for each of {len(e)}.")
    probes = np.flatnonzero(part == "probe")
    galleries = [str(name) for name in np.unique(part) if str(name).startswith("gallery")]
    if not galleries or not probes.size:
        held = ", ".join(map(str, np.unique(part)[:5]))
        raise BadInput(f"An open set needs rows with the roles gallery and probe; the roles given are: {held}.")
    judged: list[list[Measured]] = []
    curves: list[OpenSetCurve] = []
    for name in galleries:
        gallery = np.flatnonzero(part == name)
        enrolled = int(np.unique(code[gallery]).size)
        if enrolled < 2:
            raise BadInput(f"The {name} enrolls {enrolled} identity; at least two are needed to tell people apart.")
        wanted = sorted({size for size in sizes or gallery_sizes(enrolled) if 2 <= size <= enrolled})
        if len(galleries) > 1 or not wanted:
            wanted = [enrolled]
        found = _searches(e, code, gallery, probes, wanted, seed, progress)
        rows = [row for search in found for row in _rows(protocol, search, fpirs, subjects)]
        rows += _closed(protocol, e, code, gallery, probes, subjects)
        judged.append([row._replace(group=name if len(galleries) > 1 else "") for row in rows])
        curves += [curve for search in found if (curve := _curve(search)) is not None]
        curves += _beyond(found[-1]) if extrapolate else []
    rows = [row for rows in judged for row in rows]
    if len(galleries) > 1:
        rows = [*(_mean(cells) for cells in zip(*judged, strict=True)), *rows]
    return OpenSet(Judged(tuple(rows)), tuple(curves))


def _mean(cells: Sequence[Measured]) -> Measured:
    """The mean of the same number over galleries: the value that IJB-B and IJB-C are reported with."""
    head, pairs = cells[0], sum(row.pairs for row in cells)
    size = sum(row.gallery or 0 for row in cells) // len(cells)
    if any(row.value is None for row in cells):
        row = missing(head.protocol, head.metric, head.at, pairs, head.subjects, "not measurable in every gallery")
        return row._replace(gallery=size)
    influence = np.mean([row.influence for row in cells if row.influence is not None], axis=0)
    value = float(np.mean([row.value for row in cells if row.value is not None]))
    people = int(np.count_nonzero(influence))
    row = cell(head.protocol, head.metric, head.at, value, influence, pairs, people, note="mean over the galleries")
    return row._replace(gallery=size)
