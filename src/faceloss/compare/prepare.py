"""From the paths of a study to decoded, disjoint training, validation and test faces."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from faceloss.compare.contracts import tests_like_training
from faceloss.compare.noise import Noise, told
from faceloss.compare.study import Single, Study
from faceloss.data.contract import decisive
from faceloss.data.encoded import shards_of
from faceloss.data.entries import silent
from faceloss.data.faces import Faces, PairList
from faceloss.data.load import load_faces
from faceloss.data.noise import spoil
from faceloss.data.overlap import Removed, by_kind, kept, remove_overlap, without_pairs
from faceloss.data.pair_groups import short
from faceloss.data.pairs import load_test
from faceloss.data.splits import split_identities
from faceloss.errors import BadInput
from faceloss.progress import Callback


class Test(NamedTuple):
    """One test: a labelled set of faces (every pair of it counts) or a list of pairs."""

    name: str
    faces: Faces
    pairs: PairList | None


class Bench(NamedTuple):
    """All faces of a study. Unless it keeps what is shared, training has no person of validation or tests."""

    train: Faces
    val: Faces | None
    tests: tuple[Test, ...]
    closed: Faces | None  # other images of the training identities
    records: tuple[dict[str, Any], ...]  # the "data" records
    enrolled: Faces  # training without the noise that a study puts into it: whom ``closed`` is compared with

    @property
    def digests(self) -> tuple[str, ...]:
        """What a run's id depends on: the contents of every set."""
        sets = [self.train, *([self.val] if self.val else []), *([self.closed] if self.closed else [])]
        return tuple(faces.digest for faces in sets + [test.faces for test in self.tests])


def prepare(study: Study, progress: Callback | None = None) -> Bench:
    """Load, split and check the faces of a study.

    Identities that also occur in a test set, by name or by a copy of a picture, are removed from *training* and
    validation, or as the study says from the tests, and counted; or they stay, and are counted.

    Raises:
        BadInput: a path that does not exist or cannot be used, or too few identities; says which and what to do.
    """
    source = load_faces(study.data, size=study.recipe.size, progress=progress, stream=study.stream)
    if study.recipe.shard_window and shards_of(source) is None:
        raise BadInput(
            "--set shard_window=... is of faces that are streamed from shards: add --stream, or leave it out."
        )
    shares = fractions(bool(study.tests), study.single)
    parts = split_identities(source, seed=study.split_seed, overlap=study.overlap, **shares)
    tests = [_load(path, study, progress) for path in study.tests]
    tests_like_training(study, source, [(test.name, test.faces) for test in tests])
    train, val, tests, cuts, from_tests = _apart(study, parts.train, parts.val, tests, progress)
    own = (parts.overlap_identities, parts.overlap_images, parts.overlap_kinds)
    if len(parts.test):
        tests.insert(0, Test(parts.test.name, parts.test, None))
        from_tests.insert(0, Removed(parts.test, *own))
    elif study.overlap == "drop-from-test" and len(val):
        from_tests.insert(0, Removed(val, *own))
    tests = _distinct(tests)
    if len(train.identities) < 2:
        raise BadInput(
            f"{study.data} leaves {len(train.identities)} training identities after removing those that are also in "
            "the test faces; training needs at least two."
        )
    enrolled, noisy = train, {}
    if study.noise != Noise():
        spoiled = spoil(train, **study.noise.model_dump())
        train, noisy = spoiled.faces, {"noise": told(study.noise, spoiled)}
    sets: list[tuple[str, str, Faces, dict[str, Any]]] = [("train", train.name, train, noisy)]
    sets += [("val", val.name, val, {})] if len(val) else []
    sets += [("test", test.name, test.faces, {"pairs": len(test.pairs)} if test.pairs else {}) for test in tests]
    if study.overlap == "drop-from-test":
        for (_, _, _, more), cut in zip(sets[len(sets) - len(from_tests) :], from_tests, strict=True):
            more |= _counts(study, [cut])
    else:
        sets[0][3].update(_counts(study, [Removed(train, *own), *cuts]))
    records = tuple(_record(role, name, faces) | more for role, name, faces, more in sets)
    return Bench(train, val if len(val) else None, tuple(tests), parts.test_closed, records, enrolled)


def _apart(
    study: Study, train: Faces, val: Faces, tests: list[Test], progress: Callback | None
) -> tuple[Faces, Faces, list[Test], list[Removed], list[Removed]]:
    """Training and validation apart from the tests of a study's own.

    Returns the parts, what was taken (or counted) on the side of training, and what from each of the tests.
    """
    say = progress or silent
    if study.overlap == "drop-from-test":
        from_tests = [remove_overlap(test.faces, train, val, progress=say) for test in tests]
        return train, val, [_rest(test, cut) for test, cut in zip(tests, from_tests, strict=True)], [], from_tests
    others = [test.faces for test in tests]
    cuts = [remove_overlap(part, *others, progress=say) for part in (val, train)]
    if study.overlap == "keep":
        cuts = [kept(part, cut) for part, cut in zip((val, train), cuts, strict=True)]
    return cuts[1].left, cuts[0].left, tests, cuts, []


def _rest(test: Test, cut: Removed) -> Test:
    """A test without what was taken from it."""
    pairs = without_pairs(test.pairs, cut.left) if test.pairs and cut.images else test.pairs
    rest = Test(test.name, pairs.faces if pairs else cut.left, pairs)
    if not len(rest.faces):
        raise BadInput(
            f"Nothing of {test.name} is left after removing what training has too; remove it from training instead: "
            "--overlap drop-from-train."
        )
    return rest


def _counts(study: Study, cuts: list[Removed]) -> dict[str, Any]:
    return {
        "overlap": study.overlap,
        "overlap_identities": sum(cut.identities for cut in cuts),
        "overlap_images": sum(cut.images for cut in cuts),
        "overlap_kinds": by_kind(sum((cut.kinds for cut in cuts), Counter[str]())),
    }


def fractions(other_tests: bool, single: Single | None = None) -> dict[str, float]:
    """Which part of the identities is kept for validation and test where the data does not say.

    With tests of their own (``other_tests``) none are kept for testing; for a ``single`` training, as many as it says.
    """
    if single:
        return {"val": single.val, "test": 0.0}
    return {"val": 0.15, "test": 0.0} if other_tests else {"val": 0.1, "test": 0.25}


def _load(path: str, study: Study, progress: Callback | None) -> Test:
    images = Path(study.images) if study.images else None
    loaded = load_test(path, images=images, size=study.recipe.size, progress=progress)
    place = short(path).resolve()
    name = f"{place.parent.name}/{place.name}"
    if isinstance(loaded, PairList):
        return Test(name, loaded.faces, loaded)
    return Test(name, loaded, None)


def _distinct(tests: list[Test]) -> list[Test]:
    """Tests under distinct names."""
    names: list[str] = []
    for test in tests:
        name, number = test.name, 2
        while name in names:
            name, number = f"{test.name} ({number})", number + 1
        names.append(name)
    return [test._replace(name=name) for test, name in zip(tests, names, strict=True)]


def _record(role: str, name: str, faces: Faces) -> dict[str, Any]:
    counts = np.bincount(faces.labels, minlength=len(faces.identities))
    reasons = Counter(item.reason for item in faces.refused)
    people = {
        (group, label)
        for group, label in zip(faces.groups, faces.labels.tolist(), strict=True)
        if faces.identities[label]  # a .bin file does not say who is on its images
    }
    return {
        "kind": "data",
        "role": role,
        "name": name,
        "images": len(faces),
        "identities": len(faces.identities),
        "images_per_identity": [int(counts.min()), float(np.median(counts)), int(counts.max())],
        "refused": len(faces.refused),
        "reasons": dict(sorted(reasons.items())),
        "refused_files": [[item.file, item.reason] for item in faces.refused[:50]],
        "digest": faces.digest,
        "contract": decisive(faces.contract),
        "groups": dict(sorted(Counter(group for group in faces.groups if group).items())),
        "group_identities": dict(sorted(Counter(group for group, _ in people if group).items())),
        **({"generated": True} if faces.generated else {}),
        "overlap_identities": 0,
        "overlap_images": 0,
    }
