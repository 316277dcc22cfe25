"""Training on batches that are balanced by group: which rows there are, what they are trained on, what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from faceloss.compare.engine import _grouped
from faceloss.compare.prepare import Bench, prepare
from faceloss.compare.records import command
from faceloss.compare.study import Study, competitors, plan
from faceloss.data.faces import Faces
from faceloss.errors import BadInput
from faceloss.train.epochs import FaceEpochs
from faceloss.train.settings import Recipe

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
