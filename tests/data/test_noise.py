"""Noise in a training set on purpose: exactly as many wrong labels as asked for, and the truth about each."""

import hashlib

import numpy as np
import pytest

from faceloss.data.faces import Faces, digest
from faceloss.data.noise import add_outliers, flip_labels, long_tail, spoil
from faceloss.errors import BadInput


def a_set(sizes):
    """Faces of identities with so many images; the first pixel of an image tells its number."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    n = len(labels)
    pixels = np.zeros((n, 8, 8, 3), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = np.arange(n) % 256, np.arange(n) // 256
    names = tuple(f"p{k:02}" for k in range(len(sizes)))
    files = tuple(f"{names[label]}/{i}.png" for i, label in enumerate(labels))
    hashes = tuple(hashlib.sha256(file.encode()).hexdigest() for file in files)
    blank = ("",) * n
    said = zip(files, [names[label] for label in labels], blank, blank, hashes, strict=True)
    return Faces("toy", pixels, labels, names, files, blank, blank, hashes, (), digest(said, 8))


def names_of(faces):
    return np.array(faces.identities)[faces.labels]


def shown(faces):
    """The numbers of the images, read from their pixels."""
    pixels = np.asarray(faces.pixels)
    return pixels[:, 0, 0, 0].astype(int) + 256 * pixels[:, 0, 0, 1].astype(int)


def test_so_many_labels_are_flipped_and_the_truth_is_told():
    faces = a_set([12] * 25)
    for share, amount in ((0.2, 60), (0.333, 100), (0.001, 0)):
        noisy = flip_labels(faces, share, seed=3)
        wrong = names_of(noisy.faces) != names_of(faces)
        assert int(wrong.sum()) == amount
        assert np.array_equal(wrong, noisy.flipped)
        assert np.array_equal(np.array(noisy.truth), names_of(faces))
        assert not noisy.outliers.any()
        assert (noisy.faces.files, noisy.faces.hashes) == (faces.files, faces.hashes)
        assert np.array_equal(shown(noisy.faces), np.arange(300))
        assert (noisy.faces.digest == faces.digest) == (amount == 0)
    assert (noisy.left_out, noisy.given_up) == (0, 0)


def test_every_other_identity_is_as_likely():
    noisy = flip_labels(a_set([400] * 5), 0.9)
    flows = np.zeros((5, 5))
    np.add.at(flows, (np.repeat(np.arange(5), 400), noisy.faces.labels), 1)
    assert np.trace(flows) == 200
    off = flows[~np.eye(5, dtype=bool)]
    assert abs(off - 90).max() < 4 * 90**0.5
    assert ((off - 90) ** 2 / 90).sum() < 45  # chi square of 20 cells


def test_the_noise_depends_on_its_seed():
    faces = a_set([12] * 25)
    one, again, other = (spoil(faces, flip=0.2, outlier=0.1, imbalance=4, seed=seed) for seed in (0, 0, 1))
    assert one.faces.digest == again.faces.digest != other.faces.digest
    assert np.array_equal(one.faces.labels, again.faces.labels)
    for what in ({"flip": 0.2}, {"outlier": 0.1}, {"imbalance": 4}):
        one, other = (spoil(faces, **what, seed=seed) for seed in (0, 1))
        assert one.faces.digest != other.faces.digest
        assert not np.array_equal(one.flipped, other.flipped) or "flip" not in what
    assert spoil(faces).faces is faces


def test_strangers_leave_the_set_and_take_the_place_of_its_images():
    faces = a_set([10, 3, 8, 5, 9, 4, 7, 6] * 4)
    noisy = add_outliers(faces, 0.15, seed=2)
    kept, truth = set(noisy.faces.identities), np.array(noisy.truth)
    said = names_of(noisy.faces)
    assert len(kept) + noisy.given_up == 32
    amount = int(noisy.outliers.sum())
    assert amount == round(0.15 * len(noisy.faces))
    assert np.array_equal(truth != said, noisy.outliers)
    assert not set(truth[noisy.outliers].tolist()) & kept  # nobody in the set
    assert set(truth[~noisy.outliers].tolist()) <= kept
    assert np.array_equal(names_of(faces)[shown(noisy.faces)], truth)  # the pixels are the stranger's
    assert [file.split("/")[0] for file in noisy.faces.files] == truth.tolist()
    assert len(set(noisy.faces.files)) == len(noisy.faces)  # each stranger's image serves once
    of_rest = [name for name in names_of(faces).tolist() if name in kept]
    assert said.tolist() == of_rest  # every identity has as many images as before
    spent = np.isin(names_of(faces), sorted(set(faces.identities) - kept)).sum()
    assert 0 <= spent - amount < 10  # no more identities are given up than it takes


def test_imbalance_is_a_long_tail():
    faces = a_set([40] * 21)
    tail = long_tail(faces, 10, seed=1)
    sizes = np.bincount(tail.labels)
    expected = np.rint(40 * 10.0 ** (-np.arange(21) / 20)).astype(int)
    assert sorted(sizes, reverse=True) == expected.tolist()
    assert (sizes.max(), sizes.min()) == (40, 4)
    assert list(sizes) != sorted(sizes, reverse=True)  # who loses images is drawn
    assert np.array_equal(names_of(tail), names_of(faces)[shown(tail)])
    assert (np.diff(shown(tail)) > 0).all()  # in the order of the set
    unequal = long_tail(a_set([100, 2, 1, 50, 7]), 100)
    assert np.bincount(unequal.labels).min() >= 1
    assert len(unequal.identities) == 5
    noisy = spoil(faces, imbalance=10, seed=1)
    assert noisy.faces.digest == tail.digest
    assert noisy.left_out == len(faces) - len(tail) > 100


def test_all_three_at_once_are_exact():
    faces = a_set([20] * 40)
    noisy = spoil(faces, flip=0.25, outlier=0.1, imbalance=3)
    n, wrong = len(noisy.faces), names_of(noisy.faces) != np.array(noisy.truth)
    assert int(noisy.flipped.sum()) == round(0.25 * n)
    assert int(noisy.outliers.sum()) == round(0.1 * n)
    assert not (noisy.flipped & noisy.outliers).any()
    assert np.array_equal(wrong, noisy.flipped | noisy.outliers)
    assert sorted(np.unique(noisy.faces.labels)) == list(range(len(noisy.faces.identities)))


def test_an_identity_that_loses_all_its_images_is_gone():
    noisy = flip_labels(a_set([1] * 30), 0.9, seed=0)
    assert len(noisy.faces.identities) < 30
    assert sorted(np.unique(noisy.faces.labels)) == list(range(len(noisy.faces.identities)))
    assert int((names_of(noisy.faces) != np.array(noisy.truth)).sum()) == 27


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ({"flip": 1.0}, "share of 1 for flip is not possible"),
        ({"outlier": -0.1}, "share of -0.1 for outlier is not possible"),
        ({"flip": 0.6, "outlier": 0.4}, "no label would be true"),
        ({"imbalance": 0.5}, "imbalance of 0.5 is not possible"),
        ({"imbalance": float("nan")}, "imbalance of nan is not possible"),
        ({"outlier": 0.9}, "leaves fewer than two to learn"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(what, sentence):
    with pytest.raises(BadInput, match=sentence):
        spoil(a_set([5] * 3), **what)


def test_one_identity_has_no_other():
    with pytest.raises(BadInput, match="at least two identities"):
        flip_labels(a_set([5]), 0.2)
