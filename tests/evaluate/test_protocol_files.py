"""Protocols as data files with hashes; bad input of every kind is one sentence."""

import hashlib

import numpy as np
import pytest

from faceloss.errors import BadInput
from faceloss.evaluate import judge_distractors, judge_open_set, judge_templates, pool
from faceloss.evaluate.file import judge_input, read_input, repeated
from faceloss.evaluate.protocol import judge_protocol, load_protocol, names
from faceloss.evaluate.templates import linked
from faceloss.evaluate.twins import faces, twin


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def benchmark(tmp_path):
    """The IJB twin in the form in which such benchmarks come: embeddings in one file, lists in others."""
    arrays = twin("ijb")
    np.save(tmp_path / "embeddings.npy", arrays["embeddings"])
    lines = [f"img/{k}.jpg {t} {m}" for k, (t, m) in enumerate(zip(arrays["templates"], arrays["media"], strict=True))]
    (tmp_path / "tid_mid.txt").write_text("\n".join(lines) + "\n")
    pairs = "\n".join(",".join(map(str, row)) for row in arrays["comparisons"].tolist())
    (tmp_path / "pairs.csv").write_text("template,template,same\n" + pairs + "\n")
    np.save(tmp_path / "people.npy", arrays["identities"])
    (tmp_path / "ijbx.toml").write_text(
        f"""
title = "IJB-X 1:1"
kind = "templates"
[files.templates]
path = "tid_mid.txt"
sha256 = "{sha(tmp_path / "tid_mid.txt")}"
columns = [1]
[files.media]
path = "tid_mid.txt"
sha256 = "{sha(tmp_path / "tid_mid.txt")}"
columns = [2]
[files.identities]
path = "people.npy"
sha256 = "{sha(tmp_path / "people.npy")}"
[files.comparisons]
path = "pairs.csv"
sha256 = "{sha(tmp_path / "pairs.csv")}"
skip = 1
"""
    )
    return tmp_path


def test_a_benchmark_of_lists(benchmark):
    protocol = load_protocol(str(benchmark / "ijbx.toml"))
    given = read_input(benchmark / "embeddings.npy", protocol)
    found = judge_input(given, protocol)
    arrays = twin("ijb")
    arrays.pop("roles")
    whole = judge_protocol(load_protocol("ijb"), arrays)
    assert [r.value for r in found.rows] == [r.value for r in whole.rows]
    assert len([r for r in found.rows if r.value is not None]) == 5
    assert protocol.hashes["media"] == sha(benchmark / "tid_mid.txt")
    test, what = given.digests(protocol)
    moved = given._replace(arrays={"embeddings": given.arrays["embeddings"] + 1})
    assert moved.digests(protocol)[0] == test
    assert moved.digests(protocol)[1] != what
    assert moved.digests(None)[0] != test


def test_another_list_under_the_same_name_is_refused(benchmark):
    text = (benchmark / "pairs.csv").read_text()
    (benchmark / "pairs.csv").write_text(text.replace(",1\n", ",0\n", 1))
    with pytest.raises(BadInput, match=r"is not the list that ijbx\.toml was made for: its SHA-256 is"):
        load_protocol(str(benchmark / "ijbx.toml"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("kind = 'pear'", "did you mean 'pairs'"),
        ("title = 'x'", "no kind of protocol named 'None'"),
        ("kind = 'rank'\nsetings = 1", "did you mean 'settings'"),
        ("kind = 'groups'\n[settings]\nfarr = 1e-3", "did you mean 'far'"),
        ("kind = 'groups'\n[settings]\nfar = 2.0", "between 0 and 1"),
        ("kind = 'groups'\n[settings]\nfar = 'small'", "between 0 and 1"),
        ("kind = 'open set'\n[settings]\nfpirs = []", "must be numbers"),
        ("kind = 'rank'\n[settings]\nfar = 0.1", "no setting"),
        ("kind = 'rank'\n[files.embeddings]\npath='a'", "no array named 'embeddings'"),
        ("kind = 'rank'\n[files.identities]\nsha256='a'", "needs a path"),
        ("kind = 'rank'\n[files.identities]\npath='none.txt'\nsha256='a'", "cannot be read"),
        ("kind = 'rank'\n[files.identities]\npath='none.txt'\nsha='a'", "did you mean 'sha256'"),
        ("kind = ", "cannot be read as a protocol"),
    ],
)
def test_a_protocol_that_cannot_be_meant(tmp_path, text, sentence):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(BadInput, match=sentence):
        load_protocol(str(file))


def test_lists_that_cannot_be_read(tmp_path):
    (tmp_path / "list.txt").write_text("a b\nc\n")
    text = f"kind='rank'\n[files.identities]\npath='list.txt'\nsha256='{sha(tmp_path / 'list.txt')}'\n"
    for columns in ("", "columns=[7]", "columns='x'"):
        (tmp_path / "mine.toml").write_text(text + columns)
        with pytest.raises(BadInput, match="cannot be read as a list"):
            load_protocol(str(tmp_path / "mine.toml"))
    with pytest.raises(BadInput, match="no protocol file"):
        load_protocol(str(tmp_path / "none.toml"))


def test_arrays_that_are_missing_or_given_twice(benchmark):
    with pytest.raises(BadInput, match="needs an array roles; given are: embeddings, identities"):
        judge_protocol(load_protocol("megaface"), twin("rank"))
    protocol = load_protocol(str(benchmark / "ijbx.toml"))
    with pytest.raises(BadInput, match="comparisons are given with the embeddings and by the protocol"):
        judge_protocol(protocol, twin("ijb"))
    with pytest.raises(BadInput, match="builtin is the generated twin"):
        read_input("builtin", protocol)
    with pytest.raises(BadInput, match="builtin is the generated twin"):
        read_input("builtin")


# Bad input, over every protocol


def spoil(arrays, what):
    e = arrays["embeddings"] = arrays["embeddings"].copy()
    if what == "nan":
        e[5, 1] = np.nan
    elif what == "infinite":
        e[5, 1] = -np.inf
    elif what == "zero":
        e[5] = 0
    elif what == "flat":
        arrays["embeddings"] = e.ravel()
    elif what == "text":
        arrays["embeddings"] = e.astype(str)
    elif what == "short":
        arrays["embeddings"] = e[:-1]
    elif what == "identities":
        arrays["identities"] = arrays["identities"][:-1]
    elif what == "nameless":
        arrays["identities"] = np.char.mod("p%d", arrays["identities"])
        arrays["identities"][5] = ""
    elif what == "fractions":
        arrays["identities"] = arrays["identities"] / 2
    return arrays


SENTENCES = {
    "nan": "1 of .* hold NaN or infinity",
    "infinite": "1 of .* hold NaN or infinity",
    "zero": "1 of .* are zero vectors",
    "flat": "give|must",
    "text": "give a row of numbers",
    "short": "give one|images are 0 to|give|identities were given",
    "identities": "have shape|give one|identities were given",
    "nameless": "1 of .* are empty; name the person|has several identities",
    "fractions": "a name or a whole number",
}


@pytest.mark.parametrize("what", SENTENCES)
@pytest.mark.parametrize("name", names())
def test_every_protocol_refuses_it_in_one_sentence(name, what):
    with pytest.raises(BadInput, match=SENTENCES[what]) as refusal:
        judge_protocol(load_protocol(name), spoil(twin(name), what))
    text = str(refusal.value)
    assert len(text) < 300
    assert "\n" not in text
    assert text.endswith((".", "?"))


def test_repeated_embeddings_are_told():
    arrays = twin("rank")
    e, people = arrays["embeddings"].copy(), arrays["identities"]
    assert repeated(e, people) == ""
    own = np.flatnonzero(people == np.argmax(np.bincount(people)))
    e[own[1]] = e[own[0]]
    assert "1 of" in repeated(e, people)
    assert "all within one identity" in repeated(e, people)
    other = np.flatnonzero(people != people[own[0]])[0]
    e[other] = e[own[0]]
    assert "2 of" in repeated(e, people)
    assert "1 of them are shared by two identities" in repeated(e, people)


# Templates


def test_a_video_does_not_outvote_a_photograph():
    e = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], dtype=np.float32)
    found = pool(e, [7, 7, 7, 7], [1, 2, 2, 2])
    assert found.embeddings == pytest.approx(np.array([[0.5**0.5, 0.5**0.5]]))
    images = pool(e, [7, 7, 7, 7])
    assert images.embeddings == pytest.approx(np.array([[1, 3]]) / 10**0.5)
    two = pool(e, [7, 7, 9, 9], [1, 2, 2, 2])  # media are told apart within a template: 2 is one image of 7
    assert two.ids.tolist() == [7, 9]
    assert two.embeddings == pytest.approx(np.array([[0.5**0.5, 0.5**0.5], [0, 1]]))
    assert pool(e * np.array([[9], [1], [1], [1]]), [7] * 4, [1, 2, 2, 2]).embeddings == pytest.approx(found.embeddings)


def test_templates_that_cannot_be_meant():
    arrays = twin("ijb")
    e, people, templates, media, comparisons = (
        arrays[k] for k in ("embeddings", "identities", "templates", "media", "comparisons")
    )
    mixed = people.copy()
    mixed[np.flatnonzero(templates == templates[10])[0]] = 399
    assert np.sum(templates == templates[10]) > 1
    wrong = comparisons.copy()
    wrong[3, 1] = 5
    cases = [
        ((e, mixed, templates, media), "has several identities"),
        ((e, people, templates, media, None, wrong), "1 comparisons name a template without an image .first: 5."),
        ((e, people, templates, media, None, comparisons[:, :1]), "two template ids a row"),
        ((e, None, templates, media, None, comparisons[:, :2]), "third column"),
        ((e, None, templates, media), r"need comparisons \[M, 3\]"),
        ((e, people, templates[:-1], media), "templates have shape"),
        ((np.array([[1, 0], [-1, 0], [0, 1]]), [0, 0, 1], [1, 1, 2], [1, 2, 1]), "template 1 cancel out"),
    ]
    for arguments, sentence in cases:
        with pytest.raises(BadInput, match=sentence):
            judge_templates(*arguments)


def test_comparisons_without_identities_find_them_by_their_marks():
    """All genuine pairs of the twin are listed, so that the marks tell who is who; the rows say how it is known."""
    arrays = twin("ijb")
    given = arrays["embeddings"], arrays["templates"], arrays["media"], None, arrays["comparisons"]
    rows = judge_templates(given[0], None, *given[1:]).judged.rows
    known = judge_templates(given[0], arrays["identities"], *given[1:]).judged.rows
    assert {"lead from one to the other" in r.note for r in rows if r.value is not None} == {True}
    assert [(r.value, r.low, r.high, r.effective) for r in rows] == [
        pytest.approx((r.value, r.low, r.high, r.effective)) for r in known
    ]
    assert sum(r.value is not None for r in rows) == 5
    assert (linked(7, np.array([5, 2, 3]), np.array([2, 6, 4])) == [0, 1, 2, 3, 3, 2, 2]).all()
    wrong = arrays["comparisons"].copy()
    own = np.flatnonzero(wrong[:, 2])
    wrong[own[:1], 2] = 0  # its two templates are still linked through their third
    with pytest.raises(BadInput, match="1 pairs are marked same or different against their identities"):
        judge_templates(given[0], None, *given[1:4], wrong)


# Open set and distractors


def test_a_network_that_sends_all_to_one_point_names_nobody():
    arrays = twin("open-set")
    flat = np.ones_like(arrays["embeddings"])
    rows = judge_open_set(flat, arrays["identities"]).judged.rows
    assert {r.value for r in rows if r.metric in ("tpir", "rank") and r.at != 10.0 and r.value is not None} == {0.0}
    arrays = twin("megaface")
    flat = np.ones_like(arrays["embeddings"])
    rows = judge_distractors(flat, arrays["identities"], arrays["roles"], sizes=[2_000], fars=[1e-3]).rows
    assert [r.value for r in rows] == [0.0, 0.0]


def test_a_tie_counts_against_the_mate():
    """Two people with one face are both enrolled: neither is named, however far above the threshold; a third is."""
    faces = np.eye(4)[[0, 0, 1] + [0] * 20 + [0] * 20 + [1] * 20 + [2] * 80]
    people = np.array([0, 1, 2] + [0] * 20 + [1] * 20 + [2] * 20 + list(range(10, 90)))
    roles = np.array(["gallery"] * 3 + ["probe"] * 140)
    found = judge_open_set(faces, people, roles, fpirs=[0.5], sizes=[3])
    rows = {(r.metric, r.at): r for r in found.judged.rows}
    assert rows["tpir", 0.5].value == pytest.approx(1 / 3)
    assert rows["rank", 1.0].value == pytest.approx(1 / 3)
    assert rows["rank", 5.0].value == 1.0
    assert found.curves[0].fnir == pytest.approx(2 / 3)


def test_the_seed_only_orders_the_distractors():
    arrays = twin("megaface")
    parts = arrays["embeddings"], arrays["identities"], arrays["roles"]
    one, two = (judge_distractors(*parts, sizes=[100, 2_000], fars=[1e-4], seed=seed).rows for seed in (0, 1))
    assert one[0].value != two[0].value
    assert [r.value for r in one if r.gallery == 2_000] == [r.value for r in two if r.gallery == 2_000]


@pytest.mark.parametrize(
    ("roles", "sentence"),
    [
        (lambda r: np.where(r == "probe", "distractor", r), "0 probes and 2240 distractors"),
        (lambda r: r[:-1], "give one text"),
        (lambda r: (r == "probe").astype(int), "give one text"),
    ],
)
def test_roles_that_cannot_be_meant(roles, sentence):
    arrays = twin("megaface")
    with pytest.raises(BadInput, match=sentence):
        judge_distractors(arrays["embeddings"], arrays["identities"], roles(arrays["roles"]))
    with pytest.raises(BadInput, match=r"roles gallery and probe|give one text"):
        judge_open_set(arrays["embeddings"], arrays["identities"], roles(arrays["roles"]))


def test_the_intervals_of_distractors_are_those_of_resampled_people_and_strangers():
    """60 strangers have more or less of the look that all people share: who of them was met moves the threshold."""
    rng = np.random.default_rng(2)
    e, people = faces(rng, np.full(300, 3), noise=0.6)
    crowd, _ = faces(rng, np.full(60, 1), noise=0.6)
    whole = np.concatenate([e + 0.75, crowd + rng.uniform(0, 1.5, 60)[:, None]])
    roles = np.repeat(["probe", "distractor"], [900, 60])
    row = judge_distractors(whole, np.concatenate([people, np.arange(60)]), roles, fars=[1e-2]).rows[1]
    u = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    i, j = np.triu_indices(900, 1)
    mates = people[i] == people[j]
    i, j = i[mates], j[mates]
    genuine, owner = np.sum(u[i] * u[j], axis=1), people[i]
    impostor = u[:900] @ u[900:].T
    order = np.argsort(-impostor, axis=None)
    row_of, column_of, ordered = order // 60, order % 60, impostor.ravel()[order]
    drawn = []
    for _ in range(200):
        w, d = rng.multinomial(300, np.full(300, 1 / 300)), rng.multinomial(60, np.full(60, 1 / 60))
        weight = np.cumsum(w[people][row_of] * d[column_of])
        t = ordered[np.searchsorted(weight / weight[-1], 1e-2, "right")]
        drawn.append(np.sum(w[owner] * (genuine > t)) / w[owner].sum())
    error = np.sqrt(np.sum(row.influence**2))
    assert 0.2 < row.value < 0.95
    assert error == pytest.approx(np.std(drawn), rel=0.15)
    assert np.std(drawn) > 1.2 * np.sqrt(np.sum(row.influence[:300] ** 2))  # of the people alone
