"""The main job from a folder, a tar and a .bin to records; killed, resumed, refused."""

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]
SMALL = [
    "--epochs", "3", "--seeds", "1", "--workers", "1", "--set", "net_options.width=4", "--set", "batch=16",
    "--set", "size=32", "--set", "dim=16", "--set", "learning_rate=0.05", "--set", "precision=fp32",
    "--set", "images_per_identity=2",
]  # fmt: skip
LOSSES = ["--losses", "cosface(s=10,m=0.1),triplet(mining=random)"]


def rows(out: Path, kind: str) -> list[dict[str, object]]:
    found = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    return [row for row in found if row["kind"] == kind]


@pytest.fixture(scope="module")
def finished(faceloss: Cli, toy_faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison that nobody disturbed."""
    out = tmp_path_factory.mktemp("finished") / "runs"
    done = faceloss("compare", "--data", toy_faces, *LOSSES, *SMALL, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out / "report.html")
    return out


def test_every_loss_has_its_rows(finished: Path) -> None:
    labels = ["softmax", "softmax (identity-balanced)", "cosface (s=10, m=0.1)", "triplet (mining=random)"]
    study = rows(finished, "study")[0]
    assert study["losses"] == labels
    assert [row["label"] for row in rows(finished, "run")] == labels
    assert {row["status"] for row in rows(finished, "run")} == {"finished"}
    assert len(rows(finished, "epoch")) == 4 * 3
    assert all("val_eer" in row and "accuracy" in row and "target_angle" in row for row in rows(finished, "epoch"))
    measured = [row for row in rows(finished, "summary") if row["status"] == "measured"]
    assert {row["protocol"] for row in measured} == {"cross-matrix", "rank"}
    for row in measured:
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1  # type: ignore[operator]
    assert {row["verdict"] for row in rows(finished, "difference")} <= {"no difference found", "not measurable"}
    assert len((finished / "costs.jsonl").read_text().splitlines()) == 4
    assert (finished / "report.html").stat().st_size > 10_000


def test_what_may_explain_a_result_is_measured_of_every_loss(finished: Path) -> None:
    classes = {"softmax", "softmax (identity-balanced)", "cosface (s=10, m=0.1)"}
    assert {row["label"] for row in rows(finished, "ruler")} == classes
    sample = {row["label"]: row for row in rows(finished, "collapse") if row["role"] == "train"}
    assert {label for label, row in sample.items() if row["nc4"] is not None} == classes
    assert len(sample) == len([row for row in rows(finished, "collapse") if row["role"] == "test"]) == 4
    for row in rows(finished, "epoch"):
        assert ("target_angles" in row) == (row["label"] in classes)
        assert ("target_weights" in row) == (row["label"] in classes and row["epoch"] == 3)
    metrics = {row["metric"] for row in rows(finished, "norm")}
    assert {"rho sharpness", "rho noise", "fnmr lowest tenth", "fnmr others"} <= metrics
    assert len(rows(finished, "norm summary")) == 4 * len(metrics)
    assert '<section id="why">' in (finished / "report.html").read_text()


def test_every_run_has_a_map_of_the_same_people(finished: Path) -> None:
    maps = rows(finished, "map")
    assert [row["label"] for row in maps] == [row["label"] for row in rows(finished, "run")]
    assert len({(*row["identities"], *row["counts"]) for row in maps}) == 1  # type: ignore[misc]
    assert len({tuple(row["x"]) for row in maps}) == 4  # type: ignore[arg-type]
    assert '<section id="map">' in (finished / "report.html").read_text()


def test_training_identities_are_not_tested(finished: Path) -> None:
    data = {row["role"]: row for row in rows(finished, "data")}
    assert data["train"]["identities"] + data["val"]["identities"] + data["test"]["identities"] == 16  # type: ignore[operator]


def test_a_finished_comparison_is_left_as_it_is(finished: Path, faceloss: Cli) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "runs").rglob("*")}
    records = (finished / "records.jsonl").read_bytes()
    again = faceloss("resume", finished)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in (finished / "runs").rglob("*")} == before
    assert (finished / "records.jsonl").read_bytes() == records


@pytest.mark.faults
def test_killed_at_random_moments_and_resumed_the_records_are_equal_to_the_byte(
    finished: Path, faceloss: Cli, toy_faces: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    command = [sys.executable, "-m", "faceloss.cli.main", "compare", "--data", toy_faces, *LOSSES, *SMALL]
    command += ["--set", "checkpoint_seconds=0", "--out", out]  # a checkpoint after every step
    moments = random.Random(5)
    kills = 0
    for _ in range(4):
        process = subprocess.Popen(
            [str(word) for word in command], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        until = time.monotonic() + 60
        while not list(out.glob("runs/*/checkpoint*.json")) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(moments.uniform(0.0, 0.5))
        if process.poll() is None:
            process.kill()
            kills += 1
        process.wait()
    assert kills >= 3
    unfinished = [path for path in out.glob("runs/*") if not (path / "result.json").exists()]
    assert unfinished or len(list(out.glob("runs/*"))) < 4  # there was something left to resume
    done = faceloss("resume", out, "--workers", "1")
    assert done.returncode == 0, done.stderr

    def without_command(path: Path) -> list[str]:
        """The study record names checkpoint_seconds, which decides nothing."""
        return (path / "records.jsonl").read_text().splitlines()[1:]

    assert without_command(out) == without_command(finished)


@pytest.mark.faults
def test_a_stop_is_obeyed_and_the_way_on_is_told(
    faceloss: Cli, finished: Path, toy_faces: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    command = [sys.executable, "-m", "faceloss.cli.main", "compare", "--data", toy_faces, *LOSSES, *SMALL, "--out", out]
    process = subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not list(out.glob("runs/*")) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 3
    assert f"faceloss resume {out}" in stderr
    assert "Traceback" not in stderr
    assert faceloss("resume", out, "--workers", "2").returncode == 0
    assert (out / "records.jsonl").read_bytes() == (finished / "records.jsonl").read_bytes()  # two workers, same bytes


def test_from_a_tar_it_is_the_same(finished: Path, faceloss: Cli, toy_faces: Path, tmp_path: Path) -> None:
    archive = tmp_path / "people.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(toy_faces, "people")
    done = faceloss("compare", "--data", archive, *LOSSES, *SMALL, "--out", tmp_path / "runs")
    assert done.returncode == 0, done.stderr

    def values(out: Path) -> list[object]:
        return [(row["label"], row["metric"], row["at"], row["value"]) for row in rows(out, "summary")]

    assert values(tmp_path / "runs") == values(finished)


def test_tested_on_a_bin_file_and_a_pair_list(
    faceloss: Cli, toy_faces: Path, painter: Callable[..., Path], tmp_path: Path
) -> None:
    other = painter(tmp_path / "other", 20, 4, seed=9, prefix="guest")
    people = sorted(other.iterdir())
    same = [(p, 0, p, k) for p in people for k in (1, 2, 3)]
    different = [(p, k, people[(i + 1 + k) % 20], 0) for i, p in enumerate(people) for k in (1, 2, 3)]
    images, flags = [], []
    for first, i, second, j in (row for pair in zip(same, different, strict=True) for row in pair):
        images += [sorted(first.iterdir())[i].read_bytes(), sorted(second.iterdir())[j].read_bytes()]
        flags.append(first == second)
    (tmp_path / "pairs.bin").write_bytes(pickle.dumps((images, flags)))
    for path in [path for person in people for path in sorted(person.iterdir())]:
        path.rename(path.with_name(f"{path.parent.name}_{int(path.stem) + 1:04d}.png"))
    lines = ["2\t30"]
    for fold in (0, 1):
        lines += [f"{p.name}\t{i + 1}\t{j + 1}" for p, i, _, j in same[30 * fold : 30 * fold + 30]]
        lines += [f"{p.name}\t{i + 1}\t{q.name}\t{j + 1}" for p, i, q, j in different[30 * fold : 30 * fold + 30]]
    (tmp_path / "pairs.txt").write_text("\n".join(lines) + "\n")
    near = [(people[i], k, people[(i + 1 + k) % 10 + i // 10 * 10], 0) for i in range(20) for k in (1, 2, 3)]
    for group, own in (("first", slice(0, 30)), ("last", slice(30, 60))):  # as RFW: no first line, pairs in any order
        lists = [f"{p.name}\t{i + 1}\t{j + 1}" for p, i, _, j in same[own]]
        lists += [f"{p.name}\t{i + 1}\t{q.name}\t{j + 1}" for p, i, q, j in near[own]]
        (tmp_path / f"{group}_pairs.txt").write_text("\n".join(lists[k % 2 * 30 + k // 2] for k in range(60)) + "\n")
    out = tmp_path / "runs"
    tests = ["--test", tmp_path / "pairs.bin", "--test", tmp_path / "pairs.txt", "--images", other, "--test", other]
    tests += ["--test", tmp_path / "{first,last}_pairs.txt"]
    done = faceloss("compare", "--data", toy_faces, "--losses", "softmax", *SMALL, *tests, "--out", out)
    assert done.returncode == 0, done.stderr
    cells = {
        (row["test"], row["protocol"], row["metric"]): row for row in rows(out, "summary") if row["value"] is not None
    }
    place = tmp_path.name
    from_bin = cells[f"{place}/pairs.bin", "ten folds", "auc"]
    from_list = cells[f"{place}/pairs.txt", "ten folds", "auc"]
    assert from_bin["value"] == pytest.approx(from_list["value"], abs=1e-6)  # the same pairs
    assert from_bin["value"] != 0.5
    assert (f"{place}/other", "cross-matrix", "eer") in cells
    assert next(row for row in rows(out, "data") if row["role"] == "train")["identities"] == 16 - 2
    groups = {(r["metric"], r["group"]): r for r in rows(out, "group") if r["test"] == f"{place}/*_pairs.txt"}
    assert {(r["group"], r["status"]) for (metric, _), r in groups.items() if metric == "accuracy"} == {
        ("first", "measured"), ("last", "measured")
    }  # fmt: skip
    assert {r["status"] for (metric, _), r in groups.items() if metric in ("fmr", "fnmr")} == {"not measurable"}
    assert "needs 300 impostor pairs, there are 60" in str(groups["fmr", "first"]["note"])
    page = (out / "report.html").read_text()
    section = page[page.index('<section id="groups"') :]
    assert f"{place}/*_pairs.txt: one threshold for all" in section
    assert f"--test '{tmp_path}/{{first,last}}_pairs.txt'" in str(rows(out, "study")[0]["command"])


def test_an_identity_in_training_and_test_is_taken_from_training_and_counted(
    faceloss: Cli, toy_faces: Path, painter: Callable[..., Path], tmp_path: Path
) -> None:
    other = painter(tmp_path / "other", 10, 4, seed=9, prefix="guest")
    (other / "guest_00").rename(other / "Person 01")
    (other / "guest_01").rename(other / "person_09")
    out = tmp_path / "runs"
    done = faceloss("compare", "--data", toy_faces, "--losses", "softmax", *SMALL, "--test", other, "--out", out)
    assert done.returncode == 0, done.stderr
    data = {row["role"]: row for row in rows(out, "data")}
    assert data["train"]["overlap_identities"] == 2
    assert data["train"]["overlap_images"] == 16
    assert data["train"]["identities"] + data["val"]["identities"] == 14  # type: ignore[operator]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--data", "/nowhere/faces"], "/nowhere/faces"),
        (["--losses", "arcfase"], "did you mean 'arcface'?"),
        (["--losses", "cosface(margn=0.2)"], "margn"),
        (["--losses", "cosface(m=-1)"], "m must be"),
        (["--losses", "cosface("], "is not a loss"),
        (["--set", "learning_rat=0.1"], "did you mean 'learning_rate'?"),
        (["--set", "learning_rate=fast"], "learning_rate"),
        (["--set", "net=smal"], "did you mean 'small'?"),
        (["--sedes", "3"], "--seeds"),
        (["--budget", "many"], "--budget many"),
        (["--losses", "softmax,softmax,cosface,cosface"], "cosface"),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_2(
    faceloss: Cli, toy_faces: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    out = tmp_path / "runs"
    done = faceloss("compare", "--data", toy_faces, *SMALL, "--out", out, *words)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
    assert not out.exists()


def test_an_empty_folder_of_the_user_stays_when_a_study_is_refused(faceloss: Cli, tmp_path: Path) -> None:
    done = faceloss("compare", "--data", tmp_path / "nowhere", *SMALL, "--out", tmp_path)
    assert done.returncode == 2
    assert tmp_path.is_dir()
    assert not list(tmp_path.iterdir())


def test_another_study_in_the_folder_is_refused_and_not_touched(faceloss: Cli, finished: Path, toy_faces: Path) -> None:
    before = (finished / "records.jsonl").read_bytes()
    done = faceloss("compare", "--data", toy_faces, "--losses", "normface", *SMALL, "--out", finished)
    assert done.returncode == 2
    assert "holds another study" in done.stderr
    assert (finished / "records.jsonl").read_bytes() == before


def test_a_folder_with_other_things_is_not_touched(faceloss: Cli, toy_faces: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("do not lose me")
    done = faceloss("compare", "--data", toy_faces, *LOSSES, *SMALL, "--out", tmp_path)
    assert done.returncode == 2
    assert "not a runs folder" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.txt"]


@pytest.mark.faults
def test_a_folder_in_use_is_refused(faceloss: Cli, finished: Path) -> None:
    import fcntl

    with open(finished / ".lock", "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = faceloss("resume", finished)
    assert done.returncode == 3
    assert "in use" in done.stderr


@pytest.mark.faults
def test_a_truncated_image_and_a_lonely_one_do_not_stop_the_work(
    faceloss: Cli, painter: Callable[..., Path], tmp_path: Path
) -> None:
    faces = painter(tmp_path / "faces", 14, 5)
    victim = faces / "person_03" / "00.png"
    victim.write_bytes(victim.read_bytes()[:200])
    for extra in sorted((faces / "person_05").iterdir())[1:]:
        extra.unlink()
    out = tmp_path / "runs"
    done = faceloss("compare", "--data", faces, "--losses", "softmax", *SMALL, "--out", out)
    assert done.returncode == 0, done.stderr
    refused = [item for row in rows(out, "data") for item in row["refused_files"]]  # type: ignore[attr-defined]
    assert [Path(file).as_posix() for file, _ in refused] == ["person_03/00.png"]
    assert sum(row["images"] for row in rows(out, "data")) == 14 * 5 - 1 - 4  # type: ignore[misc]


@pytest.mark.faults
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux")
def test_a_full_disk_ends_with_a_sentence(faceloss: Cli, toy_faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    limited = ["bash", "-c", 'ulimit -f 40; exec "$@"', "-", sys.executable, "-m", "faceloss.cli.main"]
    words = ["compare", "--data", toy_faces, "--losses", "softmax", *SMALL, "--out", out]
    done = subprocess.run([*limited, *map(str, words)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    resumed = faceloss("resume", out)
    assert resumed.returncode == 0, resumed.stderr


@pytest.mark.faults
def test_divergence_is_a_row_not_a_crash(faceloss: Cli, toy_faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    wild = ["--set", "clip=0", "--set", "warmup_epochs=0", "--set", "weight_decay=0"]
    words = [word if word != "learning_rate=0.05" else "learning_rate=1e30" for word in SMALL]
    done = faceloss("compare", "--data", toy_faces, "--losses", "softmax,center", *words, *wild, "--out", out)
    assert done.returncode == 0, done.stderr
    found = {row["label"]: row for row in rows(out, "run")}
    assert found["center"]["status"] == "diverged"
    assert "step" in str(found["center"]["reason"])
    assert "person_" in str(found["center"]["reason"])  # the offending batch is named
    assert "diverged" in (out / "report.html").read_text()


def test_a_budget_of_images_becomes_epochs(faceloss: Cli, toy_faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    words = [word for word in SMALL if word not in ("--epochs", "3")]
    done = faceloss("compare", "--data", toy_faces, "--losses", "softmax", *words, "--budget", "0.2k", "--out", out)
    assert done.returncode == 0, done.stderr
    study, data = rows(out, "study")[0], rows(out, "data")[0]
    assert study["epochs"] == 200 // int(data["images"]) > 0  # type: ignore[call-overload]
