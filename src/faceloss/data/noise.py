"""Wrong labels, strangers and imbalance put into a training set on purpose, to ask how a loss takes them.

    flip        images whose label becomes that of another identity of the set
    outlier     images whose place is taken by a face of nobody in the set; the label stays. Strangers are identities
                that leave the set for it, so that they are in no test either
    imbalance   identities keep a falling share of their images, the first all, the last 1/ratio (at least one image):
                the exponential long tail of Cui et al., Class-Balanced Loss (CVPR 2019)

How many images are wrong is exact, round(share · N) of the N images that are left. Which ones depends on the seed and
on their places in the set, never on a run, so that every loss meets the same noise.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from faceloss.data.faces import Faces, digest
from faceloss.data.keys import generator
from faceloss.errors import BadInput


class Noisy(NamedTuple):
    """A training set with noise, and the truth about it."""

    faces: Faces  # labeled as training sees them
    truth: tuple[str, ...]  # N: who is really on each image
    flipped: npt.NDArray[np.bool_]  # [N]
    outliers: npt.NDArray[np.bool_]  # [N]
    left_out: int = 0  # images that left the set to make it imbalanced
    given_up: int = 0  # identities that left the set to be strangers, all their images with them


def spoil(faces: Faces, *, flip: float = 0.0, outlier: float = 0.0, imbalance: float = 1.0, seed: int = 0) -> Noisy:
    """``faces`` made imbalanced, then with strangers in it, then with flipped labels; no image is wrong in two ways.

    Args:
        flip: share of the images, 0 to below 1, whose label becomes that of another identity, each as likely.
        outlier: share of the images, 0 to below 1, that are replaced by strangers.
        imbalance: 1 or more; the last identity keeps 1/imbalance of its images.
        seed: decides which images.

    Raises:
        BadInput: shares that are none or leave no true label, or too few identities.
    """
    for name, share in (("flip", flip), ("outlier", outlier)):
        if not 0 <= share < 1:
            raise BadInput(f"A share of {share:g} for {name} is not possible; give 0 to below 1.")
    if flip + outlier >= 1:
        raise BadInput(f"With {flip:g} flipped and {outlier:g} outliers no label would be true; their sum is below 1.")
    if not 1 <= imbalance < float("inf"):
        raise BadInput(f"An imbalance of {imbalance:g} is not possible; give 1 (none) or more.")
    if (flip or outlier) and len(faces.identities) < 2:
        raise BadInput("Wrong labels need at least two identities.")
    tail = long_tail(faces, imbalance, seed=seed)
    mixed = _strangers(tail, outlier, seed)
    names, labels = mixed.faces.identities, mixed.faces.labels.copy()
    rows = np.flatnonzero(~mixed.outliers)
    rows = np.sort(generator(seed, "flip").permutation(rows)[: round(flip * len(labels))])
    steps = generator(seed, "flip: to whom").integers(1, max(2, len(names)), len(rows))
    labels[rows] = (labels[rows] + steps) % len(names)
    flipped = np.zeros(len(labels), dtype=bool)
    flipped[rows] = True
    wrong = _labeled(mixed.faces, labels, names, faces) if len(rows) or mixed.given_up else mixed.faces
    return mixed._replace(faces=wrong, flipped=flipped, left_out=len(faces) - len(tail))


def flip_labels(faces: Faces, share: float, *, seed: int = 0) -> Noisy:
    """``faces``, of whose images a ``share`` has the label of another identity of the set; see :func:`spoil`."""
    return spoil(faces, flip=share, seed=seed)


def add_outliers(faces: Faces, share: float, *, seed: int = 0) -> Noisy:
    """``faces``, of whose images a ``share`` is replaced by faces of identities that leave it; see :func:`spoil`."""
    return spoil(faces, outlier=share, seed=seed)


def long_tail(faces: Faces, ratio: float, *, seed: int = 0) -> Faces:
    """``faces`` with a long tail: identity k of C, in a drawn order, keeps ratio^(-k/(C-1)) of its images, at least
    one. ``ratio`` 1 or more."""
    count = len(faces.identities)
    if ratio == 1 or count < 2:
        return faces
    place = np.empty(count)
    place[generator(seed, "imbalance").permutation(count)] = np.arange(count)
    sizes = np.bincount(faces.labels, minlength=count)
    keep = np.maximum(1, np.rint(sizes * float(ratio) ** (-place / (count - 1)))).astype(np.int64)  # [C]
    shuffled = generator(seed, "imbalance: images").permutation(len(faces))
    order = shuffled[np.argsort(faces.labels[shuffled], kind="stable")]  # by identity, shuffled within
    rank = np.arange(len(faces)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = np.sort(order[rank < keep[faces.labels[order]]])
    return replace(faces.take(chosen), refused=faces.refused)


def _strangers(faces: Faces, share: float, seed: int) -> Noisy:
    """Identities leave in a drawn order until they have enough images to replace ``share`` of what is left."""
    nobody = np.zeros(len(faces), dtype=bool)
    if not share:
        truth = tuple(faces.identities[label] for label in faces.labels.tolist())
        return Noisy(faces, truth, nobody, nobody)
    count = len(faces.identities)
    order = generator(seed, "outliers").permutation(count)
    sizes = np.bincount(faces.labels, minlength=count)[order].cumsum()
    enough = sizes >= np.rint(share * (len(faces) - sizes))
    leaving = int(np.argmax(enough)) + 1
    if count - leaving < 2:
        raise BadInput(
            f"An outlier share of {share:g} takes {leaving} of the {count} identities for strangers, which leaves "
            "fewer than two to learn; lower it, or give more identities."
        )
    gone = np.isin(faces.labels, order[:leaving])
    rest, strangers = np.flatnonzero(~gone), np.flatnonzero(gone)
    amount = round(share * len(rest))
    where = np.sort(generator(seed, "outliers: images").permutation(len(rest))[:amount])
    rows = rest.copy()
    rows[where] = generator(seed, "outliers: strangers").permutation(strangers)[:amount]
    shown = faces.take(rows)  # who is really there
    truth = tuple(shown.identities[label] for label in shown.labels.tolist())
    outliers = np.zeros(len(rest), dtype=bool)
    outliers[where] = True
    named = _labeled(shown, faces.labels[rest], faces.identities, faces)
    return Noisy(named, truth, nobody[: len(rest)], outliers, given_up=leaving)


def _labeled(images: Faces, labels: npt.NDArray[np.int64], identities: tuple[str, ...], whole: Faces) -> Faces:
    """``images`` under other labels, numbered anew without gaps; the ledger of refused files is that of ``whole``."""
    kept, dense = np.unique(labels, return_inverse=True)
    names = tuple(identities[label] for label in kept.tolist())
    said = [names[label] for label in dense.tolist()]
    described = zip(images.files, said, images.splits, images.groups, images.hashes, strict=True)
    return replace(
        images, labels=dense.astype(np.int64), identities=names, refused=whole.refused,
        digest=digest(described, images.pixels.shape[1]),
    )  # fmt: skip
