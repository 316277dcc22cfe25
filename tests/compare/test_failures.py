"""From embeddings to records of groups, open sets and failures; which pictures are kept, and which never are."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from faceloss.cli.report import report
from faceloss.compare import prepare as preparing
from faceloss.compare.failures import FILE, keep_anew, keep_pictures
from faceloss.compare.judge import judge
from faceloss.compare.prepare import Bench, prepare
from faceloss.compare.study import Study
from faceloss.data.faces import PairList
from faceloss.errors import BadInput
from faceloss.report import write_report

Painter = Any


def embedder(bench: Bench) -> Any:
    """Faces by their pixels, coarsely: some people are alike, some pictures of one person are not."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(8 * 8 * 3, 24))

    def embed(pixels: Any) -> Any:
        x = np.asarray(pixels, dtype=np.float32)
        x = x.reshape(len(x), 8, x.shape[1] // 8, 8, x.shape[1] // 8, 3).mean(axis=(2, 4)).reshape(len(x), -1)
        return ((x - 127) @ mix).astype(np.float32)

    return embed


@pytest.fixture(scope="module")
def builtin() -> Bench:
    return prepare(Study(data="builtin", losses=("softmax",)))


def write(out: Path, study: Study, bench: Bench) -> Path:
    """The runs folder of one run, as far as pictures need it."""
    out.mkdir(parents=True, exist_ok=True)
    found = judge(embedder(bench), bench)
    who = {"label": "softmax", "loss": "softmax", "seed": 0}
    rows = [*bench.records, *({**who, **row} for row in found.results + found.curves)]
    (out / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (out / "study.json").write_text(study.model_dump_json())
    (out / "plan.json").write_text(json.dumps({"data": bench.records, "runs": []}))
    return out


def test_built_in_faces_are_judged_by_group_openly_and_by_their_hardest_pairs(builtin: Bench) -> None:
    found = judge(embedder(builtin), builtin)
    kinds = {row["kind"] for row in found.results + found.curves}
    assert kinds == {"result", "group", "curve", "open set", "failures", "collapse", "norm", "map"}
    rates = [row for row in found.results if row["kind"] == "group" and row["metric"] in ("fmr", "fnmr")]
    assert {row["group"] for row in rates} == {"african", "asian", "caucasian"}
    assert {row["status"] for row in rates} == {"measured"}
    data = {row["role"]: row for row in builtin.records}
    assert data["train"]["group_identities"] == {"african": 42, "asian": 30, "caucasian": 32}
    assert data["train"]["groups"] == {"african": 42 * 24, "asian": 30 * 24, "caucasian": 32 * 24}
    assert all(row["generated"] is True for row in data.values())
    tpir = {(row["protocol"], row["at"]): row for row in found.results if row.get("metric") == "tpir"}
    assert tpir["open set, 20 enrolled", 0.1]["status"] == "measured"
    assert tpir["open set, 20 enrolled", 0.001]["status"] == "not measurable"
    assert "builtin test|open set, 20 enrolled|tpir|0.1" in found.influences
    curves = [row for row in found.curves if row["kind"] == "open set"]
    assert [(row["gallery"], row.get("extrapolated_from")) for row in curves] == [(10, None), (20, None), (100, 20)]
    cmc = next(row for row in found.curves if row.get("name") == "cmc")
    rank = {row["at"]: row["value"] for row in found.results if row.get("metric") == "rank"}
    assert [cmc["rate"][cmc["rank"].index(k)] for k in (1, 5, 10)] == pytest.approx(
        [rank[k] for k in (1, 5, 10)], abs=1e-6
    )
    (hard,) = [row for row in found.curves if row["kind"] == "failures"]
    assert len(hard["false_matches"]) == len(hard["false_non_matches"]) == 6
    for pair in hard["false_matches"]:
        assert pair["score"] >= hard["threshold"]
        assert pair["first"]["identity"] != pair["second"]["identity"]
        assert pair["first"]["file"].startswith(pair["first"]["identity"])
    for pair in hard["false_non_matches"]:
        assert pair["score"] < hard["threshold"]
        assert pair["first"]["identity"] == pair["second"]["identity"]


def test_pictures_of_generated_faces_are_kept_and_are_those_of_the_files(builtin: Bench, tmp_path: Path) -> None:
    out = write(tmp_path, Study(data="builtin", losses=("softmax",)), builtin)
    keep_pictures(out, builtin)
    rows = [json.loads(line) for line in (out / FILE).read_text().splitlines()]
    assert 12 < len(rows) <= 24
    faces = builtin.tests[0].faces
    for row in rows:
        image = Image.open(io.BytesIO(base64.b64decode(row["jpeg"])))
        assert (image.format, image.size, row["generated"]) == ("JPEG", (56, 56), True)
        assert not image.getexif()
        small = np.asarray(image.resize((8, 8)), dtype=np.float64)
        whole = np.asarray(Image.fromarray(np.asarray(faces.pixels[faces.files.index(row["file"])])).resize((8, 8)))
        assert np.abs(small - whole).mean() < 6
    before = (out / FILE).read_bytes()
    keep_pictures(out, builtin)
    assert (out / FILE).read_bytes() == before
    assert write_report(out).read_text().count("<img ") == 24


def test_faces_that_are_not_marked_are_kept_and_shown_with_consent_alone(
    painter: Painter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Painted here; for the program they might be anybody."""
    data = painter(tmp_path / "people", 24, 10)
    study = Study(data=str(data), losses=("softmax",))
    bench = prepare(study)
    out = write(tmp_path / "runs", study, bench)
    keep_pictures(out, bench)
    assert not (out / FILE).exists()
    (out / FILE).write_text("from an earlier consent")
    keep_pictures(out, bench)
    assert not (out / FILE).exists()
    text = write_report(out).read_text()
    assert "<img" not in text
    assert "so that only file names are shown" in text
    plan = (out / "plan.json").read_text()
    # The verb, with and without consent; what the records come from does not matter here.
    monkeypatch.setattr("faceloss.compare.records.assemble", lambda out: out)
    for words, images in ((["--show-faces"], True), ([], False)):
        report.main([str(out), *words], standalone_mode=False)
        assert ("<img " in (out / "report.html").read_text()) is images
    assert (out / FILE).stat().st_size > 1000
    (out / "plan.json").write_text(plan.replace(bench.records[0]["digest"], "0" * 64))
    with pytest.raises(BadInput, match="have changed since they were compared"):
        keep_anew(out)
    (data / "README.txt").write_text("generated: true\n")
    marked = prepare(study)
    assert marked.digests == bench.digests  # what is said of the faces does not change them
    keep_pictures(out, marked)
    assert write_report(out).read_text().count("<img ") > 0


def test_a_pair_list_has_failures_of_its_pairs(builtin: Bench) -> None:
    faces = replace(builtin.tests[0].faces, generated=False)
    rng = np.random.default_rng(0)
    people = faces.labels
    first = np.repeat(np.arange(len(faces)), 8)
    second = np.concatenate([rng.choice(np.flatnonzero((people == people[i]) == (k % 2 == 0)), 1)
                             for i in range(len(faces)) for k in range(8)])  # fmt: skip
    keep = first != second
    first, second = first[keep], second[keep]
    pairs = PairList(faces, first, second, people[first] == people[second], np.arange(len(first)) % 10)
    found = judge(embedder(builtin), builtin._replace(tests=(preparing.Test("list", faces, pairs),)))
    (hard,) = [row for row in found.curves if row["kind"] == "failures"]
    listed = {(faces.files[a], faces.files[b]) for a, b in zip(first, second, strict=True)}
    assert hard["status"] == "measured"
    for pair in hard["false_matches"] + hard["false_non_matches"]:
        assert (pair["first"]["file"], pair["second"]["file"]) in listed
    assert len(hard["false_matches"]) == 6
