"""Embeddings in, numbers with intervals out. Pure functions of arrays; NumPy and SciPy only.

``protocols`` judges a test set, ``statistics`` says how sure and what differs, ``metrics`` holds the definitions.
"""

from faceloss.evaluate.bootstrap import subject_bootstrap
from faceloss.evaluate.cells import Judged, Measured
from faceloss.evaluate.file import evaluate_file
from faceloss.evaluate.linear import hold_out
from faceloss.evaluate.metrics import (
    FAR_GRID,
    NotMeasurable,
    auc,
    cmc,
    eer,
    mate_ranks,
    measurable,
    roc,
    tar_at_far,
    ten_folds,
)
from faceloss.evaluate.neural_collapse import CosineStatistics, NeuralCollapse, cosine_statistics, measure_collapse
from faceloss.evaluate.protocols import judge_closed_set, judge_matrix, judge_pairs, judge_rank
from faceloss.evaluate.statistics import (
    Difference,
    Summary,
    holm,
    paired_difference,
    subject_interval,
    summary,
    verdict,
    wilson,
)

__all__ = [
    "FAR_GRID",
    "CosineStatistics",
    "Difference",
    "Judged",
    "Measured",
    "NeuralCollapse",
    "NotMeasurable",
    "Summary",
    "auc",
    "cmc",
    "cosine_statistics",
    "eer",
    "evaluate_file",
    "hold_out",
    "holm",
    "judge_closed_set",
    "judge_matrix",
    "judge_pairs",
    "judge_rank",
    "mate_ranks",
    "measurable",
    "measure_collapse",
    "paired_difference",
    "roc",
    "subject_bootstrap",
    "subject_interval",
    "summary",
    "tar_at_far",
    "ten_folds",
    "verdict",
    "wilson",
]
