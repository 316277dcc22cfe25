"""What every loss must do, as plain functions that raise AssertionError with a sentence.

A check takes a :class:`Case` and nothing else. ``test_losses.py`` runs all checks on all losses;
``test_checks_can_fail.py`` shows each of them failing on a loss that is broken on purpose.
"""

from collections.abc import Callable

from loss_checks.case import Case
from loss_checks.contract import (
    bad_input_is_refused,
    documented,
    misspelt_is_refused,
    optimizer_options_name_parameters,
    output,
)
from loss_checks.learning import learns
from loss_checks.numbers import batch_order, duplicates, exact_gradient, finite_at_edges, low_precision
from loss_checks.state import (
    evaluation_changes_nothing,
    hyperparameters_move,
    leaves_inputs,
    round_trip,
    same_key,
    seeded_start,
)

__all__ = ["CHECKS", "Case"]

CHECKS: tuple[Callable[[Case], None], ...] = (
    output,
    misspelt_is_refused,
    bad_input_is_refused,
    optimizer_options_name_parameters,
    documented,
    finite_at_edges,
    exact_gradient,
    low_precision,
    batch_order,
    duplicates,
    leaves_inputs,
    same_key,
    round_trip,
    hyperparameters_move,
    evaluation_changes_nothing,
    seeded_start,
    learns,
)
