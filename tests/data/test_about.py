"""What a set says about itself: groups of identities from identities.csv, and the marker of generated faces."""

import csv
import io
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from faceloss.data.about import _GENERATED
from faceloss.data.builtin import builtin_path
from faceloss.data.export import export_folder, export_shards
from faceloss.data.load import load_faces, open_named
from faceloss.data.sources import open_source
from faceloss.errors import BadInput

ORIGINS = ("african", "asian", "caucasian")


def groups(path: Path) -> dict[str, str]:
    return {entry.identity: entry.group for entry in open_source(path).entries}


def pack(root: Path) -> Path:
    """The folder as an archive beside it, its files in the root."""
    with tarfile.open(root.with_suffix(".tar"), "w") as archive:
        for path in sorted(root.rglob("*")):
            archive.add(path, path.relative_to(root), recursive=False)
    return root.with_suffix(".tar")


def test_built_in_faces_have_the_group_of_their_largest_share(tmp_path):
    faces = load_faces("builtin", size=16, cache=tmp_path)
    found = {faces.identities[label]: group for label, group in zip(faces.labels, faces.groups, strict=True)}
    with tarfile.open(builtin_path()) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.extractfile("identities.csv").read().decode())))
    for row in rows:
        shares = {name: float(row[name]) for name in ORIGINS}
        assert shares[found[row["identity"]]] == max(shares.values())
    assert Counter(found.values()) == {"african": 68, "asian": 47, "caucasian": 45}
    assert faces.generated
    assert faces.take([0, 30]).generated


@pytest.mark.parametrize("how", ["folder", "tar"])
def test_a_folder_and_an_archive_say_it_in_the_same_way(folder, how):
    root = folder(ann=2, bob=1, eve=1)
    (root / "identities.csv").write_text("Identity;Group;age\nann;north;3\nbob;south;4\neve;;5\nnobody;west;6\n")
    path = pack(root) if how == "tar" else root
    assert groups(path) == {"ann": "north", "bob": "south", "eve": ""}
    (root / "identities.csv").write_text("id,asian,caucasian,african\nann,.2,.4,.4\nbob,0.5,0.4,0.1\neve,,,\n")
    path = pack(root) if how == "tar" else root
    assert groups(path) == {"ann": "african", "bob": "asian", "eve": ""}  # a tie goes to the first by name
    (root / "identities.csv").write_text("identity,age\nann,3\n")
    path = pack(root) if how == "tar" else root
    assert set(groups(path).values()) == {""}


def test_what_the_images_say_goes_before(folder):
    root = folder(ann=2, bob=1)
    (root / "index.csv").write_text("file,identity,group\nann/00.png,ann,old\nann/01.png,ann,\nbob/02.png,bob,old\n")
    (root / "identities.csv").write_text("identity,group\nann,north\n")
    assert [entry.group for entry in open_source(root).entries] == ["old", "north", "old"]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("identity,group\nann,north\n", "nothing of 2 identities of the set, the first is bob; add a row for each"),
        ("name,group\nann,north\n", "has groups but no column identity"),
        ("identity,group\nann,north\nbob,south\neve,south\nann,south\n", "gives ann two groups, north and south"),
        ("identity,african,asian,caucasian\nann,1,x,0\nbob,1,0,0\neve,1,0,0\n", "shares of ann are african 1, asian x"),
        ("identity,african,asian,caucasian\nann,0,0,0\nbob,1,0,0\neve,1,0,0\n", "not all 0"),
        ("identity,african,asian,caucasian\nann,nan,0,1\nbob,1,0,0\neve,1,0,0\n", "three numbers of 0 or more"),
    ],
)
def test_groups_that_cannot_be_used_are_refused_in_one_sentence(folder, table, says):
    root = folder(ann=1, bob=1, eve=1)
    (root / "identities.csv").write_text(table)
    for path in (root, pack(root)):
        with pytest.raises(BadInput) as refused:
            open_source(path)
        assert says in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "text", "marked"),
    [
        ("README.txt", "Faces\n  Generated: TRUE \n", True),
        ("readme.md", "generated: true\r\n", True),
        ("README", "generated: true", True),
        ("README.txt", "these are not generated: true\ngenerated: false\n", False),
        ("README.rst", "generated: true\n", False),
        ("ann/README.txt", "generated: true\n", False),
    ],
)
def test_generated_faces_say_so_in_the_readme_of_the_root(folder, tmp_path, name, text, marked):
    root = folder(ann=2, bob=1)
    (root / name).write_text(text)
    for path in (root, pack(root)):
        assert open_source(path).generated is marked
        assert load_faces(path, size=16, cache=tmp_path / "cache").generated is marked


def test_a_marker_does_not_speak_for_images_from_elsewhere(folder):
    root, other = folder("made", ann=2), folder("real", first=9, bob=1)
    (root / "README.txt").write_text("generated: true\n")
    for row, marked in (("ann/00.png,ann", True), (f"../{other.name}/bob/00.png,bob", False)):
        (root / "index.csv").write_text(f"file,identity\nann/01.png,ann\n{row}\n")
        assert open_source(root).generated is marked
    (root / "index.csv").write_text(f"file,identity\nann/01.png,ann\n{other / 'bob' / '00.png'},bob\n")
    assert not open_source(root).generated


def test_exported_generated_faces_stay_marked(folder, tmp_path):
    source = open_named("builtin")
    source = source._replace(entries=source.entries[:30])
    for export in (export_folder, export_shards):
        out = tmp_path / export.__name__
        export(source, out)
        again = open_source(out)
        assert again.generated
        assert {(e.identity, e.group) for e in again.entries} == {(e.identity, e.group) for e in source.entries}
        export(source._replace(generated=False), tmp_path / "plain" / export.__name__)
        assert not open_source(tmp_path / "plain" / export.__name__).generated


@pytest.mark.real
def test_no_set_of_real_people_is_marked(real_faces_folder):
    for name in ("orl.tar", "celeba.tar"):
        with tarfile.open(real_faces_folder / name) as archive:
            texts = [archive.extractfile(m).read() for m in archive if "readme" in m.name.lower()]
        assert texts
        assert not any(_GENERATED.search(text.decode()) for text in texts)
        assert not open_source(real_faces_folder / name, flat=True).generated
