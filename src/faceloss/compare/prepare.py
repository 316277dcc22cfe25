"""From the paths of a study to decoded, disjoint training, validation and test faces."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from faceloss.compare.study import Single, Study
from faceloss.data.faces import Faces, PairList
from faceloss.data.load import load_faces
from faceloss.data.pairs import load_test
from faceloss.data.splits import remove_overlap, split_identities
from faceloss.errors import BadInput
from faceloss.progress import Callback


class Test(NamedTuple):
    """One test: a labelled set of faces (every pair of it counts) or a list of pairs."""

    name: str
    faces: Faces
    pairs: PairList | None


class Bench(NamedTuple):
    """All faces of a study. Training shares no identity and no identical file with validation or tests."""

    train: Faces
    val: Faces | None
    tests: tuple[Test, ...]
    closed: Faces | None  # other images of the training identities
    records: tuple[dict[str, Any], ...]  # the "data" records

    @property
    def digests(self) -> tuple[str, ...]:
        """What a run's id depends on: the contents of every set."""
        sets = [self.train, *([self.val] if self.val else []), *([self.closed] if self.closed else [])]
        return tuple(faces.digest for faces in sets + [test.faces for test in self.tests])


def prepare(study: Study, progress: Callback | None = None) -> Bench:
    """Load, split and check the faces of a study.

    Identities that also occur in a test set, by name or by an identical file, are removed from *training* and
    validation, and counted.

    Raises:
        BadInput: a path that does not exist or cannot be used, or too few identities; says which and what to do.
    """
    source = load_faces(study.data, size=study.recipe.size, progress=progress)
    parts = split_identities(source, seed=study.split_seed, **fractions(bool(study.tests), study.single))
    tests = [_load(path, study, progress) for path in study.tests]
    if len(parts.test):
        tests.insert(0, Test(parts.test.name, parts.test, None))
    tests = _distinct(tests)
    others = [test.faces for test in tests]
    val, identities, images = remove_overlap(parts.val, *others)
    train, more_identities, more_images = remove_overlap(parts.train, *others)
    if len(train.identities) < 2:
        raise BadInput(
            f"{study.data} leaves {len(train.identities)} training identities after removing those that are also in "
            "the test faces; training needs at least two."
        )
    overlap = {
        "overlap_identities": parts.overlap_identities + identities + more_identities,
        "overlap_images": parts.overlap_images + images + more_images,
    }
    sets = [("train", train.name, train, overlap)]
    sets += [("val", val.name, val, {})] if len(val) else []
    sets += [("test", test.name, test.faces, {"pairs": len(test.pairs)} if test.pairs else {}) for test in tests]
    records = tuple(_record(role, name, faces) | more for role, name, faces, more in sets)
    return Bench(train, val if len(val) else None, tuple(tests), parts.test_closed, records)


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
    place = Path(path).resolve()
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
        "groups": dict(sorted(Counter(group for group in faces.groups if group).items())),
        "overlap_identities": 0,
        "overlap_images": 0,
    }
