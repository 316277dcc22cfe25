"""What every loss must do, as plain functions that raise AssertionError with a sentence.

A check takes a :class:`Case` and nothing else. ``test_losses.py`` runs all checks on all losses;
``test_checks_can_fail.py`` shows each of them failing on a loss that is broken on purpose.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from faceloss.losses import Description
from faceloss.losses.core import Loss, LossOutput

DIM, CLASSES = 8, 6


@dataclass(frozen=True)
class Case:
    """A loss in one setting. ``make(dim=, classes=, seed=, **more)`` builds it."""

    name: str
    make: Callable[..., Loss]
    description: Description
    straight_through: bool = False

    def loss(self, dim: int = DIM, classes: int = CLASSES, **more: Any) -> Loss:
        return self.make(dim=dim, classes=classes, **more)


def must(condition: object, sentence: str) -> None:
    if not condition:
        raise AssertionError(sentence)


def refused(error: type[Exception], call: Callable[[], object], what: str) -> str:
    """The sentence with which ``call`` was refused."""
    try:
        call()
    except error as raised:
        return str(raised)
    except Exception as raised:
        raise AssertionError(f"{what}: {type(raised).__name__} ({raised}) instead of {error.__name__}") from raised
    raise AssertionError(f"{what} was accepted")


def batch(seed: int = 0, *, dim: int = DIM, classes: int = CLASSES, each: int = 3, dtype: Any = None) -> Any:
    """``each`` samples of every class, overlapping so that no loss is at rest: [classes*each, dim], labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat(each)
    middle = torch.randn(classes, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    return (0.6 * middle[labels] + noise).to(dtype or torch.float64), labels


def gradients(loss: Loss, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss value and the gradients of the embeddings and of every parameter, by name."""
    embeddings = embeddings.detach().clone().requires_grad_()
    loss.zero_grad(set_to_none=True)
    value = loss(embeddings, labels).loss
    value.backward()
    named = {"embeddings": embeddings, **dict(loss.named_parameters())}
    for name, tensor in named.items():
        must(tensor.grad is not None, f"{name} got no gradient at all")
    return value.detach(), {name: tensor.grad.clone() for name, tensor in named.items() if tensor.grad is not None}


def close(one: Tensor, two: Tensor, tolerance: float) -> bool:
    return bool((one - two).abs().max() <= tolerance * (1 + two.abs().max()))


def is_random(loss: Loss, embeddings: Tensor, labels: Tensor) -> bool:
    return len({value(loss, embeddings, labels, step) for step in range(6)}) > 1


def value(loss: Loss, embeddings: Tensor, labels: Tensor, step: int = 0) -> float:
    loss.key(7, step)
    return float(loss(embeddings, labels).loss.detach())


# --- the checks ---------------------------------------------------------------------------------------------------


def output(case: Case) -> None:
    """A 0-d loss in float32, detached 0-d statistics, the common ones among them and within their range."""
    embeddings, labels = batch(dtype=torch.float32)
    result = case.loss()(embeddings.requires_grad_(), labels)
    must(isinstance(result, LossOutput), f"the loss returned {type(result).__name__}, not a LossOutput")
    must(result.loss.ndim == 0 and result.loss.dtype == torch.float32, "the loss must be a 0-d float32 tensor")
    must(float(result.loss.detach()) > 0, "on a batch of overlapping identities the loss must be positive")
    for name, tensor in result.statistics.items():
        must(tensor.ndim == 0, f"the statistic {name} is not 0-d")
        must(not tensor.requires_grad, f"the statistic {name} is not detached")
        must(math.isfinite(tensor.item()), f"the statistic {name} is {tensor.item()}")
    for name, high in (("accuracy", 1.0), ("target_angle", 180.0)):
        must(name in result.statistics, f"the statistic {name} is missing")
        must(0 <= result.statistics[name].item() <= high, f"{name} must lie in 0 .. {high:g}")


def edges(loss: Loss) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Inputs on which careless losses give inf or nan."""
    embeddings, labels = batch(dim=loss.dim)
    yield "zero", torch.zeros_like(embeddings), labels
    yield "one zero", embeddings * (torch.arange(len(labels)) > 0).unsqueeze(1), labels
    yield "all equal", embeddings[:1].expand_as(embeddings), labels
    yield "duplicates", embeddings[labels], labels
    yield "huge", 1e6 * embeddings, labels
    yield "tiny", 1e-6 * embeddings, labels
    yield "one class", embeddings, torch.zeros_like(labels)
    yield "all classes different", embeddings[: loss.classes], torch.arange(loss.classes)
    yield "batch of 1", embeddings[:1], labels[:1]
    directions = [tensor for tensor in loss.state_dict().values() if tensor.shape == (loss.classes, loss.dim)]
    for vectors in [embeddings[: loss.classes], *directions]:
        for power in (1.0, 1e-3, 1e3):
            yield "aligned", power * vectors[labels], labels
            yield "opposite", -power * vectors[labels], labels
        sign = 1.0 - 2.0 * (torch.arange(len(labels)) % 2).unsqueeze(1)
        yield "aligned and opposite", sign * vectors[labels], labels


def finite_at_edges(case: Case) -> None:
    """Finite loss and gradient wherever the input is finite; no tuples: 0 with zero gradient."""
    for dim in (DIM, 512):
        for dtype in (torch.float32, torch.float64):
            loss = case.loss(dim).to(dtype)
            for what, embeddings, labels in edges(loss):
                total, grads = gradients(loss, embeddings.to(dtype), labels)
                where = f"on the input '{what}' ({dtype}, dim {dim})"
                must(torch.isfinite(total), f"the loss is {total.item()} {where}")
                for name, gradient in grads.items():
                    must(torch.isfinite(gradient).all(), f"the gradient of {name} is not finite {where}")


def exact_gradient(case: Case) -> None:
    """The gradient is the derivative (central differences along random directions, float64).

    A straight-through variant must differ from it: else it is not what it says.
    """
    loss = case.loss().double().eval()
    embeddings, labels = batch()
    loss.key(7, 0)
    _, grads = gradients(loss, embeddings, labels)
    must(all(gradient.abs().max() > 0 for gradient in grads.values()), "a gradient is 0 on a generic input")
    worst = 0.0
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        along = {name: torch.randn(g.shape, generator=generator, dtype=g.dtype) for name, g in grads.items()}
        sides = []
        for step in (1e-6, -1e-6):
            moved = copy.deepcopy(loss)
            with torch.no_grad():
                for name, parameter in moved.named_parameters():
                    parameter += step * along[name]
            sides.append(value(moved, embeddings + step * along["embeddings"], labels))
        slope = (sides[0] - sides[1]) / 2e-6
        expected = float(sum((gradient * along[name]).sum() for name, gradient in grads.items()))
        worst = max(worst, abs(slope - expected) / (1 + abs(slope)))
    if case.straight_through:
        must(worst > 1e-3, "the straight-through gradient equals the exact one")
    else:
        must(worst < 1e-5, f"the gradient is not the derivative: off by {worst:.1e} of it")


def low_precision(case: Case) -> None:
    """Under autocast, embeddings in bfloat16 and float16 give what the same numbers give in float32."""
    for dtype in (torch.bfloat16, torch.float16):
        embeddings = batch()[0].to(dtype)
        labels = batch()[1]
        loss = case.loss().eval()
        loss.key(7, 0)
        expected, wanted = gradients(loss, embeddings.float(), labels)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss.key(7, 0)
            got, grads = gradients(loss, embeddings, labels)
        must(got.dtype == torch.float32, f"under autocast the loss came out as {got.dtype}")
        must(close(got, expected, 1e-5), f"{dtype}: {got.item()} under autocast, {expected.item()} without")
        for name, gradient in grads.items():
            must(close(gradient.float(), wanted[name], 2e-2), f"{dtype}: the gradient of {name} is another one")


def batch_order(case: Case) -> None:
    """The order of a batch is irrelevant; for a random miner, on average over draws."""
    loss = case.loss().double().eval()
    embeddings, labels = batch()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    if not is_random(loss, embeddings, labels):
        loss.key(7, 0)
        straight, grads = gradients(loss, embeddings, labels)
        loss.key(7, 0)
        mixed, moved = gradients(loss, embeddings[order], labels[order])
        must(close(mixed, straight, 1e-10), f"{straight.item()} in one order of the batch, {mixed.item()} in another")
        grads["embeddings"] = grads["embeddings"][order]
        for name, gradient in moved.items():
            must(close(gradient, grads[name], 1e-9), f"the gradient of {name} depends on the order of the batch")
        return
    both = [(value(loss, embeddings, labels, n), value(loss, embeddings[order], labels[order], n)) for n in range(200)]
    gaps = torch.tensor(both).diff(dim=1)  # of the same key, so that much of the noise is common
    errors = gaps.mean().abs() / (gaps.std() / len(gaps) ** 0.5)
    must(errors < 5, f"the mean over draws depends on the order of the batch: {errors:.1f} standard errors")


def duplicates(case: Case) -> None:
    """A batch given twice gives the same loss and gradients (a mean over samples; not asked of tuple losses)."""
    loss = case.loss().double().eval()
    embeddings, labels = batch()
    labels = labels.clone()
    labels[:4] = labels[0]  # labels that occur unequally often
    once, grads = gradients(loss, embeddings, labels)
    twice, doubled = gradients(loss, embeddings.repeat(2, 1), labels.repeat(2))
    doubled["embeddings"] = doubled["embeddings"].view(2, *embeddings.shape).sum(0)
    must(close(twice, once, 1e-10), f"the batch gives {once.item()}, the batch given twice {twice.item()}")
    for name, gradient in doubled.items():
        must(close(gradient, grads[name], 1e-9), f"duplicates in the batch change the gradient of {name}")


def leaves_inputs(case: Case) -> None:
    """Neither the inputs nor the parameters nor torch's global generator are changed by a pass."""
    loss = case.loss()
    embeddings, labels = batch(dtype=torch.float32)
    before = [embeddings.clone(), labels.clone(), *(parameter.detach().clone() for parameter in loss.parameters())]
    generator = torch.get_rng_state()
    loss(embeddings, labels).loss.backward()
    after = [embeddings, labels, *loss.parameters()]
    must(all(torch.equal(one, two) for one, two in zip(before, after, strict=True)), "a pass changed what it was given")
    must(torch.equal(generator, torch.get_rng_state()), "a pass drew from torch's global generator")


def same_key(case: Case) -> None:
    """The same key gives the same number, whatever happened before; without one, passes take step after step."""
    loss = case.loss().double()
    embeddings, labels = batch()
    start = copy.deepcopy(loss.state_dict())
    loss.key(7, 3)
    first = [float(loss(embeddings, labels).loss.detach()) for _ in range(3)]
    for step, expected in enumerate(first):
        other = case.loss(seed=5).double()
        other.load_state_dict(start)
        for earlier in range(step):
            value(other, embeddings, labels, 3 + earlier)
        torch.rand(11)
        must(value(other, embeddings, labels, 3 + step) == expected, "the same key gave another number")


def round_trip(case: Case) -> None:
    """A loss restored from its state_dict continues to the bit."""
    loss = case.loss()
    embeddings, labels = batch(dtype=torch.float32)
    for _ in range(2):
        loss(embeddings, labels)
    for name in loss.hyperparameters():
        loss.set_hyperparameters({name: _moved(loss, name)})
    restored = case.loss(seed=5)
    restored.load_state_dict({name: tensor.clone() for name, tensor in loss.state_dict().items()})
    forked = copy.deepcopy(loss)
    for _ in range(3):
        expected = gradients(loss, embeddings, labels)
        for copied in (restored, forked):
            got = gradients(copied, embeddings, labels)
            must(torch.equal(got[0], expected[0]), f"a restored loss continues with {got[0]}, not {expected[0]}")
            same = all(torch.equal(got[1][name], gradient) for name, gradient in expected[1].items())
            must(same, "a restored loss continues with other gradients")


def _moved(loss: Loss, name: str) -> float:
    """A value of a hyperparameter other than the present one, within its range."""
    present = float(loss.hyperparameters()[name])
    for candidate in (0.8 * present + 0.01, 0.5 * present, present + 1e-3):
        try:
            copy.deepcopy(loss).set_hyperparameters({name: candidate})
        except ValueError:
            continue
        return candidate
    raise AssertionError(f"no value near {present} is accepted for {name}")


def hyperparameters_move(case: Case) -> None:
    """Each is a saved buffer, can be set by name, and changes the loss; other names and nonsense are refused."""
    embeddings, labels = batch(dtype=torch.float32)
    loss = case.loss()
    for name, tensor in loss.hyperparameters().items():
        must(tensor.is_floating_point() and not tensor.requires_grad, f"{name} is not a float buffer")
        saved = [key for key in loss.state_dict() if key.split(".")[-1] == name]
        must(saved, f"{name} is not in the state_dict")
        plain, moved = case.loss(), case.loss()
        target = _moved(moved, name)
        moved.set_hyperparameters({name: target})
        must(abs(float(moved.hyperparameters()[name]) - target) < 1e-6, f"{name} was set to {target} and is not")
        losses = []
        for one in (plain, moved):
            one(embeddings, labels)  # one training pass first: a rate shows in the next
            losses.append(float(one(embeddings, labels).loss.detach()))
        must(losses[0] != losses[1], f"{name} was moved from its default and the loss did not change")
        refused(ValueError, lambda name=name: case.loss().set_hyperparameters({name: math.nan}), f"{name} = nan")
    known = loss.hyperparameters()
    sentence = refused(TypeError, lambda: loss.set_hyperparameters({"no_such": 1.0}), "an unknown hyperparameter")
    must("no_such" in sentence, "the refusal does not name what was given")
    must(all(name in sentence for name in known), "the refusal does not list the known hyperparameters")


def misspelt_is_refused(case: Case) -> None:
    """A misspelt hyperparameter is a TypeError that names it and lists those allowed; nonsense values are refused."""
    allowed = case.description.hyperparameters
    for name in [*allowed, "margn"]:
        wrong = name + "x"
        sentence = refused(TypeError, lambda wrong=wrong: case.loss(**{wrong: 1.0}), f"{wrong}=1.0")
        must(wrong in sentence and all(f"{known}" in sentence for known in allowed), f"unhelpful sentence: {sentence}")
    for name, about in allowed.items():
        for nonsense in ("nonsense", math.nan, None) if about.type != "str" else ("nonsense", 1.0):
            call = lambda name=name, nonsense=nonsense: case.loss(**{name: nonsense})  # noqa: E731
            sentence = refused(ValueError, call, f"{name}={nonsense!r}")
            must(str(nonsense) in sentence, f"unhelpful sentence: {sentence}")


def bad_input_is_refused(case: Case) -> None:
    """Embeddings and labels of the wrong shape, type or range, and impossible sizes, are ValueErrors."""
    loss = case.loss()
    embeddings, labels = batch(dtype=torch.float32)
    wrong = {
        "embeddings of another dim": (embeddings[:, 1:], labels),
        "one-dimensional embeddings": (embeddings[0], labels[:1]),
        "an empty batch": (embeddings[:0], labels[:0]),
        "integer embeddings": (embeddings.long(), labels),
        "too few labels": (embeddings, labels[1:]),
        "two-dimensional labels": (embeddings, labels.unsqueeze(1)),
        "float labels": (embeddings, labels.float()),
        "int32 labels": (embeddings, labels.int()),
        "a label too large": (embeddings, labels + 1),
        "a negative label": (embeddings, labels - 1),
    }
    for what, (given, wanted) in wrong.items():
        refused(ValueError, lambda given=given, wanted=wanted: loss(given, wanted), what)
    refused(ValueError, lambda: case.loss(classes=1), "classes = 1")
    refused(ValueError, lambda: case.loss(dim=0), "dim = 0")


def evaluation_changes_nothing(case: Case) -> None:
    """A pass in evaluation mode leaves the whole state as it was."""
    loss = case.loss().eval()
    before = copy.deepcopy(loss.state_dict())
    embeddings, labels = batch(dtype=torch.float32)
    loss(embeddings, labels)
    for name, tensor in loss.state_dict().items():
        must(torch.equal(tensor, before[name]), f"a pass in evaluation mode changed {name}")


def seeded_start(case: Case) -> None:
    """What a loss draws at the start depends on the seed alone, and torch's global generator is left alone."""
    before = torch.get_rng_state()
    one = case.loss(seed=1).state_dict()
    must(torch.equal(before, torch.get_rng_state()), "building a loss moved torch's global generator")
    torch.rand(3)
    two = case.loss(seed=1).state_dict()
    must(all(torch.equal(one[name], two[name]) for name in one), "the same seed gave two different starts")
    three = case.loss(seed=2).state_dict()
    drawn = [name for name, tensor in one.items() if tensor.ndim == 2 and tensor.abs().max() > 0]
    must(all(not torch.equal(one[name], three[name]) for name in drawn), "another seed gave the same start")


def optimizer_options_name_parameters(case: Case) -> None:
    """Wishes to the optimizer are about parameters that exist, in words that the training loop knows."""
    loss = case.loss()
    for name, wishes in loss.optimizer_options().items():
        must(name in dict(loss.named_parameters()), f"{name} is not a parameter")
        must(set(wishes) <= {"weight_decay", "learning_rate_scale"}, f"unknown wishes for {name}: {sorted(wishes)}")


def toy(identities: int, each: int, seed: int) -> tuple[Tensor, Tensor]:
    """Faces of numbers: identity in 8 of 24 coordinates, louder nuisance in the others."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(identities).repeat_interleave(each)
    who = torch.randn(identities, 8, generator=generator)[labels]
    who = who + 0.3 * torch.randn(len(labels), 8, generator=generator)
    return torch.cat([who, 2.0 * torch.randn(len(labels), 16, generator=generator)], 1), labels


def auc(embeddings: Tensor, labels: Tensor) -> float:
    """Share of (genuine, impostor) pairs of pairs that the cosine puts in the right order."""
    unit = torch.nn.functional.normalize(embeddings.double(), dim=1)
    first, second = torch.triu_indices(len(labels), len(labels), 1)
    score, same = (unit @ unit.T)[first, second], (labels[first] == labels[second])
    ranks = score.argsort().argsort().double() + 1
    n_same, n_other = same.sum().item(), (~same).sum().item()
    return (ranks[same].sum().item() - n_same * (n_same + 1) / 2) / (n_same * n_other)


def learns(case: Case) -> None:
    """60 steps on a toy set lower the loss and raise the AUC on identities never trained on."""
    faces, labels = toy(12, 20, seed=0)
    unseen, names = toy(30, 6, seed=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = torch.nn.Linear(24, DIM, bias=False)
    loss = case.loss(classes=12)
    optimizer = torch.optim.Adam([*net.parameters(), *loss.parameters()], lr=0.02)
    generator = torch.Generator().manual_seed(2)
    start, history = auc(net(unseen).detach(), names), []
    for step in range(60):
        chosen = torch.stack([torch.randperm(20, generator=generator)[:4] + 20 * identity for identity in range(12)])
        loss.key(0, step)
        total = loss(net(faces[chosen.flatten()]), labels[chosen.flatten()]).loss
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append(float(total.detach()))
    end = auc(net(unseen).detach(), names)
    before, after = sum(history[:10]) / 10, sum(history[-10:]) / 10
    must(after < before, f"60 steps took the loss from {before:.3f} to {after:.3f}")
    must(end > start + 0.03, f"60 steps took the AUC on unseen identities from {start:.3f} to {end:.3f}")


def documented(case: Case) -> None:
    """The file says title, formula, paper with its year, batches and deviations; ``build`` names each keyword."""
    about = case.description
    must(about.title.endswith("."), "the first line of the docstring must be a sentence")
    must(about.formula, "the docstring has no formula (an indented block)")
    must(any(year in about.paper for year in map(str, range(1990, 2100))), "'Paper:' is missing or has no year")
    must(about.deviations.endswith("."), "'Deviations:' is missing; write 'none.' where there are none")
    loss = case.loss()
    must(about.batches == loss.batches, f"'Batches:' says '{about.batches}', the loss wants '{loss.batches}'")
    for name, hyperparameter in about.hyperparameters.items():
        text = f"{about.formula} {about.summary}"
        must(name in text, f"the docstring does not say what {name} is")
        must(hyperparameter.default is not None, f"{name} has no default")


CHECKS: tuple[Callable[[Case], None], ...] = (
    output,
    finite_at_edges,
    exact_gradient,
    low_precision,
    batch_order,
    duplicates,
    leaves_inputs,
    same_key,
    round_trip,
    hyperparameters_move,
    misspelt_is_refused,
    bad_input_is_refused,
    evaluation_changes_nothing,
    seeded_start,
    optimizer_options_name_parameters,
    learns,
    documented,
)
