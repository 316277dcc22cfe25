"""Training on batches that are balanced by group: which rows there are, what they are trained on, what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from faceloss import nets
from faceloss.cli.compare import compare as verb
from faceloss.compare import flops
from faceloss.compare.engine import _grouped, compare
from faceloss.compare.prepare import Bench, prepare
from faceloss.compare.records import command
from faceloss.compare.study import Competitor, Study, competitors, plan
from faceloss.data.faces import Faces
from faceloss.errors import BadInput
from faceloss.report import write_report
from faceloss.train.epochs import FaceEpochs
from faceloss.train.settings import Batches, Recipe

STUDY = Study(data="builtin", losses=("cosface(m=0.2,s=30)", "triplet"), balance=True)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return prepare(STUDY)


def grouped(faces: Faces, **names: str) -> Faces:
    """``faces`` with the groups renamed, or taken away by an empty name."""
    return replace(faces, groups=tuple(names.get(group, group) for group in faces.groups))


def test_every_row_comes_a_second_time_after_itself() -> None:
    rows = competitors(STUDY, 100)
    assert [(row.label, row.batches) for row in rows] == [
        ("softmax", "shuffled"),
        ("softmax (group-balanced)", "group-balanced"),
        ("softmax (identity-balanced)", "identity-balanced"),
        ("softmax (identity- and group-balanced)", "identity- and group-balanced"),
        ("cosface (m=0.2, s=30)", "shuffled"),
        ("cosface (m=0.2, s=30) (group-balanced)", "group-balanced"),
        ("triplet", "identity-balanced"),
        ("triplet (group-balanced)", "identity- and group-balanced"),
    ]
    plain = STUDY.model_copy(update={"balance": False})
    assert [row.label for row in competitors(plain, 100)] == [row.label for row in rows[::2]]
    ids = {run.competitor.label: run.id for run in plan(STUDY, rows, ("x",)) if run.seed == 0}
    assert len(set(ids.values())) == 8
    for run in plan(plain, competitors(plain, 100), ("x",)):
        assert run.seed or ids[run.competitor.label] == run.id  # the rows that were there are the same runs
    assert " --balance " in command(STUDY)
    assert "--balance" not in command(plain)


@pytest.mark.parametrize("kind", ["group-balanced", "identity- and group-balanced"])
def test_as_many_images_equally_many_of_each_group(bench: Bench, kind: str) -> None:
    """The group that is small in training is made smaller still."""
    kept = [i for i, group in enumerate(bench.train.groups) if group != "asian" or bench.train.labels[i] % 3 == 0]
    train = bench.train.take(kept)
    base = {"group-balanced": "shuffled", "identity- and group-balanced": "identity-balanced"}[kind]
    recipe = Recipe(images_per_identity=4, batch=24)

    def seen(kind: str) -> dict[str, int]:
        batches = FaceEpochs(train, recipe, 0, kind).batches(0)  # type: ignore[arg-type]
        names, counts = np.unique(np.array(train.groups)[np.concatenate(batches)], return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))

    plain, balanced = seen(base), seen(kind)
    assert sum(plain.values()) == sum(balanced.values())
    assert plain["asian"] < 0.6 * plain["african"]
    assert max(balanced.values()) - min(balanced.values()) <= 24


@pytest.mark.parametrize("kind", get_args(Batches))
def test_operations_are_counted_on_batches_as_they_are_trained(bench: Bench, kind: Batches) -> None:
    """26 images are no whole number of identities with 4 each; in a shuffled batch triplet finds no pairs to count."""
    recipe = Recipe(net_options={"width": 4}, dim=16, size=32, batch=26, images_per_identity=4)
    (size,) = {len(batch) for batch in FaceEpochs(bench.train, recipe, 0, kind).batches(0)}
    people = np.unique(bench.train.labels[FaceEpochs(bench.train, recipe, 0, kind).batches(0)[0]])
    net = nets.build(recipe.net, dim=recipe.dim, input_size=recipe.size, **recipe.net_options)
    found = flops.count(net, Competitor("triplet", "triplet", {}, kind), recipe, len(bench.train.identities))
    pairs = flops.count(net, Competitor("triplet", "triplet", {}, "identity-balanced"), recipe, 100)
    assert found.batch == size
    assert (found.head_step == pairs.head_step) == (len(people) == size // 4)


def test_what_cannot_be_balanced_is_refused_in_one_sentence(bench: Bench) -> None:
    _grouped(bench)
    train, test = bench.train, bench.tests[0]
    asian = sum(group == "asian" for group in train.groups)
    cases = {
        f"--balance: {asian} of the {len(train)} training images have no group; name one": bench._replace(
            train=grouped(train, asian="")
        ),
        "--balance: all training images are of the group one; at least two": bench._replace(
            train=grouped(train, african="one", asian="one", caucasian="one")
        ),
        "--balance: training has no image of the group asian, which builtin test has": bench._replace(
            train=train.take([i for i, group in enumerate(train.groups) if group != "asian"])
        ),
    }
    for said, bad in cases.items():
        with pytest.raises(BadInput) as refused:
            _grouped(bad)
        assert str(refused.value).startswith(said)
    # A test that says nothing of groups is no reason to refuse.
    silent = test._replace(faces=grouped(test.faces, african="", asian="", caucasian=""))
    _grouped(bench._replace(tests=(silent,)))


def test_without_groups_nothing_is_trained(toy_faces: Path, tmp_path: Path) -> None:
    words = ["--data", str(toy_faces), "--losses", "softmax", "--balance", "--out", str(tmp_path / "runs")]
    with pytest.raises(BadInput, match="training images have no group"):
        verb.main(words, standalone_mode=False)
    assert not (tmp_path / "runs" / "runs").exists()


def test_a_comparison_with_groups_ends_in_groups_and_pictures(painter: Any, tmp_path: Path) -> None:
    """Painted faces that say they are generated, in two groups: from the folder to the page."""
    data = painter(tmp_path / "people", 16, 8)
    (data / "README.txt").write_text("generated: true\n")
    people = sorted(folder.name for folder in data.iterdir() if folder.is_dir())
    rows = (f"{who},{('odd', 'even')[i % 2]}\n" for i, who in enumerate(people))
    (data / "identities.csv").write_text("identity,group\n" + "".join(rows))
    tiny = Recipe(
        net_options={"width": 4}, dim=8, size=32, batch=16, epochs=1, device="cpu", precision="fp32", threads=1
    )
    study = Study(data=str(data), losses=("softmax",), seeds=1, balance=True, recipe=tiny)
    out = tmp_path / "runs"
    compare(study, out)
    found = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    runs = {row["label"]: row for row in found if row["kind"] == "run"}
    assert {label: row["batches"] for label, row in runs.items()} == {
        "softmax": "shuffled",
        "softmax (group-balanced)": "group-balanced",
    }
    assert len({row["images_seen"] for row in runs.values()}) == 1
    assert {row["group"] for row in found if row["kind"] == "group summary"} >= {"odd", "even"}
    before = {name: (out / name).read_bytes() for name in ("records.jsonl", "pictures.jsonl")}
    page = write_report(out).read_text()
    assert page.count("<img ") > 4
    assert '<section id="groups">' in page
    (out / "pictures.jsonl").unlink()
    compare(study, out)  # what is done is only assembled anew
    assert {name: (out / name).read_bytes() for name in before} == before
    assert write_report(out).read_text() == page


@pytest.mark.parametrize("words", [[], ["--show-faces"]])
def test_consent_goes_from_the_command_line_to_pictures_and_page(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []

    def run_all(*_: Any, show_faces: bool, **__: Any) -> None:
        told.append(show_faces)

    def write(out: Path, show_faces: bool) -> Path:
        told.append(show_faces)
        return out

    monkeypatch.setattr("faceloss.compare.engine.compare", run_all)
    monkeypatch.setattr("faceloss.report.write_report", write)
    verb.main(["--data", "builtin", "--losses", "softmax", "--out", str(tmp_path), *words], standalone_mode=False)
    assert told == [bool(words)] * 2
