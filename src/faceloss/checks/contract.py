"""Checks of the contract: what is returned, what is refused and with which sentence, what is documented."""

import math
import re
from functools import partial

import torch

from faceloss.checks.case import CLASSES, DIM, Case, batch, must, refused
from faceloss.losses import FAMILIES
from faceloss.losses.core import LossOutput


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


def misspelt_is_refused(case: Case) -> None:
    """A misspelt hyperparameter is a TypeError that names it and lists those allowed; nonsense values are refused."""
    allowed = case.description.hyperparameters
    for name in [*allowed, "margn"]:
        wrong = name + "x"
        sentence = refused(TypeError, partial(case.make, dim=DIM, classes=CLASSES, **{wrong: 1.0}), f"{wrong}=1.0")
        must(wrong in sentence and all(f"{known}" in sentence for known in allowed), f"unhelpful sentence: {sentence}")
    for name, about in allowed.items():
        for nonsense in ("nonsense", math.nan, None) if about.type != "str" else ("nonsense", 1.0):
            call = partial(case.make, dim=DIM, classes=CLASSES, **{name: nonsense})
            sentence = refused(ValueError, call, f"{name}={nonsense!r}")
            must(str(nonsense) in sentence, f"unhelpful sentence: {sentence}")


def bad_input_is_refused(case: Case) -> None:
    """Embeddings and labels of the wrong shape, type or range, not finite, and impossible sizes, are ValueErrors."""
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
        "an embedding of nan": (embeddings.where(labels.unsqueeze(1) > 0, math.nan), labels),
        "an infinite embedding": (embeddings.where(labels.unsqueeze(1) > 0, -math.inf), labels),
        "a negative label": (embeddings, labels - 1),
    }
    for what, (given, wanted) in wrong.items():
        refused(ValueError, partial(loss, given, wanted), what)
    refused(ValueError, lambda: case.loss(classes=1), "classes = 1")
    refused(ValueError, lambda: case.loss(dim=0), "dim = 0")


def optimizer_options_name_parameters(case: Case) -> None:
    """Wishes to the optimizer are about parameters that exist, in words that the training loop knows."""
    loss = case.loss()
    for name, wishes in loss.optimizer_options().items():
        must(name in dict(loss.named_parameters()), f"{name} is not a parameter")
        must(set(wishes) <= {"weight_decay", "learning_rate_scale"}, f"unknown wishes for {name}: {sorted(wishes)}")


def documented(case: Case) -> None:
    """The file says title, formula and all fields, the paper with its year; ``build`` names each keyword."""
    about = case.description
    must(about.title.endswith("."), "the first line of the docstring must be a sentence")
    must(about.formula, "the docstring has no formula (an indented block)")
    must(any(year in about.paper for year in map(str, range(1990, 2100))), "'Paper:' is missing or has no year")
    must(about.family, f"'Family:' is missing; one of {', '.join(FAMILIES)}, or a word of your own")
    must(about.deviations.endswith("."), "'Deviations:' is missing; write 'none.' where there are none")
    must(about.checked.endswith("."), "'Checked:' is missing; say where the formula is from and what it agrees with")
    loss = case.loss()
    must(about.batches == loss.batches, f"'Batches:' says '{about.batches}', the loss wants '{loss.batches}'")
    for name, hyperparameter in about.hyperparameters.items():
        text = f"{about.formula} {about.summary}"
        must(re.search(rf"\b{name}\b", text), f"the docstring does not say what {name} is")
        known = hyperparameter.default is not None
        must(known or "No default" in text, f"{name} has no default; say 'No default'")
        must(known or name in about.start, f"{name} has no default; say 'Start with: {name} = ...' with a value")
