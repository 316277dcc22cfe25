"""The search inside a run: what goes on is what was rewarded, whoever worked on it and however often it was stopped."""

import errno
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from faceloss.compare import search as searching
from faceloss.compare.engine import compare
from faceloss.compare.engines import choose
from faceloss.compare.prepare import Bench, prepare
from faceloss.compare.reward import usable
from faceloss.compare.run import build_state, execute, help_with, policy_of
from faceloss.compare.search_log import LOG, PLACE, read, schedule
from faceloss.compare.study import Competitor, Run, Study, competitors, plan
from faceloss.errors import BadInput, CouldNotFinish
from faceloss.search.policy import Replay
from faceloss.train.epochs import FaceEpochs
from faceloss.train.loop import Diverged, Stopped, train
from faceloss.train.settings import Recipe

RECIPE = Recipe(net_options={"width": 4}, dim=8, size=32, batch=32, epochs=3, device="cpu", precision="fp32")
STUDY = Study(data="builtin", losses=("search_softmax",), recipe=RECIPE)


def smaller(bench: Bench) -> Bench:
    """The first 160 training images (5 steps an epoch), 64 validation images, no test."""
    train, val = bench.train, bench.val
    assert val is not None
    return bench._replace(train=train.take(np.arange(160)), val=val.take(np.arange(64)), tests=(), closed=None)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return smaller(prepare(STUDY))


def run_of(name: str, seed: int = 1, **hyperparameters: float | str) -> Run:
    return Run("id", Competitor(name, name, hyperparameters, "shuffled"), seed)


def digest(folder: Path) -> str:
    """Of all that a run leaves, without its costs."""
    total = hashlib.sha256()
    for name in ("result.json", "model.json"):
        total.update((folder / name).read_bytes())
    log = read(folder)
    for entry in log["epochs"]:
        del entry["seconds"], entry["lived"]
    total.update(json.dumps(log, sort_keys=True).encode())
    return total.hexdigest()


SEARCHES = [
    run_of("search_softmax", candidates=3, a=-20.0),
    run_of("search_softmax", candidates=4, a=-20.0, trial="halving"),
    run_of("search_softmax", candidates=2, method="same"),
    run_of("lookahead_margin", candidates=4, scored=2, tried=0.5),
]
NAMES = ["guided", "halving", "same", "lookahead"]


@pytest.fixture(scope="module", params=list(zip(NAMES, SEARCHES, strict=True)), ids=NAMES)
def searched(
    request: pytest.FixtureRequest, bench: Bench, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, Path]:
    name, run = request.param
    folder = tmp_path_factory.mktemp(name)
    assert execute(run, STUDY, bench, folder) == "finished"
    return run, folder


def test_the_best_of_the_last_rung_goes_on(searched: tuple[Run, Path]) -> None:
    run, folder = searched
    log = read(folder)["epochs"]
    policy = policy_of(run)
    assert [entry["epoch"] for entry in log] == [1, 2, 3]
    for entry in log:
        candidates = entry["candidates"]
        assert len(candidates) == policy.width
        furthest = max(len(candidate["rewards"]) for candidate in candidates)
        assert furthest == len(policy.rungs)
        there = {i: c["rewards"][-1] for i, c in enumerate(candidates) if len(c["rewards"]) == furthest}
        assert entry["chosen"] == max(there, key=lambda i: there[i])
    rewards = {c["rewards"][0] for entry in log for c in entry["candidates"] if c["rewards"]}
    assert len(rewards) > len(log), "candidates do not differ"


def test_every_image_that_a_candidate_saw_is_counted(searched: tuple[Run, Path], bench: Bench) -> None:
    run, folder = searched
    images = len(bench.train)
    expected = {  # halving: rungs after 1, 2 and 5 of 5 steps of 32 images; look-ahead: after 2 and 5
        "guided": 3 * images,
        "same": 2 * images,
        "halving": 4 * 32 + 2 * 32 + 96,
        "lookahead": 2 * 64 + 96,
    }[NAMES[SEARCHES.index(run)]]
    assert [entry["images"] for entry in read(folder)["epochs"]] == [expected] * 3
    record = json.loads((folder / "result.json").read_text())[0]
    assert record["images_seen"] == 3 * images
    assert record["images_tried"] == 3 * expected
    assert json.loads((folder / "cost.json").read_text())["search_seconds"] > 0


def test_the_found_schedule_under_the_same_seed_is_the_same_training(searched: tuple[Run, Path], bench: Bench) -> None:
    """So a replay has another seed; and the fork loses nothing: weights, moments, statistics of normalization."""
    run, folder = searched
    if NAMES[SEARCHES.index(run)] == "same":
        pytest.skip("its candidates have batches of their own")
    policy = Replay(schedule(folder), 3)
    state = build_state(run, STUDY, len(bench.train.identities))
    epochs = FaceEpochs(bench.train, RECIPE, run.seed, "shuffled")
    train(state, epochs, RECIPE, seed=run.seed, save=lambda _: None, courses=lambda epoch: policy.ask(epoch)[0])
    from faceloss.train import checkpoint

    kept = checkpoint.load(folder, "model")
    assert kept is not None
    assert all(torch.equal(kept[0][name], tensor) for name, tensor in state.net.state_dict().items())


def test_stopped_again_and_again_it_ends_the_same(searched: tuple[Run, Path], bench: Bench, tmp_path: Path) -> None:
    run, folder = searched
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked % 4 == 0

    stops = 0
    while True:
        try:
            execute(run, STUDY, bench, tmp_path, stop=stop)
            break
        except Stopped:
            stops += 1
    assert stops >= 5
    assert digest(tmp_path) == digest(folder)
    assert not (tmp_path / PLACE).exists()


KILLER = """
import os, random, signal, sys, time
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, sys.argv[2])
import test_search as t
from faceloss.compare.prepare import prepare
bench, folder, killed = t.smaller(prepare(t.STUDY)), Path(sys.argv[1]), 0
pause = random.Random(5)
while True:
    child = os.fork()
    if not child:
        t.execute(t.SEARCHES[0], t.STUDY, bench, folder)
        os._exit(0)
    until = time.monotonic() + (pause.uniform(0.02, 0.5) if killed < 10 else 100)
    while time.monotonic() < until and not os.waitpid(child, os.WNOHANG)[0]:
        time.sleep(0.005)
    else:
        if time.monotonic() < until:
            break
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    killed += 1
print(killed)
"""


def test_killed_ten_times_at_random_it_ends_the_same(bench: Bench, tmp_path: Path) -> None:
    """SIGKILL, wherever it is: within a step, while it saves or decides."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    execute(SEARCHES[0], STUDY, bench, whole)
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(killed), str(Path(__file__).parent)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 10
    assert digest(killed) == digest(whole)


def test_two_and_three_processes_give_what_one_gives(tmp_path: Path) -> None:
    """One run and more workers than that: the others train candidates of it."""
    study = STUDY.model_copy(update={"losses": ("search_softmax(candidates=3)",), "seeds": 1})
    study = study.model_copy(update={"recipe": RECIPE.model_copy(update={"epochs": 2})})
    records = []
    for workers in (1, 3):
        out = tmp_path / str(workers)
        compare(study, out, engine=choose("processes", workers=workers))
        records.append((out / "records.jsonl").read_text().splitlines())
    different = [pair for pair in zip(*records, strict=True) if pair[0] != pair[1]]
    assert different == []


def test_a_helper_does_the_work_while_the_one_that_decides_waits(bench: Bench, tmp_path: Path) -> None:
    """A helper trains all candidates of the first epoch, and nothing of the second before the first is decided."""
    run = SEARCHES[0]
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 40

    with pytest.raises(Stopped):
        help_with(run, STUDY, bench, tmp_path, stop=stop)
    assert len(list(tmp_path.glob("search/0/*/rung-0.json"))) == 3
    assert not (tmp_path / "search" / "1").exists()
    assert read(tmp_path)["epochs"] == []
    execute(run, STUDY, bench, tmp_path)
    whole = tmp_path / "whole"
    execute(run, STUDY, bench, whole)
    assert digest(tmp_path) == digest(whole)


@pytest.mark.parametrize("what", ["log", "checkpoint"])
def test_a_damaged_search_says_so(bench: Bench, tmp_path: Path, what: str) -> None:
    """Stopped within the second epoch; then somebody changes what it needs to go on."""
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 17  # 15 steps an epoch

    with pytest.raises(Stopped):
        execute(SEARCHES[0], STUDY, bench, tmp_path, stop=stop)
    if what == "log":
        (tmp_path / LOG).write_text("{}")
    else:
        for file in tmp_path.glob("search/0/*/checkpoint*"):
            file.unlink()
    with pytest.raises(CouldNotFinish, match=r"The search in .* is damaged .*; delete that folder to start"):
        execute(SEARCHES[0], STUDY, bench, tmp_path)


def diverging(monkeypatch: pytest.MonkeyPatch, when: int) -> None:
    """From its ``when``-th call on, training diverges."""
    calls = 0

    def broken(state, epochs, recipe, **more):
        nonlocal calls
        calls += 1
        if calls >= when:
            raise Diverged("loss nan at step 3, epoch 1", np.array([0]))
        train(state, epochs, recipe, **more)

    monkeypatch.setattr(searching, "train", broken)


def test_a_candidate_that_diverges_does_not_go_on(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverging(monkeypatch, 3)
    study = STUDY.model_copy(update={"recipe": RECIPE.model_copy(update={"epochs": 1})})
    assert execute(SEARCHES[0], study, bench, tmp_path) == "finished"
    (entry,) = read(tmp_path)["epochs"]
    assert [candidate["rewards"][0] is None for candidate in entry["candidates"]] == [False, False, True]
    assert entry["chosen"] in (0, 1)


def test_a_search_all_of_whose_candidates_diverge_has_diverged(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverging(monkeypatch, 4)
    assert execute(SEARCHES[0], STUDY, bench, tmp_path) == "diverged: loss nan at step 3, epoch 1"
    assert len(read(tmp_path)["epochs"]) == 1


def test_without_validation_identities_there_is_nothing_to_be_rewarded_by(bench: Bench, tmp_path: Path) -> None:
    assert "none that are not also among the test faces" in usable(None)
    assert bench.val is not None
    assert "two images each" in usable(bench.val.take(np.unique(bench.val.labels, return_index=True)[1]))
    assert usable(bench.val) == ""


def test_a_reward_on_the_test_set_is_refused(tmp_path: Path) -> None:
    """Validation identities that are also tested are taken away, and without any the search is refused."""
    from PIL import Image

    faces = prepare(STUDY)
    rows = ["file,identity,split"]
    for part, split in ((faces.train, "train"), (faces.tests[0].faces, "val")):
        for i in range(48):
            file = f"{split}{i}.png"
            Image.fromarray(part.pixels[i]).save(tmp_path / file)
            rows.append(f"{file},{part.identities[part.labels[i]]},{split}")
            if split == "val":
                place = tmp_path / "test" / part.identities[part.labels[i]]
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(part.pixels[i]).save(place / file)
    (tmp_path / "faces.csv").write_text("\n".join(rows))
    study = STUDY.model_copy(update={"data": str(tmp_path / "faces.csv"), "tests": (str(tmp_path / "test"),)})
    with pytest.raises(
        BadInput, match="search_softmax: a search is rewarded by validation identities, and there are none"
    ):
        compare(study, tmp_path / "runs")


def test_a_replay_takes_the_schedule_of_another_seed() -> None:
    rows = competitors(
        STUDY.model_copy(update={"losses": ("search_softmax(a=-9)", "search_softmax(a=-9,method=replay)")}), classes=5
    )
    assert [row.source for row in rows] == ["", "", "search_softmax (a=-9)"]
    runs = plan(STUDY.model_copy(update={"seeds": 3}), rows, ("x",))
    folders = {(run.competitor.label, run.seed): run.folder for run in runs}
    for run in runs:
        expected = folders["search_softmax (a=-9)", (run.seed + 1) % 3] if run.competitor.source else ""
        assert run.source == expected
    with pytest.raises(BadInput, match="replays the schedule of am_lfs, which must be compared as well"):
        competitors(STUDY.model_copy(update={"losses": ("am_lfs(method=replay)",)}), classes=5)


def test_a_comparison_replays_and_trains_longer(tmp_path: Path) -> None:
    study = STUDY.model_copy(
        update={
            "losses": ("search_softmax(candidates=2,method=replay)", "search_softmax(candidates=2)", "cosface*2"),
            "seeds": 2,
            "recipe": RECIPE.model_copy(update={"epochs": 1}),
        }
    )
    records = [json.loads(line) for line in compare(study, tmp_path / "runs").read_text().splitlines()]
    runs = {(row["label"], row["seed"]): row for row in records if row["kind"] == "run"}
    assert {row["status"] for row in runs.values()} <= {"finished", "collapsed"}  # one epoch is little
    assert runs["cosface x 2", 0]["images_seen"] == 2 * runs["softmax", 0]["images_seen"]
    found = {(row["seed"], row["epoch"]): row for row in records if row["kind"] == "search"}
    assert set(found) == {(0, 1), (1, 1)}
    replays = [run for run in (tmp_path / "runs" / "runs").iterdir() if "replay" in run.name]
    assert len(replays) == 2
    assert not any((run / "search.json").exists() for run in replays)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ESTALE])
def test_what_is_gone_when_it_is_read_ends_the_search_but_not_a_helper(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may have decided on it and deleted it; over a network that is a stale file handle."""

    def gone(*_: object) -> None:
        raise OSError(number, "gone")

    monkeypatch.setattr(searching, "_epoch", gone)
    about = SimpleNamespace(folder=tmp_path, study=STUDY, build=lambda: "not trained")
    ended = iter([False, False, True])
    assert searching.search(about, lambda: next(ended)) == "not trained"  # type: ignore[arg-type, comparison-overlap]
    assert next(ended, None) is None
    with pytest.raises(CouldNotFinish, match="a candidate's checkpoint is gone"):
        searching.search(about)  # type: ignore[arg-type]
    number = errno.EIO
    with pytest.raises(OSError, match="gone"):
        searching.search(about, lambda: False)  # type: ignore[arg-type]
