"""Judging a trained network on every test of a bench: embeddings once per image, then all protocols that fit."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from faceloss.compare import why
from faceloss.compare.embedding_map import map_record
from faceloss.compare.failures import failures_record
from faceloss.compare.group_records import group_cell
from faceloss.compare.prepare import Bench, Test
from faceloss.compare.robustness import Watch, judge_corrupted, unwatched
from faceloss.compare.study import Study
from faceloss.data.faces import Faces
from faceloss.data.keys import generator
from faceloss.errors import BadInput
from faceloss.evaluate import (
    Judged,
    hold_out,
    judge_closed_set,
    judge_matrix,
    judge_pair_groups,
    judge_pairs,
    judge_rank,
)
from faceloss.evaluate.geometry import effective_rank, mean_cosine
from faceloss.evaluate.groups import MOST_GROUPS, GroupRate, judge_groups
from faceloss.evaluate.openset import judge_open_set
from faceloss.evaluate.rows import curve_record, group_record, result_record
from faceloss.train.loop import Pixels, embed
from faceloss.train.state import State

Embed = Callable[[Pixels], NDArray[np.float32]]
OBSERVED = 1000  # validation images looked at after each epoch
COLLAPSED_COSINE = 0.97  # mean cosine over all pairs above which all faces are one point
COLLAPSED_RANK = 2.0  # effective rank below which all faces lie on one line
FEW = 8  # training identities that may well be placed on a line


class Verdicts(NamedTuple):
    """Result and curve records, influence vectors by cell name, and why the network collapsed ("" = it did not)."""

    results: list[dict[str, Any]]
    curves: list[dict[str, Any]]
    influences: dict[str, NDArray[np.float64]]
    collapsed: str


def embedder(state: State, study: Study) -> Embed:
    """What is compared after training: the net's embeddings of crops, through the loss's projection if it has one."""
    return lambda pixels: embed(state.net, pixels, study.recipe, project=state.loss.embed)


def observe(embedder: Embed, val: Faces | None) -> dict[str, float]:
    """EER and AUC on the validation identities: the curve over epochs that means the same for every loss."""
    if val is None:
        return {}
    chosen = np.sort(generator("observe", val.digest).permutation(len(val))[:OBSERVED])
    try:
        judged = judge_matrix(embedder(val.pixels[chosen]), val.labels[chosen])
    except BadInput:  # a net that has collapsed has no directions to compare
        return {}
    return {f"val_{row.metric}": row.value for row in judged.rows if row.metric != "tar" and row.value is not None}


def judge(embedder: Embed, bench: Bench, corruptions: tuple[str, ...] = (), watch: Watch = unwatched) -> Verdicts:
    """All protocols that fit the tests of ``bench``; under ``corruptions``, if any, robustness too, of which ``watch``
    is told.

    A labelled set: the full cross-matrix, ranks, and a linear classifier on the identities with four images or more.
    A pair list: the folds, and its groups. Other images of the training identities: a linear classifier on the training
    embeddings.
    """
    found = Verdicts([], [], {}, "")
    known: dict[str, NDArray[np.float32]] = {}

    def embeddings(faces: Faces) -> NDArray[np.float32]:
        """Rows in the order of ``faces``; an image (by the hash of its file) is embedded once."""
        new = [i for i, sha in enumerate(faces.hashes) if sha not in known]
        if new:
            known.update(zip((faces.hashes[i] for i in new), embedder(faces.pixels[np.array(new)]), strict=True))
        return np.stack([known[sha] for sha in faces.hashes])

    # The largest test first, so that a pair list over the same images finds them embedded.
    for test in sorted(bench.tests, key=lambda test: -len(test.faces)):
        embeddings(test.faces)
    if not bench.tests and len(bench.train.identities) >= FEW:
        chosen = np.linspace(0, len(bench.train) - 1, min(len(bench.train), OBSERVED)).astype(np.int64)
        if reason := _collapse(embedder(bench.train.pixels[chosen])):
            return found._replace(collapsed=f"{reason} on {bench.train.name}")
    for test in bench.tests:
        rows = embeddings(test.faces)
        if reason := _collapse(rows):
            return found._replace(collapsed=f"{reason} on {test.name}")
        if corruptions:
            records, influences = judge_corrupted(embedder, test, rows, corruptions, watch)
            found.results.extend(records)
            found.influences.update(influences)
        if test.pairs is not None:
            judged = _pairs(rows, test)
            _keep(found, test.name, judged)
            _keep_failures(found, test, rows, judged)
            _keep_why(found, test, rows)
            _keep_pair_groups(found, test, rows)
            continue
        names = np.array(test.faces.identities)[test.faces.labels]
        judged = judge_matrix(rows, names)
        _keep(found, test.name, judged)
        _keep_failures(found, test, rows, judged)
        _keep_why(found, test, rows, judged)
        _keep(found, test.name, judge_rank(rows, names))
        _keep_groups(found, test, rows, names)
        train, held = hold_out(test.faces.labels)
        if len(np.unique(test.faces.labels[train])) > 1:
            _keep(found, test.name, judge_closed_set(rows[train], names[train], rows[held], names[held]))
        _keep_open_set(found, test.name, rows, names)
    if bench.closed is not None and len(bench.closed):
        train_names = np.array(bench.enrolled.identities)[bench.enrolled.labels]
        closed_names = np.array(bench.closed.identities)[bench.closed.labels]
        known_names = np.isin(closed_names, train_names)
        rows = embeddings(bench.closed)[known_names]
        judged = judge_closed_set(embeddings(bench.enrolled), train_names, rows, closed_names[known_names])
        _keep(found, bench.closed.name, judged)
    return found


def _pairs(rows: NDArray[np.float32], test: Test) -> Judged:
    pairs = test.pairs
    assert pairs is not None
    return judge_pairs(rows, pairs.first, pairs.second, pairs.same, pairs.fold, _subjects(test))


def _subjects(test: Test) -> NDArray[np.str_] | None:
    """Who is on each image; None of a .bin file, which does not say."""
    return None if "" in test.faces.identities else np.array(test.faces.identities)[test.faces.labels]


def _collapse(rows: NDArray[np.float32]) -> str:
    if not np.isfinite(rows).all() or not np.abs(rows).max(axis=1).all():
        return "embeddings without a direction (zero, NaN or infinite)"
    cosine, rank = mean_cosine(rows), effective_rank(rows[:2000])
    if cosine > COLLAPSED_COSINE:
        return f"mean cosine between images {cosine:.4f}"
    if rank < COLLAPSED_RANK:
        return f"effective rank of the embeddings {rank:.2f}"
    return ""


def _keep(found: Verdicts, test: str, judged: Judged) -> None:
    for row in judged.rows:
        found.results.append({"test": test, **result_record(row)})
        if row.influence is not None:
            found.influences[f"{test}|{row.protocol}|{row.metric}|{row.at}"] = row.influence
    if judged.det is not None:
        curve = {name: np.round(values, 7).tolist() for name, values in judged.det._asdict().items()}
        found.curves.append({"kind": "curve", "test": test, "name": "det", **curve})
    if judged.scores is not None:
        curve = {name: np.round(values, 5).tolist() for name, values in judged.scores._asdict().items()}
        marks = {"threshold": judged.threshold, "threshold_far": judged.threshold_far}
        found.curves.append({"kind": "curve", "test": test, "name": "scores", **curve, **marks})
    if judged.cmc is not None:
        curve = {"rank": judged.cmc.rank.tolist(), "rate": np.round(judged.cmc.rate, 6).tolist()}
        found.curves.append({"kind": "curve", "test": test, "name": "cmc", **curve})


def _keep_failures(found: Verdicts, test: Test, rows: NDArray[np.float32], judged: Judged) -> None:
    record = failures_record(test, rows, judged)
    if record is not None:
        found.curves.append(record)


def _keep_open_set(found: Verdicts, test: str, rows: NDArray[np.float32], names: NDArray[np.str_]) -> None:
    """TPIR and curves of an open set: half of the identities enrolled, galleries of several sizes, a protocol each."""
    if np.count_nonzero(np.unique(names, return_counts=True)[1] > 1) < 4:
        return  # fewer than two identities to enroll
    judged = judge_open_set(rows, names, extrapolate=True)
    tpir = [row for row in judged.judged.rows if row.metric == "tpir"]
    _keep(found, test, Judged(tuple(row._replace(protocol=f"open set, {row.gallery:,} enrolled") for row in tpir)))
    for curve in judged.curves:
        found.curves.append({"test": test, **curve_record(curve)})


def _keep_why(found: Verdicts, test: Test, rows: NDArray[np.float32], matrix: Judged | None = None) -> None:
    """What describes the embedding; FNMR at the threshold of the full matrix, where there is one."""
    threshold, far = (matrix.threshold, matrix.threshold_far) if matrix is not None else (None, None)
    records, influences = why.of_test(test, rows, threshold, far)
    found.curves.extend(records)
    found.influences.update(influences)
    drawn = map_record(test.name, test.faces, rows)
    if drawn is not None:
        found.curves.append(drawn)


def _keep_groups(found: Verdicts, test: Test, rows: NDArray[np.float32], names: NDArray[np.str_]) -> None:
    groups = np.array(test.faces.groups)
    if not 2 <= len(set(test.faces.groups) - {""}) <= MOST_GROUPS or len(np.unique(names[groups != ""])) < 2:
        return
    _keep_rates(found, test, judge_groups(rows, names, groups))


def _keep_pair_groups(found: Verdicts, test: Test, rows: NDArray[np.float32]) -> None:
    pairs, groups = test.pairs, np.array(test.faces.groups)
    assert pairs is not None
    known = (groups[pairs.first] != "") & (groups[pairs.second] != "")
    if not 2 <= len({*groups[pairs.first[known]], *groups[pairs.second[known]]}) <= MOST_GROUPS:
        return
    given = pairs.first, pairs.second, pairs.same, pairs.fold
    _keep_rates(found, test, judge_pair_groups(rows, *given, groups, _subjects(test)))


def _keep_rates(found: Verdicts, test: Test, rates: Sequence[GroupRate]) -> None:
    for rate in rates:
        record = {"test": test.name, **group_record(rate)}
        found.results.append(record)
        if rate.influence is not None:
            found.influences[group_cell(record).name] = rate.influence
