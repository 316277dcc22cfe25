"""The score of a pair is one number, whoever computes it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faceloss.matching.exact import least, pair_scores, scores


@pytest.mark.parametrize("dim", [1, 2, 3, 7, 64, 100, 512])
def test_scores_are_inner_products_rounded_once(dim):
    rng = np.random.default_rng(dim)
    a, b = rng.normal(size=(2, 50, dim)).astype(np.float32) / np.float32(np.sqrt(dim))
    found = scores(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    exact = [math.fsum(float(x) * float(y) for x, y in zip(*rows, strict=True)) for rows in zip(a, b, strict=True)]
    assert len(np.unique(found)) == 50
    assert (found == np.array(exact, dtype=np.float32)).all()


def test_scores_do_not_depend_on_their_neighbors():
    x = torch.randn(70, 129, generator=torch.Generator().manual_seed(0))
    row, column = torch.arange(70).repeat_interleave(70), torch.arange(70).repeat(70)
    whole = pair_scores(x, row, x, column).view(70, 70)
    assert torch.equal(whole, whole.T)
    assert torch.equal(whole[5, 60], scores(x[5:6], x[60:61])[0])
    assert (whole != x @ x.T).any()  # a float32 product is another matter


@given(st.floats(-1, 1, width=32))
def test_least_is_where_rounding_turns(bar):
    edge = float(least(torch.tensor(bar)))
    assert float(np.float32(np.nextafter(edge, 2))) >= bar
    assert float(np.float32(np.nextafter(edge, -2))) < bar
    assert least(torch.tensor([-torch.inf, torch.inf])).tolist() == [-math.inf, math.inf]
