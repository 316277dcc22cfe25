"""The full cross-matrix at its real size, on embeddings of real faces."""

import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from faceloss.evaluate import judge_matrix, metrics, scale
from faceloss.evaluate.cells import codes, unit

EMBEDDINGS = Path(__file__).resolve().parents[3] / "shared" / "data" / "embeddings" / "lfw.npz"


@pytest.fixture(scope="module")
def lfw() -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and identities of all of LFW."""
    if not EMBEDDINGS.exists():
        pytest.skip("The LFW embeddings are not on this machine, so its 87.5 million pairs were not judged.")
    with np.load(EMBEDDINGS, allow_pickle=False) as file:
        return file["embeddings"], file["identities"]


@pytest.mark.real
def test_lfw_crossed(lfw):
    embeddings, identities = lfw
    tracemalloc.start()
    started = time.process_time()
    judged = judge_matrix(embeddings, identities)
    seconds, peak = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    tar = {row.at: row for row in judged.rows if row.metric == "tar" and row.value is not None}
    assert sorted(tar) == [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
    assert tar[1e-4].pairs == 242_257
    assert all(row.attained <= far for far, row in tar.items())
    assert 0.97 < tar[1e-4].value < 0.99
    assert seconds < 40
    assert peak < 2**30


@pytest.mark.real
def test_lfw_by_the_screen(lfw):
    """The screen and the whole matrix agree to the last pair on embeddings of real faces."""
    embeddings, identities = lfw
    whole = {(row.metric, row.at): row for row in judge_matrix(embeddings, identities).rows}
    found = judge_matrix(embeddings, identities, fars=[1e-4, 1e-5, 1e-6]).rows
    measured = [row for row in found if row.value is not None]
    assert len(measured) == 6
    for row in measured:
        theirs = whole[row.metric, row.at]
        assert (row.value, row.attained) == (pytest.approx(theirs.value, abs=1e-12), theirs.attained)
    vectors, (code, _) = unit(embeddings), codes(identities, len(embeddings))
    assert (scale.ranks(vectors, code) == metrics.leave_one_out_ranks(vectors, code)).all()
