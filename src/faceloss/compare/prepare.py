"""From the paths of a study to decoded, disjoint training, validation and test faces."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from faceloss.compare.study import Study
from faceloss.data import load_faces, load_test
from faceloss.data.faces import Faces, PairList
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

    Training identities that also occur in a validation or test set, by name or by an identical file, are removed from
    *training* and counted.

    Raises:
        BadInput: a path that does not exist or cannot be used, or too few identities; says which and what to do.
    """
    size = study.recipe.size
    source = load_faces(study.data, size=size, progress=progress)
    if study.tests:
        splits = split_identities(source, seed=study.split_seed, val=0.15, test=0.0)
        tests = [_named(path, study, progress) for path in study.tests]
    else:
        splits = split_identities(source, seed=study.split_seed, val=0.1, test=0.25)
        tests = []
    if splits.test is not None and (not study.tests or any(source.splits)):
        tests.insert(0, Test(f"{source.name} test", splits.test, None))
    if not tests:
        raise BadInput(f"{study.data} leaves nothing to test on; give --test, or more identities.")
    tests = _distinct(tests)

    train, overlaps = splits.train, {}
    held_out = [("val", splits.val)] if splits.val is not None else []
    for role, other in held_out + [(test.name, test.faces) for test in tests]:
        before = train
        train, identities, images = remove_overlap(before, other)
        overlaps[role] = {"overlap_identities": identities, "overlap_images": images}
    if len(train.identities) < 2:
        raise BadInput(
            f"{study.data} leaves {len(train.identities)} training identities after removing those that are also in "
            "the validation or test faces; training needs at least two."
        )
    total = {key: sum(overlap[key] for overlap in overlaps.values()) for key in ("overlap_identities", "overlap_images")}
    records = [_record("train", train, source, total)]
    if splits.val is not None:
        records.append(_record("val", splits.val, None, overlaps["val"]))
    for test in tests:
        refused = None if test.faces.name == source.name else test.faces
        record = _record("test", test.faces, refused, overlaps[test.name], name=test.name)
        records.append(record | ({"pairs": len(test.pairs.same)} if test.pairs else {}))
    return Bench(train, splits.val, tuple(tests), splits.test_closed, tuple(records))


def _named(path: str, study: Study, progress: Callback | None) -> Test:
    images = Path(study.images) if study.images else None
    loaded = load_test(path, images=images, size=study.recipe.size, progress=progress)
    name = f"{Path(path).resolve().parent.name}/{Path(path).name}" if Path(path).is_file() else Path(path).resolve().name
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


def _record(
    role: str, faces: Faces, refused: Faces | None, overlap: dict[str, int], name: str | None = None
) -> dict[str, Any]:
    counts = np.bincount(faces.labels, minlength=len(faces.identities))
    reasons: dict[str, int] = {}
    files = []
    for item in refused.refused if refused is not None else ():
        reasons[item.reason] = reasons.get(item.reason, 0) + 1
        files.append([item.file, item.reason])
    groups: dict[str, int] = {}
    for group in faces.groups:
        if group:
            groups[group] = groups.get(group, 0) + 1
    return {
        "kind": "data",
        "role": role,
        "name": name or faces.name,
        "images": len(faces.labels),
        "identities": len(faces.identities),
        "images_per_identity": [int(counts.min()), float(np.median(counts)), int(counts.max())],
        "refused": len(files),
        "reasons": reasons,
        "refused_files": files[:50],
        "digest": faces.digest,
        "groups": groups,
        **overlap,
    }
