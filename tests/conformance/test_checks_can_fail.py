"""Each check of the conformance suite fails on a loss that is broken in just the way it is there to find."""

import dataclasses
import importlib
import re
import sys
from functools import partial

import pytest
import torch

from faceloss import checks, losses
from faceloss.checks.numbers import edges

SOUND = '''"""Sound: a cosine softmax with a margin and a memory, as a loss file that passes every check.

    loss = mean of -log softmax(s (c - m at the target))[y] + t

c [B,K] cosines, s scale, m margin, t a running mean of the target cosine.

Paper: Nobody, "A loss to plant bugs in", 2026.
Family: none.
Batches: shuffled.
Course: m rises to its value over the first half of the training.
Deviations: none.
Checked: nothing.
"""

import torch
from torch import nn

from faceloss.losses.core import Loss, LossOutput, Number
from faceloss.losses.operations import angle, normalize


class Sound(Loss):
    def __init__(self, dim, classes, *, s, m):
        numbers = {"s": Number(s, above=0), "m": Number(m, low=0, high=2)}
        options = {"weight": {"weight_decay": 0.0}}
        super().__init__(dim, classes, batches="shuffled", hyperparameters=numbers, options=options)
        self.weight = nn.Parameter(torch.randn(classes, dim))
        self.register_buffer("t", torch.ones(()))

    def compute(self, embeddings, labels):
        s, m = self.hyperparameters().values()
        cos = normalize(embeddings) @ normalize(self.weight.to(embeddings.dtype)).T
        hot = nn.functional.one_hot(labels, self.classes)
        own = (cos * hot).sum(1)
        logits = s * (cos - m * hot)
        per = torch.logsumexp(logits, 1) - (logits * hot).sum(1)
        per = per + 0.0
        loss = per.mean() + self.t.clone()
        if self.training:
            self.t.mul_(0.9).add_(0.1 * own.detach().mean())
        accuracy = (cos.argmax(1) == labels).double().mean()
        statistics = {"accuracy": accuracy, "target_angle": angle(own.detach()).rad2deg().mean()}
        return LossOutput(loss, statistics)


def course(progress, *, m):
    return {"m": m * min(1.0, 2 * progress)}


def build(dim: int, classes: int, *, s: float = 8.0, m: float = 0.2) -> Loss:
    return Sound(dim, classes, s=s, m=m)
'''

COMPUTE = "    def compute("
UNCHECKED_SETTER = """    def set_hyperparameters(self, values):
        for name, value in values.items():
            if name in self.hyperparameters():
                self.hyperparameters()[name].fill_(value)

"""
UNSAVED = "self.settings._non_persistent_buffers_set.add('m')"
NOISE = "per = per * torch.rand((), generator=self.generator('x'))"
PER = "per = per + 0.0"
LATER = "torch.arange(len(labels))"
OFTEN = "(labels[:, None] == labels).sum(1)"
START = "torch.randn(classes, dim)"
CE = "torch.logsumexp(logits, 1) - (logits * hot).sum(1)"


HEAD = "__import__('faceloss.losses.heads').losses.heads.ClassHead(dim, classes, scale=Number(s), others={})"
BY_BLOCK = HEAD.format("lambda: lambda scores: scores - scores.mean(1, keepdim=True)")
BY_MEMORY = HEAD.format("lambda: lambda scores, seen=[]: (seen.append(1), scores * (1 + 0.1 * len(seen)))[1]")


def forward(result):
    """A forward that gets round what every loss is given."""
    return f"    def forward(self, embeddings, labels):\n        return {result}\n\n"


# The check that must fail, what is wrong, and the edit of SOUND that makes it so.
PLANTED = [
    ("output", "a bare tensor", COMPUTE, forward("self.compute(embeddings, labels).loss") + COMPUTE),
    ("output", "a statistic that is not 0-d", '"accuracy": accuracy', '"accuracy": own.detach()'),
    ("output", "an attached statistic", "angle(own.detach())", "angle(own)"),
    ("output", "a missing statistic", '"accuracy": accuracy, ', ""),
    ("output", "an angle beyond 180 degrees", ".rad2deg()", ".rad2deg().mul(3)"),
    ("output", "a statistic that is nan", ".rad2deg().mean()", ".rad2deg()[:0].mean()"),
    ("output", "a loss of shape [1]", "per.mean() +", "per.mean().view(1) +"),
    ("output", "a loss of 0", "loss = per.mean() + self.t.clone()", "loss = 0 * per.mean()"),
    ("finite_at_edges", "acos", "hot = nn", "cos = cos.clamp(-1, 1).acos().cos(); hot = nn"),
    (
        "finite_at_edges",
        "a division by a zero norm",
        "normalize(embeddings) @",
        "nn.functional.normalize(embeddings, eps=0) @",
    ),
    ("finite_at_edges", "the mean over no pair", PER, f"per = per[{OFTEN} > 1]"),
    ("finite_at_edges", "a probability that underflows", CE, "-((64 * logits).softmax(1) * hot).sum(1).log()"),
    ("finite_at_edges", "a parameter without gradient", "self.weight.to(", "self.weight.detach().to("),
    ("exact_gradient", "a factor held constant", "m * hot)", "m * cos.detach() ** 2 * hot)"),
    (
        "exact_gradient",
        "a gradient of 0",
        "normalize(embeddings) @",
        "(0 * embeddings + normalize(embeddings).detach()) @",
    ),
    ("low_precision", "computed under autocast", COMPUTE, forward("self.compute(embeddings, labels)") + COMPUTE),
    ("low_precision", "float32 under autocast", COMPUTE, forward("self.compute(embeddings.float(), labels)") + COMPUTE),
    ("blocks_agree", "a mean over a block of classes", "Sound(dim, classes, s=s, m=m)", BY_BLOCK),
    ("blocks_agree", "a memory moved by each block", "Sound(dim, classes, s=s, m=m)", BY_MEMORY),
    ("batch_order", "later samples count more", PER, f"per = per * {LATER}"),
    ("batch_order", "a gradient by the order", PER, f"per = per.detach() + (per - per.detach()) * {LATER}"),
    ("batch_order", "random, but later samples count more", PER, f"{NOISE} * {LATER}"),
    ("duplicates", "a sum over the batch", "per.mean() +", "per.sum() +"),
    (
        "duplicates",
        "gradients times the occurrences of the label",
        PER,
        f"per = per.detach() + (per - per.detach()) * {OFTEN}",
    ),
    ("leaves_inputs", "class vectors normalized in place", PER, "self.weight.data = normalize(self.weight.data)"),
    ("leaves_inputs", "embeddings changed in place", "s, m = self", "embeddings.data.mul_(0.5); s, m = self"),
    ("leaves_inputs", "labels changed in place", "return LossOutput", "labels.fill_(0); return LossOutput"),
    ("leaves_inputs", "a draw from the global generator", PER, "per = per * torch.rand(())"),
    ("same_key", "a draw from the global generator", PER, "per = per * torch.rand(())"),
    ("same_key", "numbers by call order", PER, "build.calls = getattr(build, 'calls', 0) + 1; per = per * build.calls"),
    ("same_key", "a clock that stands still", PER, f"{NOISE}; self.clock[1] -= 1"),
    ("round_trip", "a memory that is not saved", "torch.ones(()))", "torch.ones(()), persistent=False)"),
    (
        "round_trip",
        "a memory in a plain attribute",
        PER,
        "self.last = getattr(self, 'last', 0) + 1; per = per * self.last",
    ),
    ("hyperparameters_move", "a value read once", "s, m = self.hyperparameters().values()", "s, m = 8.0, 0.2"),
    ("hyperparameters_move", "a value that is not saved", "self.weight =", f"{UNSAVED}; self.weight ="),
    ("hyperparameters_move", "a setter that takes anything", COMPUTE, UNCHECKED_SETTER + COMPUTE),
    (
        "hyperparameters_move",
        "a setter that does nothing",
        COMPUTE,
        "    def set_hyperparameters(self, values): pass\n\n" + COMPUTE,
    ),
    ("bad_input_is_refused", "no look at the input", COMPUTE, forward("self.compute(embeddings, labels)") + COMPUTE),
    (
        "bad_input_is_refused",
        "no look at the sizes",
        "super().__init__(dim, classes,",
        "super().__init__(max(dim, 1), max(classes, 2),",
    ),
    ("evaluation_changes_nothing", "a memory that evaluation moves", "if self.training:", "if True:"),
    ("seeded_start", "another start at each call", START, "torch.randn(classes, dim, generator=CLOCKED)"),
    ("seeded_start", "the same start for every seed", START, "torch.randn(classes, dim, generator=torch.Generator())"),
    ("optimizer_options_name_parameters", "no such parameter", '{"weight": {', '{"wieght": {'),
    ("optimizer_options_name_parameters", "a wish that nobody reads", '{"weight_decay": 0.0}', '{"decay": 0.0}'),
    ("course_is_sound", "a margin below 0", "m * min(1.0, 2 * progress)", "m * min(1.0, 2 * progress - 0.1)"),
    ("course_is_sound", "a margin of nan", "m * min(1.0, 2 * progress)", "m if progress else float('nan')"),
    ("course_is_sound", "another end", "m * min(1.0, 2 * progress)", "0.9 * m * min(1.0, 2 * progress)"),
    ("course_is_sound", "an end that is not reached", "m * min(1.0, 2 * progress)", "m * 0.5 * progress"),
    ("course_is_sound", "no such hyperparameter", '{"m": m *', '{"margin": m *'),
    (
        "course_is_sound",
        "one that comes and goes",
        "min(1.0, 2 * progress)}",
        "min(1.0, 2 * progress)} if progress else {}",
    ),
    ("course_is_sound", "no dict", '{"m": m * min(1.0, 2 * progress)}', "m"),
    (
        "course_is_sound",
        "a memory",
        'def course(progress, *, m):\n    return {"m": m * min(1.0, 2 * progress)}',
        "T = []\ndef course(progress, *, m):\n    T.append(0)\n    return {'m': m * progress ** len(T[300:])}",
    ),
    ("course_is_sound", "no word of it", "Course: m rises to its value over the first half of the training.", ""),
    ("course_is_sound", "words without a course", "def course(", "def no_course("),
    ("learns", "a gradient that climbs", PER, "per = 2 * per.detach() - per"),
    ("learns", "labels of somebody else", "one_hot(labels,", "one_hot(torch.arange(len(labels)) % self.classes,"),
    ("documented", "no title", "passes every check.", "passes every check"),
    ("documented", "no formula", "    loss = mean", "loss = mean"),
    ("documented", "no paper", "Paper: Nobody", "Nobody"),
    ("documented", "no year", ", 2026.", "."),
    ("documented", "no deviations", "Deviations: none.", ""),
    ("documented", "no family", "Family: none.", ""),
    ("documented", "nothing on what was checked", "Checked: nothing.", ""),
    ("documented", "other batches than it asks for", "Batches: shuffled.", "Batches: identity-balanced."),
    ("documented", "an undocumented hyperparameter", "s: float = 8.0,", "power: float = 1.0, s: float = 8.0,"),
]

BARE = (COMPUTE, forward("LossOutput(*self.compute(embeddings, labels))") + COMPUTE)  # in the precision of the input
MOVED = "own = (cos * hot).sum(1)"
ALONE = "(cos.abs().sum(1) == 1)"  # all other cosines are exactly 0


def sharp(where):
    """A term of value 0 whose slope is infinite just ``where``."""
    return (MOVED, f"{MOVED}; per_edge = torch.where({where}, (own - own.detach()).abs(), 1.0).sqrt() * 0.0")


USED = (PER, "per = per + per_edge")
# The input of finite_at_edges that must be named, and the edits of SOUND that break it there and on none before.
EDGES = [
    ("zero", [("normalize(embeddings) @", "nn.functional.normalize(embeddings, eps=0) @")]),
    (
        "one zero",
        [("normalize(embeddings) @", "nn.functional.normalize(embeddings, eps=0.0 if embeddings.any() else 1.0) @")],
    ),
    ("all equal", [(PER, "per = per + 0.0 * (embeddings.var(0).sqrt().sum() if embeddings.any() else 0)")]),
    ("huge", [(PER, "per = per + 0.0 * embeddings.square().sum(1) ** 4")]),
    (
        "tiny",
        [(PER, "per = per + 0.0 / (embeddings.square().sum(1).clamp_max(1) ** 6 + 1.0 * (embeddings == 0).all(1))")],
    ),
    ("one class", [(PER, "per = per + 0.0 * per[labels != labels[0]].mean()")]),
    ("all classes different", [(PER, f"per = per[{OFTEN} > 1] if len(labels) > 1 else per")]),
    ("batch of 1", [(PER, "per = per + 0.0 * (per.detach() / (len(labels) - 1))")]),
    ("aligned", [("hot = nn", "cos = cos.clamp(-1, 1).acos().cos(); hot = nn")]),
    ("cosine exactly +1", [sharp(f"(own == 1) & {ALONE}"), USED]),
    ("cosine exactly -1", [sharp(f"(own == -1) & {ALONE}"), USED]),
    ("cosine exactly 0", [sharp("(own == 0) & (embeddings != 0).any(1)"), USED]),
    ("cosine exactly 0, to another class 1", [sharp(f"(own == 0) & {ALONE}"), USED]),
    (
        "cosine exactly +1, -1 and 0",
        [sharp("((own == 0).any() & (own == 1).any() & (own == -1).any()).expand_as(own)"), USED],
    ),
    ("cosine exactly +1, at a huge scale", [(PER, "per = per + 0.0 * (1 - (logits.softmax(1) * hot).sum(1)).log()")]),
    ("cosine exactly -1, at a huge scale", [(CE, "-(logits.softmax(1) * hot).sum(1).log()")]),
    ("bfloat16", [BARE, ("hot = nn", "cos = cos.clamp(-1 + 1e-6, 1 - 1e-6).acos().cos(); hot = nn")]),
    ("float16", [BARE, (PER, "per = per + 0.0 * embeddings.square().sum(1)")]),
]


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """A function from the source of a loss to its case, as if the file lay beside the others."""

    def planted(source):
        (tmp_path / "planted.py").write_text(source, encoding="utf-8")
        monkeypatch.setattr(losses, "__path__", [*losses.__path__, str(tmp_path)])
        monkeypatch.delitem(sys.modules, "faceloss.losses.planted", raising=False)
        importlib.invalidate_caches()
        about, course = losses.describe("planted"), losses.course("planted")
        return checks.Case("planted", partial(losses.build, "planted"), about, course=course)

    yield planted
    sys.modules.pop("faceloss.losses.planted", None)


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_the_sound_loss_passes(plant, check):
    check(plant(SOUND))


@pytest.mark.parametrize(
    ("check", "wrong", "old", "new"), [pytest.param(*row, id=f"{row[0]}-{row[1]}") for row in PLANTED]
)
def test_a_planted_bug_is_found(plant, check, wrong, old, new):
    assert SOUND.count(old) == 1
    case = plant("import torch\nCLOCKED = torch.Generator()\n" * ("CLOCKED" in new) + SOUND.replace(old, new))
    with pytest.raises(AssertionError):
        getattr(checks, check)(case)


@pytest.mark.parametrize(("edge", "edits"), [pytest.param(*row, id=row[0]) for row in EDGES])
def test_a_loss_that_breaks_at_one_edge_is_found_there(plant, edge, edits):
    source = SOUND
    for old, new in edits:
        assert source.count(old) == 1
        source = source.replace(old, new)
    what = f"torch.{edge}," if "float" in edge else f"on the input '{edge}'"
    with pytest.raises(AssertionError, match=re.escape(what)):
        checks.finite_at_edges(plant(source))


def test_the_probability_of_the_target_is_exactly_1_and_exactly_0_at_the_edges():
    """What two of the edges promise, looked at in the head that all softmax losses share."""
    seen = {}
    start = losses.build("cosface", dim=8, classes=6, m=0.0)
    for what, loss, embeddings, labels in edges(start):
        scale = float(loss.hyperparameters()["s"])
        weight = torch.nn.functional.normalize(loss.weight.detach())
        cosines = torch.nn.functional.normalize(embeddings.float()) @ weight.T
        seen[what] = (scale * cosines).softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)
    assert (seen["cosine exactly +1, at a huge scale"] == 1).all()
    assert (seen["cosine exactly -1, at a huge scale"] == 0).all()
    assert (seen["cosine exactly 0"] > 0).all()
    assert (seen["cosine exactly 0"] < 1).all()


def test_a_straight_through_gradient_that_is_exact_is_found(plant):
    with pytest.raises(AssertionError, match="equals the exact one"):
        checks.exact_gradient(dataclasses.replace(plant(SOUND), straight_through=True))


def swallow(make, **given):
    """What a loss does that takes ``**anything``."""
    return make(**{name: value for name, value in given.items() if name in ("dim", "classes", "seed")})


def mumble(make, **given):
    """What a loss does whose refusals do not say what is allowed."""
    try:
        return make(**given)
    except TypeError:
        raise TypeError("unexpected keyword") from None


@pytest.mark.parametrize("broken", [swallow, mumble])
def test_a_misspelling_that_is_let_through_is_found(plant, broken):
    case = plant(SOUND)
    with pytest.raises(AssertionError):
        checks.misspelt_is_refused(dataclasses.replace(case, make=partial(broken, case.make)))


def test_every_check_has_a_planted_bug():
    planted = {row[0] for row in PLANTED} | {"misspelt_is_refused"}
    assert planted == {check.__name__ for check in checks.CHECKS}
