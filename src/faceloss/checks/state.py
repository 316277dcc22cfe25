"""Checks of the state: what a pass may change, what is saved, what random numbers depend on."""

import copy
import math
from functools import partial

import torch

from faceloss.checks.case import Case, batch, gradients, must, refused, value
from faceloss.losses.core import Loss


def leaves_inputs(case: Case) -> None:
    """Neither the inputs nor the parameters nor torch's global generator are changed by a pass."""
    loss = case.loss()
    embeddings, labels = batch(dtype=torch.float32)
    before = [embeddings.clone(), labels.clone(), *(parameter.detach().clone() for parameter in loss.parameters())]
    generator = torch.get_rng_state()
    loss(embeddings.requires_grad_(), labels).loss.backward()
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
        if math.isclose(candidate, present):
            continue
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
        must(
            losses[0] != losses[1],
            f"{name} was moved from {float(plain.hyperparameters()[name]):g} to {target:g} and the loss did not change "
            f"(if this check's small batch does not reach it, check another value of it, as 'NAME({name}=...)')",
        )
        refused(ValueError, partial(case.loss().set_hyperparameters, {name: math.nan}), f"{name} = nan")
    known = loss.hyperparameters()
    sentence = refused(TypeError, lambda: loss.set_hyperparameters({"no_such": 1.0}), "an unknown hyperparameter")
    must("no_such" in sentence, "the refusal does not name what was given")
    must(all(name in sentence for name in known), "the refusal does not list the known hyperparameters")


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
