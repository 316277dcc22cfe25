"""Embeddings in, numbers with intervals out. Pure functions of arrays; NumPy and SciPy only.

``protocols`` judges a test set, ``statistics`` says how sure and what differs, ``metrics`` holds the definitions.
"""

from faceloss.evaluate.bootstrap import subject_bootstrap
from faceloss.evaluate.cells import Judged, Measured
from faceloss.evaluate.distractors import judge_distractors
from faceloss.evaluate.file import evaluate_file
from faceloss.evaluate.groups import GroupRate, judge_groups
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
from faceloss.evaluate.openset import OpenSet, judge_open_set
from faceloss.evaluate.pair_groups import judge_pair_groups, judge_pairs_by_group
from faceloss.evaluate.power import detectable
from faceloss.evaluate.protocol import judge_protocol, load_protocol
from faceloss.evaluate.protocols import judge_closed_set, judge_matrix, judge_pairs, judge_rank, judge_scores
from faceloss.evaluate.ranking import Ranking, rank_losses
from faceloss.evaluate.robustness import Condition, judge_robustness
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
from faceloss.evaluate.templates import judge_templates, pool

__all__ = [
    "FAR_GRID",
    "Condition",
    "CosineStatistics",
    "Difference",
    "GroupRate",
    "Judged",
    "Measured",
    "NeuralCollapse",
    "NotMeasurable",
    "OpenSet",
    "Ranking",
    "Summary",
    "auc",
    "cmc",
    "cosine_statistics",
    "detectable",
    "eer",
    "evaluate_file",
    "hold_out",
    "holm",
    "judge_closed_set",
    "judge_distractors",
    "judge_groups",
    "judge_matrix",
    "judge_open_set",
    "judge_pair_groups",
    "judge_pairs",
    "judge_pairs_by_group",
    "judge_protocol",
    "judge_rank",
    "judge_robustness",
    "judge_scores",
    "judge_templates",
    "load_protocol",
    "mate_ranks",
    "measurable",
    "measure_collapse",
    "paired_difference",
    "pool",
    "rank_losses",
    "roc",
    "subject_bootstrap",
    "subject_interval",
    "summary",
    "tar_at_far",
    "ten_folds",
    "verdict",
    "wilson",
]
