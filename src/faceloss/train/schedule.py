"""The learning rate as a pure function of the step, so that a resumed run needs no schedule state."""

import math

from faceloss.train.settings import Recipe


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Learning rate of optimizer step ``step`` (counted from 0).

    Linear warm-up over ``warmup_epochs``; after it either half a cosine down to 0 at the last step, or the base rate
    times ``step_factor`` for each entry of ``step_epochs`` that has passed.
    """
    warmup = min(recipe.warmup_epochs, recipe.epochs) * steps_per_epoch
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    if recipe.schedule == "step":
        passed = sum(step >= epoch * steps_per_epoch for epoch in recipe.step_epochs)
        return recipe.learning_rate * recipe.step_factor**passed
    total = recipe.epochs * steps_per_epoch
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))
