"""Norms against image quality: the correlation of the textbook, an interval that counts subjects, planted causes."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from faceloss.errors import BadInput
from faceloss.evaluate import norms
from faceloss.evaluate.geometry import others_angles
from faceloss.evaluate.norms import correlate_norms, fisher, misses_by_norm, spearman


def vectors(ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=150)
    y = 0.6 * x + rng.normal(size=150)
    return (np.round(x, 1), np.round(y, 1)) if ties else (x, y)


@pytest.mark.parametrize("ties", [False, True])
def test_rho_is_spearmans_and_its_influence_is_that_of_leaving_one_out(ties):
    x, y = vectors(ties)
    assert (len(np.unique(x)) < 150) == ties
    rho, psi = spearman(x, y)
    assert 0.3 < rho < 0.8
    assert rho == pytest.approx(spearmanr(x, y)[0], abs=1e-12)
    less = np.array([spearman(np.delete(x, i), np.delete(y, i))[0] for i in range(150)])
    jackknife = 149 * (less.mean() - less) / 150
    assert np.allclose(psi, jackknife, rtol=0, atol=0.06 * np.abs(jackknife).max())
    assert psi.sum() == pytest.approx(0, abs=1e-12)


def faces(subjects: int, each: int, between: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings whose log norm has correlation ``between`` with a quality, both mostly the subject's."""
    rng = np.random.default_rng(3)
    a = rng.normal(size=subjects)
    b = between * a + np.sqrt(1 - between**2) * rng.normal(size=subjects)
    names = np.repeat(np.arange(subjects), each)
    x, y = (values[names] + 0.2 * rng.normal(size=names.size) for values in (a, b))
    directions = rng.normal(size=(names.size, 6))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True) * np.exp(x)[:, None], y, names


def test_a_planted_cause_is_found_and_its_absence_too():
    for between, sign in ((0.9, 1), (-0.9, -1), (0.0, 0)):
        rows, y, names = faces(60, 8, between)
        (row,) = correlate_norms(rows, {"sharpness": y}, names)
        assert (row.metric, row.status, row.number, row.subjects) == ("rho sharpness", "measured", 480, 60)
        assert row.low < row.value < row.high
        assert (row.low > 0) - (row.high < 0) == sign
        assert row.influence.shape == (60,)


def test_images_of_a_subject_are_not_independent():
    """Eight images of 30 subjects say little more than one of each: the interval is far wider than that of 240."""
    rows, y, names = faces(30, 8, 0.5)
    wide, narrow = (correlate_norms(rows, {"q": y}, who)[0] for who in (names, np.arange(240)))
    assert wide.value == narrow.value
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_what_cannot_be_measured_is_refused_with_a_reason():
    rows, y, names = faces(30, 4, 0.5)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cases = {
        "all embeddings have one norm": (unit.astype(np.float32), y, names),
        "q is the same in all images": (rows, np.ones(120), names),
        "20 images of 5 subjects; at least 30 of two are needed": (rows[:20], y[:20], names[:20]),
    }
    for reason, (embeddings, values, who) in cases.items():
        (row,) = correlate_norms(embeddings, {"q": values}, who)
        assert (row.status, row.value, row.influence, row.note) == ("not measurable", None, None, reason)
    assert {row.note for row in misses_by_norm(unit, names, 0.5)} == {"all embeddings have one norm"}
    with pytest.raises(BadInput, match="vectors of one length that vary"):
        spearman([1.0, 1.0], [1.0, 2.0])


def test_misses_are_counted_where_the_norm_is_low(monkeypatch):
    """The images of low norm lie at right angles to the others of their identity: their pairs fail, no other does."""
    rng = np.random.default_rng(1)
    names = np.repeat(np.arange(20), 10)
    rows = np.eye(21)[names] + 0.01 * rng.normal(size=(200, 21))
    bad = np.arange(0, 200, 10)  # one of each identity, a tenth of all
    rows[bad] = np.eye(21)[20] * 0.1
    low, others = misses_by_norm(rows, names, 0.5, 1e-3)
    assert (low.metric, low.value, low.number, low.subjects, low.at) == ("fnmr lowest tenth", 1.0, 180, 20, 1e-3)
    assert (others.metric, others.value, others.number) == ("fnmr others", 0.0, 720)
    assert others.high < 0.3 < low.low
    monkeypatch.setattr(norms, "BLOCK", 3)
    assert [row[:6] for row in misses_by_norm(rows, names, 0.5, 1e-3)] == [low[:6], others[:6]]
    shuffled = rng.permutation(200)
    again = misses_by_norm(rows[shuffled], names[shuffled], 0.5, 1e-3)
    assert [row.value for row in again] == [1.0, 0.0]


def test_the_interval_stays_inside_and_widens_with_the_error():
    assert fisher(0.0, 0.1, 1e6) == pytest.approx((-np.tanh(0.195996), np.tanh(0.195996)), abs=1e-4)
    low, high = fisher(0.99, 0.01, 10)
    assert -1 < low < 0.99 < high <= 1


def test_angles_to_the_others_leave_the_own_image_out():
    rows = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [1.0, 1.0]])
    assert others_angles(rows, [0, 0, 1, 2]) == pytest.approx([90.0, 90.0])
    assert others_angles(np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]), [0, 0, 0]) == pytest.approx([45, 90, 45])
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(12), 6)
    one_point, none = np.eye(64)[labels] * 7, rng.normal(size=(72, 64))
    assert others_angles(one_point, labels).max() == pytest.approx(0, abs=1e-6)
    assert np.median(others_angles(none, labels)) == pytest.approx(90, abs=5)
