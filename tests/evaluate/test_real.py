"""The full cross-matrix at its real size, on embeddings of real faces."""

import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from faceloss.evaluate import judge_matrix

EMBEDDINGS = Path(__file__).resolve().parents[3] / "shared" / "data" / "embeddings" / "lfw.npz"


@pytest.mark.real
def test_lfw_crossed():
    if not EMBEDDINGS.exists():
        pytest.skip("The LFW embeddings are not on this machine, so the matrix of 87.5 million pairs was not judged.")
    with np.load(EMBEDDINGS, allow_pickle=False) as file:
        embeddings, identities = file["embeddings"], file["identities"]
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
