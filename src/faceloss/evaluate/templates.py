"""Templates: several images and video frames of one person, compared as one (IJB-A, IJB-B, IJB-C).

    x_T = normalize( sum over the media m of T of  mean over the images i of m in T of  u_i )       u_i of unit length

A medium is one photograph or one video: its frames are averaged first, so that a video of 300 frames does not outvote
a photograph (Crosswhite et al., "Template adaptation", 2018; Maze et al., "IARPA Janus Benchmark - C", 2018).

1:1 is judged on a list of template pairs or, without one, on every pair of templates; 1:N on galleries and probes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceloss.errors import BadInput
from faceloss.evaluate.cells import Judged, Measured, Progress, Unit, codes, unit
from faceloss.evaluate.openset import FPIRS, OpenSet, OpenSetCurve, judge_open_set
from faceloss.evaluate.protocols import judge_matrix, judge_pairs

LINKED = "no identities: templates are taken to be of one person where pairs marked so lead from one to the other"


class Templates(NamedTuple):
    ids: NDArray[np.generic]  # [T] sorted
    embeddings: Unit  # [T,D]
    first: NDArray[np.int64]  # [T] a row of the embeddings that belongs to the template


def pool(embeddings: ArrayLike, templates: ArrayLike, media: ArrayLike | None = None) -> Templates:
    """One embedding per template. ``embeddings`` [N,D] raw or unit, ``templates`` [N], ``media`` [N] names or numbers.

    An image that belongs to two templates is two rows. Media are told apart within a template; without ``media`` every
    image is its own.
    """
    e = unit(embeddings)
    code, count = codes(templates, len(e), "templates")
    ids, first = np.unique(np.asarray(templates), return_index=True)
    medium = np.arange(len(e)) if media is None else codes(media, len(e), "media", nameless=True)[0]
    _, place = np.unique(code * (int(medium.max()) + 1) + medium, return_inverse=True)  # of (template, medium)
    sizes = np.bincount(place)
    pooled = np.zeros((count, e.shape[1]), dtype=np.float64)
    np.add.at(pooled, code, e / sizes[place, None])
    empty = np.flatnonzero(~np.any(pooled, axis=1))
    if empty.size:
        raise BadInput(f"The images of template {ids[empty[0]]} cancel out, so that it has no direction; leave it out.")
    return Templates(ids, unit(pooled, "templates"), first.astype(np.int64))


def _of_template(values: ArrayLike, what: str, templates: ArrayLike, found: Templates) -> NDArray[np.generic]:
    """[T] the value of each template; refuses a template with two."""
    names, ids = np.asarray(values), np.asarray(templates)
    if names.shape != ids.shape:
        raise BadInput(f"The {what} have shape {names.shape}; give one for each of {ids.size} images.")
    own = names[found.first]
    wrong = np.flatnonzero(names != own[np.searchsorted(found.ids, ids)])
    if wrong.size:
        template = ids[wrong[0]]
        kinds = ", ".join(map(str, np.unique(names[ids == template])[:3]))
        raise BadInput(f"Template {template} has several {what} ({kinds}); a template is of one person and one role.")
    return own


def judge_templates(
    embeddings: ArrayLike,
    identities: ArrayLike | None,
    templates: ArrayLike,
    media: ArrayLike | None = None,
    roles: ArrayLike | None = None,
    comparisons: ArrayLike | None = None,
    *,
    fpirs: Sequence[float] = FPIRS,
    progress: Progress | None = None,
) -> OpenSet:
    """1:1 over ``comparisons``, and 1:N over ``roles``, of pooled templates; whichever of the two is given.

    ``embeddings`` [N,D], ``identities``, ``templates``, ``media``, ``roles`` [N] per image; ``comparisons`` [M,2] of
    template ids, or [M,3] with whether they are of one person (0 or 1). With neither, all pairs of templates are
    compared. Without ``identities`` only ``comparisons`` [M,3] can be judged; for their intervals, templates are of one
    person where pairs marked 1 lead from one to the other.
    """
    found = pool(embeddings, templates, media)
    people = None if identities is None else _of_template(identities, "identities", templates, found)
    rows: list[Measured] = []
    judged, curves = Judged(()), tuple[OpenSetCurve, ...]()
    if comparisons is not None:
        judged = _compare(found, people, comparisons)
    elif people is None:
        raise BadInput(
            "Templates without identities need comparisons [M, 3]: two template ids, and whether one person."
        )
    elif roles is None:
        judged = judge_matrix(found.embeddings, people, progress)
    rows += [row._replace(protocol="templates") for row in judged.rows if row.metric != "accuracy"]
    if roles is not None and people is not None:
        part = _of_template(roles, "roles", templates, found)
        searched = judge_open_set(found.embeddings, people, part, fpirs=fpirs, protocol="templates", progress=progress)
        rows += searched.judged.rows
        curves = searched.curves
    return OpenSet(judged._replace(rows=tuple(rows)), curves)


def _compare(found: Templates, people: NDArray[np.generic] | None, comparisons: ArrayLike) -> Judged:
    pairs = np.asarray(comparisons)
    if pairs.ndim != 2 or pairs.shape[1] not in (2, 3) or not len(pairs):
        raise BadInput(f"The comparisons have shape {pairs.shape}; give two template ids a row and, if known, 0 or 1.")
    if people is None and pairs.shape[1] == 2:
        raise BadInput("Comparisons of templates without identities need a third column: 1 for one person, else 0.")
    ends = pairs[:, :2]
    place = np.searchsorted(found.ids, ends)
    absent = found.ids[np.minimum(place, len(found.ids) - 1)] != ends
    if absent.any():
        raise BadInput(
            f"{int(absent.any(axis=1).sum())} comparisons name a template without an image (first: {ends[absent][0]}); "
            "take them out or add its images."
        )
    a, b = place[:, 0], place[:, 1]
    same = pairs[:, 2].astype(np.int64) if people is None or pairs.shape[1] == 3 else people[a] == people[b]
    if people is not None:
        return judge_pairs(found.embeddings, a, b, same, None, people)
    judged = judge_pairs(found.embeddings, a, b, same, None, linked(len(found.ids), a[same == 1], b[same == 1]))
    rows = (row if row.value is None else row._replace(note=LINKED) for row in judged.rows)
    return judged._replace(rows=tuple(rows))


def linked(count: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """[count] the smallest number that pairs (first, second) lead to from each: one for each connected component."""
    smallest = np.arange(count)
    while True:
        before = smallest.copy()
        np.minimum.at(smallest, first, smallest[second])
        np.minimum.at(smallest, second, smallest[first])
        smallest = smallest[smallest]
        if np.array_equal(before, smallest):
            return smallest
