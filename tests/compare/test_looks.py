"""How often a test was looked at."""

from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from faceloss.compare.looks import best_of, look


def test_the_same_thing_is_one_look(tmp_path: Path) -> None:
    first = look("abc", ["net1", "net2", "net1"], "compare 1", tmp_path)
    assert first[:3] == (2, 1, 2)
    assert look("abc", ["net2"], "compare 1", tmp_path)[:3] == (2, 1, 0)
    assert look("abc", ["net2", "net3"], "evaluate 7", tmp_path)[:3] == (3, 2, 1)
    assert look("other", ["net2"], "evaluate 7", tmp_path)[:3] == (1, 1, 1)
    assert "First look at LFW" in look("another", ["net2"], "x", tmp_path).sentence("LFW")
    assert "so far: 3." in look("abc", [], "x", tmp_path).sentence("LFW")


def test_luck_is_the_expected_best_of_equals() -> None:
    draws = np.random.default_rng(0).normal(size=(20_000, 30))
    for count in (1, 2, 7, 30):
        assert best_of(count) == pytest.approx(draws[:, :count].max(axis=1).mean(), abs=0.02)


def test_a_record_that_cannot_be_used_stops_nothing(tmp_path: Path) -> None:
    look("abc", ["net1"], "s", tmp_path)
    file = next((tmp_path / "looks").iterdir())
    file.write_text(file.read_text() + 'not json\n{"what": 3}\n[]\n')
    assert look("abc", ["net2"], "s", tmp_path).total == 2
    (tmp_path / "file").write_text("")
    assert look("abc", ["net1"], "s", tmp_path / "file").total == 1  # no folder can be made there
    assert look("../../x", ["net1"], "s", tmp_path).total == 1
    assert sorted(path.name for path in (tmp_path / "looks").iterdir()) == ["______x.jsonl", "abc.jsonl"]


def _write(folder: str, who: int) -> None:
    for k in range(50):
        look("abc", [f"{who}-{k}"], f"{who}", Path(folder))


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    context = get_context("spawn")
    writers = [context.Process(target=_write, args=(str(tmp_path), who)) for who in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert look("abc", [], "x", tmp_path)[:2] == (100, 2)
