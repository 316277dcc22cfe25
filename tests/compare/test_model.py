"""A trained network read back and judged by any protocol: the numbers are those of the run itself."""

import json
from pathlib import Path

import numpy as np
import pytest

from faceloss.compare.model import embedded, load_model
from faceloss.compare.prepare import prepare
from faceloss.compare.run import execute
from faceloss.compare.study import Study, competitors, plan
from faceloss.errors import BadInput, CouldNotFinish
from faceloss.evaluate.file import Input, judge_input
from faceloss.evaluate.protocol import load_protocol
from faceloss.train.settings import Recipe


@pytest.fixture(scope="module")
def trained(toy_faces: Path, painter, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[Path]]:
    """A labelled test with groups, and the folders of a plain network and of one with a projection."""
    place = tmp_path_factory.mktemp("trained")
    people = painter(place / "others", 14, 8, seed=9, prefix="other")
    files = sorted(people.glob("*/*.png"))
    rows = [f"{f.relative_to(place)},{f.parent.name},{('a', 'b')[int(f.parent.name[-1]) % 2]}" for f in files]
    test = place / "test.csv"
    test.write_text("\n".join(["file,identity,group", *rows]) + "\n")
    recipe = Recipe(epochs=1, size=32, dim=16, batch=16, net_options={"width": 8}, device="cpu")
    study = Study(data=str(toy_faces), tests=(str(test),), losses=("tpe(size=8)",), seeds=1, recipe=recipe)
    bench = prepare(study)
    runs = plan(study, competitors(study, len(bench.train.identities)), bench.digests)
    folders = []
    for run in runs:
        if "balanced" in run.competitor.label:
            continue
        assert execute(run, study, bench, place / run.folder).startswith(("finished", "collapsed"))
        folders.append(place / run.folder)
    assert len(folders) == 2
    return test, place, folders


def test_the_numbers_are_those_of_the_run(trained: tuple[Path, Path, list[Path]]) -> None:
    test, _, folders = trained
    widths = []
    for folder in folders:
        arrays, digest = embedded(load_model(folder), str(test))
        widths.append(arrays["embeddings"].shape[1])
        assert len(digest) == 64
        assert set(arrays) == {"embeddings", "identities", "groups"}
        found = judge_input(Input(arrays, {}))
        kept = [row for row in json.loads((folder / "result.json").read_text()) if row["kind"] in ("result", "group")]
        measured = {(r["protocol"], r["metric"], r["at"]): r for r in kept if r["kind"] == "result"}
        if not measured:  # a network that collapsed was not judged
            continue
        assert any(r.value is not None for r in found.rows)
        for row in found.rows:
            theirs = measured[row.protocol, row.metric, row.at]
            assert (row.value, row.low, row.pairs) == (theirs["value"], theirs["low"], theirs["pairs"])
        groups = [r for r in kept if r["kind"] == "group"]
        assert [(g["metric"], g["group"], g["value"]) for g in groups] == [
            (g.metric, g.group, g.value) for g in found.groups
        ]
        assert {g["group"] for g in groups} >= {"a", "b"}
    assert widths == [16, 8]  # the second through its projection


def test_any_protocol_and_either_path(trained: tuple[Path, Path, list[Path]]) -> None:
    test, _, folders = trained
    files = [folders[0], folders[0] / "model.json", next(folders[0].glob("model-*.safetensors"))]
    values = []
    for path in files:
        arrays, _ = embedded(load_model(path), str(test))
        found = judge_input(Input(arrays, {}), load_protocol("open-set"))
        values.append([row.value for row in found.rows])
    assert values[0] == values[1] == values[2]


def test_a_contract_is_enforced(trained: tuple[Path, Path, list[Path]], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in trained[2][0].glob("model*"):
        (folder / file.name).write_bytes(file.read_bytes())
    whole = (folder / "model.json").read_text()

    def refused(old: str, new: str, sentence: str, error: type[Exception] = BadInput) -> None:
        assert old in whole
        (folder / "model.json").write_text(whole.replace(old, new))
        with pytest.raises(error, match=sentence):
            load_model(folder)

    refused("RGB, (", "BGR, (", "was trained with input 'BGR")
    refused("lanczos", "bilinear", "was trained with preprocessing")
    refused('"flip_test"', '"flip"', "lacks flip_test")
    refused('"width": 8', '"width": 16', "are not those of the network")
    refused('"net": "small"', '"net": "smal"', "did you mean 'small'")
    refused(".safetensors", ".safetensor", "model", CouldNotFinish)
    (folder / "model.json").write_text(whole)
    assert load_model(folder).size == 32
    tensors = next(folder.glob("*.safetensors"))
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CouldNotFinish, match="model"):
        load_model(folder)
    with pytest.raises(BadInput, match=r"holds no model\.json"):
        load_model(tmp_path)
    assert np.isfinite(load_model(trained[2][0]).embedder(np.zeros((1, 32, 32, 3), np.uint8))).all()
