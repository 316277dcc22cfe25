"""The hardest pairs: pictures of generated faces, of real people only with consent, and else names and scores."""

import json
import re
from pathlib import Path

import pytest

from faceloss.errors import BadInput
from faceloss.report import write_report


def bare(study):
    """A study without anything that is drawn."""
    measured = [row for label in study.labels for row in study.results(label) if row["kind"] == "summary"]
    return [study.study(), *study.data(), *(study.run(*run) for run in study.runs()), *measured]


@pytest.fixture
def folder(tmp_path, save, make_study, more):
    """``folder(generated)`` is a study with failures and a file of pictures beside its records."""

    def make(generated: bool | None) -> Path:
        study = make_study(labels=["softmax", "cosface"])
        failures = more.failures(study)
        rows = bare(study) + failures
        for row in rows:
            if (row["kind"], row.get("role")) == ("data", "test") and generated:
                row["generated"] = True
        place = save(tmp_path / str(generated), rows)
        if generated is not None:
            lines = (json.dumps(row) + "\n" for row in more.pictures(failures, generated))
            (place / "pictures.jsonl").write_text("".join(lines))
        return place

    return make


def section(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    return text[text.index('<section id="failures"') : text.index('<section id="data"')]


def test_generated_faces_are_shown(folder):
    text = section(write_report(folder(True)))
    assert text.count('<img src="data:image/jpeg;base64,') == 2 * 24  # of the best loss and the baseline
    assert "All these faces are generated: nobody real is shown." in text
    assert re.findall(r"<h4>(.*?)</h4>", text) == ["cosface, seed 0", "softmax, seed 0"]


def test_a_real_person_is_never_shown_without_consent(folder):
    """Even where pictures lie in the folder, because somebody consented to another page."""
    place = folder(False)
    page = write_report(place)
    text = page.read_text()
    assert "<img" not in text
    assert "base64" not in text.replace("img-src data:", "")
    assert "not marked as generated, so that only file names are shown" in section(page)
    # The same pairs are there by name and score.
    assert "<b>0.900</b>" in section(page)
    assert re.search(r"person_\d+/0001\.jpg, person_\d+/0002\.jpg", section(page))
    shown = write_report(place, show_faces=True)
    assert section(shown).count('<img src="data:image/jpeg;base64,') == 2 * 24
    assert "pictures of real people, shown because whoever wrote this page consented" in section(shown)
    assert "<img" not in write_report(place).read_text()  # consent is for one page


def test_a_picture_that_does_not_say_what_it_shows_counts_as_real(folder):
    place = folder(True)
    rows = [json.loads(line) for line in (place / "pictures.jsonl").read_text().splitlines()]
    for row in rows:
        del row["generated"]
    (place / "pictures.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "<img" not in write_report(place).read_text()


def test_without_pictures_there_are_names(folder):
    page = write_report(folder(None))
    assert "<img" not in page.read_text()
    assert "<b>0.900</b>" in section(page)


def test_a_picture_holds_nothing_but_a_picture(folder):
    place = folder(True)
    evil = '"><script>alert(1)</script>'
    rows = (place / "pictures.jsonl").read_text().splitlines()
    first = json.loads(rows[0]) | {"jpeg": evil}
    (place / "pictures.jsonl").write_text("\n".join([json.dumps(first), *rows[1:]]))
    with pytest.raises(BadInput, match=r"pictures\.jsonl, line 1: the picture record cannot be used: jpeg"):
        write_report(place)


def test_a_threshold_that_cannot_be_set_is_not_measurable(tmp_path, save, make_study, more):
    study = make_study()
    failures = more.failures(study)
    for row in failures:
        row |= {"status": "not measurable", "threshold": None, "false_matches": [], "false_non_matches": []}
    text = section(write_report(save(tmp_path, bare(study) + failures)))
    assert "Not measurable: the pairs carry no FAR at which a threshold could be set." in text
    assert "<h4>" not in text


def test_the_page_is_the_same_to_the_byte(folder):
    place = folder(True)
    assert write_report(place).read_bytes() == write_report(place).read_bytes()


def test_a_loss_without_errors_says_none(tmp_path, save, make_study, more):
    study = make_study(labels=["softmax"])
    failures = more.failures(study)
    for row in failures:
        row["false_matches"] = []
    text = section(write_report(save(tmp_path, bare(study) + failures)))
    assert "False matches: none." in text
    assert "<p>False non-matches</p>" in text
