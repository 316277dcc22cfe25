"""Costs that do not depend on the machine: images to a target, floating-point operations; and the seconds beside."""

import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from faceloss import losses, nets
from faceloss.compare import flops
from faceloss.compare.prepare import prepare
from faceloss.compare.run import execute
from faceloss.compare.study import Competitor, Run, Study
from faceloss.compare.targets import target, target_record, with_target
from faceloss.train.settings import Recipe

Record = dict[str, Any]


def run(label: str, seed: int, aucs: list[float | None], status: str = "finished", each: int = 100) -> list[Record]:
    who = {"run": f"{label}{seed}", "label": label, "loss": label, "seed": seed}
    rows: list[Record] = [{"kind": "run", **who, "status": status}]
    for epoch, auc in enumerate(aucs, start=1):
        looked = {} if auc is None else {"val_auc": auc}
        rows.append({"kind": "epoch", **who, "epoch": epoch, "images_seen": epoch * each, **looked})
    return rows


def test_the_target_is_a_share_of_what_the_baseline_gained_over_chance() -> None:
    runs = [run("softmax", 0, [0.6, 0.8]), run("softmax", 1, [0.9]), run("softmax", 2, [0.99], "diverged")]
    runs += [run("cosface", 0, [0.5])]
    assert target(runs, "softmax") == pytest.approx(0.5 + 0.95 * (0.85 - 0.5))
    assert target(runs[2:], "softmax") is None
    assert target([run("softmax", 0, [None])], "softmax") is None  # nobody looked


def test_the_first_epoch_at_the_target_counts() -> None:
    rows = run("cosface", 0, [0.6, 0.7, 0.65, 0.8])
    found = target_record(rows, 0.7)
    assert (found["status"], found["epoch"], found["images"]) == ("reached", 2, 200)
    assert "images_tried" not in found
    assert target_record(rows, 0.7001)["epoch"] == 4
    missed = target_record(rows, 0.81)
    assert (missed["status"], missed["epoch"], missed["images"]) == ("not reached", None, None)
    diverged = target_record(run("cosface", 0, [0.9], "diverged"), 0.7)
    assert diverged["status"] == "not reached"


def test_a_search_pays_for_all_its_candidates() -> None:
    rows = run("search_softmax", 0, [0.6, 0.7, 0.8])
    rows += [{"kind": "search", "images": 400} for _ in range(3)]
    found = target_record(rows, 0.7)
    assert (found["images"], found["images_tried"]) == (200, 800)
    cost = {"epoch_seconds": [1.0, 2.0, 3.0], "epoch_search_seconds": [4.0, 8.0, 12.0]}
    timed = with_target(cost, found)
    assert (timed["seconds_to_target"], timed["search_seconds_to_target"]) == (2.0, 8.0)
    assert with_target({"epoch_seconds": [2.0]}, found) == {"epoch_seconds": [2.0]}  # a run of an older version
    assert with_target(cost, None) == cost
    assert with_target(cost, target_record(rows, 0.9)) == cost


class Grouped(nn.Module):
    """One depthwise convolution, whose backward pass torch counts too high; 4 channels, 3 x 3."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """[B,3,16,16] -> [B,3]."""
        return self.convolution(images).mean((2, 3))


def row(name: str, **values: Any) -> Competitor:
    return Competitor(name, name, values, losses.build(name, dim=16, classes=50, **values).batches)


RECIPE = Recipe(dim=16, size=16, batch=8, images_per_identity=2)


def test_operations_by_hand() -> None:
    found = flops.count(Grouped(), row("cosface"), RECIPE, 50)
    assert found.image == 2 * 16 * 16 * 3 * 9
    assert found.net_step == 2 * found.image * 8  # forward, and the gradient of the weights; images need none
    product = 2 * 8 * 50 * 16  # cosines, gradient of the class vectors, gradient of the embeddings
    assert found.head_step == 3 * product
    assert found.batch == 8
    many = flops.count(Grouped(), row("cosface"), RECIPE, 10**6)
    assert many.head_step == 3 * 2 * 8 * 10**6 * 16


@pytest.mark.parametrize("name", ["small", "mobilefacenet"])
def test_operations_are_those_that_torch_counts_but_for_groups(name: str) -> None:
    net, recipe = nets.build(name, dim=16, input_size=32), RECIPE.model_copy(update={"size": 32})

    def by_torch(call: Any) -> int:
        with FlopCounterMode(display=False) as counter:
            call()
        return int(counter.get_total_flops())

    ours = flops.count(net, row("circle"), recipe, 50)
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    with mock.patch.object(flops, "counted", by_torch):
        theirs = flops.count(net, row("circle"), recipe, 50)
    assert ours.image == theirs.image > 10**6
    assert ours.head_step == theirs.head_step
    assert (ours.net_step == theirs.net_step) == (name == "small")
    assert 2.5 < ours.net_step / 8 / ours.image < 3
    assert all(torch.equal(net.state_dict()[key], value) for key, value in weights.items())  # a copy was run


def test_a_loss_that_raises_has_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("of the user's own")

    monkeypatch.setattr(losses, "build", broken)
    assert flops.count(Grouped(), Competitor("mine", "mine", {}, "shuffled"), RECIPE, 50).head_step is None


def test_a_row_is_counted_once_and_another_anew() -> None:
    study, cosface = Study(data="faces", losses=("cosface",), recipe=RECIPE), row("cosface")
    with mock.patch.object(flops, "count", wraps=flops.count) as counted:
        first = flops.count_once(Grouped(), cosface, study, 50)
        assert flops.count_once(Grouped(), row("cosface"), study, 50) == first
        assert counted.call_count == 1
        other_file = study.model_copy(update={"loss_files": {"cosface": "another source"}})
        other_recipe = study.model_copy(update={"recipe": RECIPE.model_copy(update={"batch": 16})})
        others = [(row("triplet"), study, 50), (cosface, other_file, 50), (cosface, other_recipe, 50)]
        others += [(cosface._replace(batches="identity-balanced"), study, 50), (cosface, study, 51)]
        found = [flops.count_once(Grouped(), *each) for each in others]
        assert counted.call_count == 1 + len(others)
    assert first == flops.count(Grouped(), cosface, RECIPE, 50)
    assert found[0] != first == found[1] != found[2]


def test_a_run_tells_its_images_operations_and_seconds(painter: Any, tmp_path: Path) -> None:
    recipe = Recipe(net_options={"width": 4}, dim=8, size=16, epochs=3, batch=16, device="cpu", precision="fp32")
    study = Study(data=str(painter(tmp_path / "faces", 10, 6)), losses=("softmax",), recipe=recipe)
    bench = prepare(study)
    with mock.patch.object(flops, "count", wraps=flops.count) as counted:
        execute(Run("id", row("softmax"), 0), study, bench, tmp_path / "run", stop=lambda: False)
        execute(Run("other", row("softmax"), 1), study, bench, tmp_path / "other", stop=lambda: False)
    assert counted.call_count == 1
    other = json.loads((tmp_path / "other" / "result.json").read_text())[0]
    records = json.loads((tmp_path / "run" / "result.json").read_text())
    epochs = [record for record in records if record["kind"] == "epoch"]
    assert [entry["images_seen"] for entry in epochs] == [entry["epoch"] * epochs[0]["images_seen"] for entry in epochs]
    whole = next(record for record in records if record["kind"] == "run")
    assert whole["images_seen"] == epochs[-1]["images_seen"]
    assert 0 < whole["flops_per_image"] < whole["flops_net_step"]
    assert whole["flops_head_step"] > 0
    assert all(other[name] == whole[name] for name in whole if name.startswith("flops"))
    cost = json.loads((tmp_path / "run" / "cost.json").read_text())
    assert len(cost["epoch_seconds"]) == 3
    assert cost["epoch_seconds"] == sorted(cost["epoch_seconds"])
    assert cost["epoch_seconds"][-1] == cost["seconds"] > 0
    assert not any("seconds" in key for record in records for key in record)  # clocks have no place in records
