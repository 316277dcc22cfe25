"""The lists of IJB in the forms in which they come, written from the twin, judged as the twin's own arrays."""

import csv

import numpy as np
import pytest

from faceloss.errors import BadInput
from faceloss.evaluate.cells import pair_cosines
from faceloss.evaluate.ijb import read_lists, with_lists
from faceloss.evaluate.protocol import judge_protocol, load_protocol
from faceloss.evaluate.twins import twin

HEAD = ["TEMPLATE_ID", "SUBJECT_ID", "FILENAME", "SIGHTING_ID", "FACE_X", "FACE_Y", "FACE_WIDTH", "FACE_HEIGHT"]


@pytest.fixture(scope="module")
def arrays():
    return twin("ijb")


def write_csv(path, arrays, rows, head=HEAD):
    """The faces ``rows`` as NIST writes them; media as sightings, boxes as they come."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for k in rows:
            known = {"TEMPLATE_ID": arrays["templates"][k], "SUBJECT_ID": arrays["identities"][k]}
            known |= {"FILENAME": f"frames/{k}.png", "FILE": f"frames/{k}.png"}
            known |= {"SIGHTING_ID": arrays["media"][k], "MEDIA_ID": arrays["media"][k]}
            writer.writerow([known.get(name, "12.5") for name in head])
    return path


def by_role(arrays, role):
    return np.flatnonzero(arrays["roles"] == role)


@pytest.fixture
def nist(tmp_path, arrays):
    """Files of NIST, and the order of the twin's rows in them."""
    names = {"gallery1": "ijbx_1N_gallery_G1.csv", "gallery2": "ijbx_1N_gallery_G2.csv"}
    names["probe"] = "ijbx_1N_probe_mixed.csv"
    paths = [write_csv(tmp_path / name, arrays, by_role(arrays, role)) for role, name in names.items()]
    matches = tmp_path / "ijbx_11_G1_G2_matches.csv"
    matches.write_text("".join(f"{a},{b}\n" for a, b, _ in arrays["comparisons"]))
    return [*paths, matches], np.concatenate([by_role(arrays, role) for role in names])


@pytest.fixture
def insightface(tmp_path, arrays):
    """Files of InsightFace; the rows stay as they are."""
    faces = zip(arrays["templates"], arrays["media"], strict=True)
    (tmp_path / "ijbx_face_tid_mid.txt").write_text("".join(f"{k}.jpg {t} {m}\n" for k, (t, m) in enumerate(faces)))
    label = tmp_path / "ijbx_template_pair_label.txt"
    label.write_text("".join(f"{a} {b} {same}\n" for a, b, same in arrays["comparisons"]))
    return [tmp_path / "ijbx_face_tid_mid.txt", label]


def judged(arrays, embeddings, paths):
    whole, note = with_lists({"embeddings": embeddings}, paths)
    return judge_protocol(load_protocol("ijb"), whole), note


def values(outcome):
    return [(row.metric, row.at, row.group, row.value, row.low, row.high, row.pairs) for row in outcome.rows]


def test_the_lists_of_nist(arrays, nist):
    paths, order = nist
    assert not np.array_equal(order, np.arange(len(order)))
    found, note = judged(arrays, arrays["embeddings"][order], paths)
    whole = judge_protocol(load_protocol("ijb"), arrays)
    assert len([value for *_, value, _, _, _ in values(whole) if value is not None]) > 10
    for ours, theirs in zip(values(found), values(whole), strict=True):
        assert ours[:4] == theirs[:4]  # sums in another order move no pair over a threshold here
        if ours[3] is not None:
            assert ours[4:] == pytest.approx(theirs[4:], abs=1e-6)
    assert note == ""


def test_the_lists_of_insightface_with_and_without_those_of_nist(arrays, insightface, nist):
    found, _ = judged(arrays, arrays["embeddings"], insightface)
    alone = {name: array for name, array in arrays.items() if name not in ("roles", "identities")}
    assert values(found) == values(judge_protocol(load_protocol("ijb"), alone))
    found, _ = judged(arrays, arrays["embeddings"], [*insightface, *nist[0][:3]])  # 1:N too: who, and in which gallery
    assert values(found) == values(judge_protocol(load_protocol("ijb"), arrays))
    assert {row.metric for row in found.rows} == {"tar", "eer", "auc", "tpir", "rank"}


def test_lists_of_ijb_a_name_media_and_have_no_gallery(tmp_path, arrays):
    head = ["TEMPLATE_ID", "SUBJECT_ID", "FILE", "MEDIA_ID", "SIGHTING_ID", "FRAME"]
    rows = by_role(arrays, "probe")[:50]
    found = read_lists([write_csv(tmp_path / "verify_metadata_1.csv", arrays, rows, head)]).arrays
    assert (found["media"].astype(int) == arrays["media"][rows]).all()
    assert "roles" not in found
    write_csv(tmp_path / "search_gallery_1.csv", arrays, by_role(arrays, "gallery1")[:9], head)
    write_csv(tmp_path / "search_probe_1.csv", arrays, rows, head)
    both = read_lists([tmp_path / "search_gallery_1.csv", tmp_path / "search_probe_1.csv"])
    assert (both.arrays["roles"] == np.repeat(["gallery1", "probe"], [9, 50])).all()
    plain = write_csv(tmp_path / "verify_metadata_2.csv", arrays, rows, head[:3])
    assert "each file counts as one" in read_lists([plain]).note


def test_lists_that_cannot_be_meant(tmp_path, arrays, nist, insightface):
    def lines(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    face = "TEMPLATE_ID,SUBJECT_ID,FILENAME\n"
    bad = {
        "There is no file": [tmp_path / "none.csv"],
        "is empty": [lines("empty.csv", "\n")],
        "no list of IJB that is known (12 columns": [lines("points.txt", "1.jpg" + " 3.5" * 11 + "\n")],
        "it needs TEMPLATE_ID, SUBJECT_ID": [lines("a.csv", "TEMPLATE_ID,FILENAME\n1,a.jpg\n")],
        "row 3: 1 values": [lines("b.csv", face + "1,1,a.jpg\n2\n")],
        "row 2: template '1', subject 'nan'": [lines("c.csv", face + "1,nan,a.jpg\n")],
        "has a head and no face": [lines("d.csv", face)],
        "tell of no face": [insightface[1]],
        "There are 2 lists of faces and 0 of pairs": [insightface[0], insightface[0]],
        "cannot be read: 2 whole numbers a line": [lines("e.csv", "1,2\n3,4,5\n6\n")],
        "several subjects of template 1": [insightface[0], lines("f_1N_probe.csv", face + "1,1,a\n1,2,b\n")],
        "are not in the CSVs": [insightface[0], nist[0][0]],
        "are not in the list of faces": [insightface[0], *nist[0][:3], lines("g.csv", face + "7,1,a.jpg\n")],
    }
    for sentence, paths in bad.items():
        with pytest.raises(BadInput) as error:
            read_lists(paths)
        assert sentence in str(error.value), (sentence, str(error.value))
        assert str(error.value).count("\n") == 0
    with pytest.raises(BadInput, match=r"tell of .* faces, the embeddings have 5 rows"):
        with_lists({"embeddings": np.ones((5, 2))}, insightface)
    given = {"embeddings": arrays["embeddings"], "templates": arrays["templates"]}
    with pytest.raises(BadInput, match="templates are given with the embeddings and by the lists"):
        with_lists(given, insightface)


def test_cosines_of_pairs_are_those_of_the_whole():
    """Parts of 2^22 numbers: of 1,000 pairs with 4,194 numbers each."""
    rng = np.random.default_rng(0)
    e = rng.normal(size=(5, 4194)).astype(np.float32)
    a, b = rng.integers(0, 5, (2, 2345))
    assert pair_cosines(e, a, b) == pytest.approx((e.astype(np.float64) @ e.T.astype(np.float64))[a, b], rel=1e-12)
