"""What a run starts from, and what is compared at its end: where a loss has a projection, the projected embeddings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from faceloss import losses, nets
from faceloss.compare import engine
from faceloss.compare.judge import embedder, judge, observe
from faceloss.compare.prepare import prepare
from faceloss.compare.run import build_state, execute, model
from faceloss.compare.study import Competitor, Run, Study, competitors
from faceloss.train import checkpoint
from faceloss.train.loop import embed
from faceloss.train.ranks import Ranks
from faceloss.train.settings import Recipe

STUDY = Study(
    data="builtin", losses=("softmax",), recipe=Recipe(net_options={"width": 4}, dim=8, size=32, device="cpu")
)


def state(loss: str, seed: int) -> dict[str, torch.Tensor]:
    return build_state(Run("id", Competitor(loss, loss, {}, "shuffled"), seed), STUDY, classes=5).tensors()


def test_every_loss_starts_from_the_same_weights_and_class_vectors() -> None:
    one, other = state("cosface", 3), state("arcface", 3)
    shared = [name for name in one if name.startswith("net.") or name == "loss.weight"]
    assert "loss.weight" in shared
    assert all(torch.equal(one[name], other[name]) for name in shared)


def test_of_several_processes_each_builds_its_share_alone() -> None:
    """No process group is needed for it; a run looks at its losses in the same way before it starts."""
    run = Run("id", Competitor("softmax", "softmax", {}, "shuffled"), 3)
    whole = build_state(run, STUDY, classes=5).loss
    parts = [build_state(run, STUDY, classes=5, ranks=Ranks(rank, 2)).loss for rank in range(2)]
    for name, rows in (("weight", (3, 2)), ("bias", (3, 2))):
        held = [part.get_parameter(name) for part in parts]
        assert tuple(map(len, held)) == rows
        assert torch.equal(torch.cat(held), whole.get_parameter(name))


def test_the_losses_of_a_study_are_looked_at_in_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    built, build = [], losses.build

    def watched(name: str, **values: Any) -> Any:
        built.append(build(name, **values))
        return built[-1]

    monkeypatch.setattr(losses, "build", watched)
    bench = prepare(STUDY)
    study = STUDY.model_copy(update={"losses": ("cosface(s=auto)", "subcenter_arcface")})
    rows = [engine._rows(study, bench, ranks) for ranks in (Ranks(), Ranks(0, 4))]
    assert rows[0] == rows[1]
    sizes = [len(loss.weight) for loss in built]
    assert [4 * size for size in sizes[3:]] == sizes[:3] == [104, 104, 312]


def test_every_seed_starts_from_its_own() -> None:
    one, other = state("cosface", 3), state("cosface", 4)
    matrices = [name for name, tensor in one.items() if tensor.ndim > 1]
    assert "loss.weight" in matrices
    assert not any(torch.equal(one[name], other[name]) for name in matrices)


def test_none_is_the_name_of_a_choice() -> None:
    rows = competitors(STUDY.model_copy(update={"losses": ("arcface(beyond_pi=none)",)}), classes=5)
    assert rows[1].label == "arcface (beyond_pi=none)"
    assert rows[1].hyperparameters == {"beyond_pi": "none"}


def projected(size: int) -> Run:
    return Run("id", Competitor("tpe", "tpe", {"size": size}, "identity-balanced"), 3)


def test_what_is_compared_is_the_projection_of_the_embedding() -> None:
    started = build_state(projected(3), STUDY, classes=5)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    raw = embed(started.net, pixels, STUDY.recipe)
    assert started.loss.project is not None
    weight = started.loss.project.weight.detach().numpy()
    expected = raw @ weight.T
    compared = embedder(started, STUDY)(pixels)
    assert compared.shape == (6, 3)
    assert np.allclose(compared, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)
    assert embedder(started, STUDY)(pixels[:0]).shape == (0, 3)
    plain = build_state(Run("id", Competitor("cosface", "cosface", {}, "shuffled"), 3), STUDY, classes=5)
    assert np.array_equal(embedder(plain, STUDY)(pixels), embed(plain.net, pixels, STUDY.recipe))


def test_the_projection_keeps_float32_where_the_net_runs_in_bfloat16() -> None:
    started = build_state(projected(3), STUDY, classes=5)
    raw = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        under = started.loss.embed(raw)
        assert (raw @ started.loss.project.weight.T).dtype == torch.bfloat16  # type: ignore[union-attr, operator]
    assert under.dtype == torch.float32
    assert torch.equal(under, started.loss.embed(raw))
    with pytest.raises(ValueError, match=r"Embeddings must be \[N, 8\]; given \[4, 3\]"):
        started.loss.embed(raw[:, :3])


def test_the_model_says_what_it_is() -> None:
    tensors, facts = model(build_state(projected(3), STUDY, classes=5))
    assert tensors["projection.weight"].shape == (3, 8)
    assert {name: facts[name] for name in ("dim", "embedding_size")} == {"dim": 8, "embedding_size": 3}
    assert facts["projection"]["tensors"] == ["projection.weight"]
    assert facts["projection"]["does"].startswith("x -> W x / ||W x||")
    plain = build_state(Run("id", Competitor("cosface", "cosface", {}, "shuffled"), 3), STUDY, classes=5)
    tensors, facts = model(plain)
    assert tensors.keys() == plain.net.state_dict().keys()
    assert facts == {"dim": 8, "embedding_size": 8, "projection": None}


def test_the_records_of_a_run_are_those_of_the_projected_embeddings(toy_faces: Path, tmp_path: Path) -> None:
    """From its files alone: net and projection give the numbers in its records, the net without projection others."""
    recipe = Recipe(
        net_options={"width": 4}, dim=8, size=32, device="cpu", precision="fp32", epochs=1, batch=16, threads=1,
        images_per_identity=2,
    )  # fmt: skip
    study = Study(data=str(toy_faces), losses=("tpe",), recipe=recipe)
    bench = prepare(study)
    execute(projected(4), study, bench, tmp_path)
    written = json.loads((tmp_path / "result.json").read_text())
    results = [row for row in written if row["kind"] == "result"]
    saved = checkpoint.load(tmp_path, "model")
    assert saved is not None
    tensors, contract = saved
    assert contract["embedding_size"] == 4
    weight = tensors.pop("projection.weight").numpy()
    net = nets.build(contract["net"], dim=contract["dim"], input_size=contract["size"], **contract["net_options"])
    net.load_state_dict(tensors)

    def raw(pixels: np.ndarray) -> np.ndarray:
        return embed(net, pixels, recipe)

    def mapped(pixels: np.ndarray) -> np.ndarray:
        points = raw(pixels) @ weight.T
        return points / np.linalg.norm(points, axis=1, keepdims=True)

    def values(rows: list[dict[str, object]]) -> list[float]:
        return [round(float(row["value"]), 5) for row in rows if row["value"] is not None]  # type: ignore[arg-type]

    assert len(values(results)) > 2
    assert values(results) == values(judge(mapped, bench).results)
    assert values(results) != values(judge(raw, bench).results)
    epoch = next(row for row in written if row["kind"] == "epoch")
    assert epoch["val_auc"] == pytest.approx(observe(mapped, bench.val)["val_auc"], abs=1e-5)
    assert epoch["val_auc"] != pytest.approx(observe(raw, bench.val)["val_auc"], abs=1e-5)


def test_the_products_of_the_head_are_in_bfloat16_where_the_recipe_says_so() -> None:
    run = Run("id", Competitor("arcface", "arcface", {}, "shuffled"), 3)
    products = {}
    for precision in ("fp32", "bf16"):
        recipe = STUDY.recipe.model_copy(update={"head_precision": precision})
        started = build_state(run, STUDY.model_copy(update={"recipe": recipe}), classes=5)
        embeddings, labels = torch.ones(2, 8) / 3, torch.tensor([0, 1])
        products[precision] = started.loss(embeddings, labels).loss.item()
    assert products["fp32"] != products["bf16"]
    assert abs(products["fp32"] / products["bf16"] - 1) < 0.02
