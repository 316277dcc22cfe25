"""What every loss and every miner must do, as plain functions that raise AssertionError with a sentence.

A check of a loss takes a :class:`Case`, one of a miner the miner, and nothing else. ``faceloss losses check`` runs the
checks on any loss, a file of the user's own included; the tests run them on all.
"""

from collections.abc import Callable

from faceloss.checks.blocks import blocks_agree
from faceloss.checks.case import Case, cases, failure
from faceloss.checks.contract import (
    bad_input_is_refused,
    documented,
    misspelt_is_refused,
    optimizer_options_name_parameters,
    output,
)
from faceloss.checks.courses import course_is_sound
from faceloss.checks.learning import learns
from faceloss.checks.numbers import batch_order, duplicates, exact_gradient, finite_at_edges, low_precision
from faceloss.checks.state import (
    evaluation_changes_nothing,
    hyperparameters_move,
    leaves_inputs,
    round_trip,
    same_key,
    seeded_start,
)

__all__ = ["CHECKS", "Case", "applicable", "cases", "failure"]

CHECKS: tuple[Callable[[Case], None], ...] = (
    output,
    misspelt_is_refused,
    bad_input_is_refused,
    optimizer_options_name_parameters,
    documented,
    finite_at_edges,
    exact_gradient,
    low_precision,
    blocks_agree,
    batch_order,
    duplicates,
    leaves_inputs,
    same_key,
    round_trip,
    hyperparameters_move,
    evaluation_changes_nothing,
    seeded_start,
    course_is_sound,
    learns,
)


def applicable(case: Case) -> tuple[Callable[[Case], None], ...]:
    """The checks that can be asked of ``case``: a duplicate makes new pairs, so it changes a loss of pairs."""
    of_pairs = case.description.batches != "shuffled"
    return tuple(check for check in CHECKS if not (of_pairs and check is duplicates))
