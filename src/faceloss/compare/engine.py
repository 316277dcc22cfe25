"""A study from its settings to its records; its runs are handed to an engine (:mod:`faceloss.compare.engines`)."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from faceloss.compare import outside
from faceloss.compare.contracts import as_begun
from faceloss.compare.engines import Engine, on_this_machine
from faceloss.compare.engines.board import Board
from faceloss.compare.engines.here import here
from faceloss.compare.engines.session import close_session, same_faces, see
from faceloss.compare.failures import keep_pictures
from faceloss.compare.looks import look, model_hash, test_digest
from faceloss.compare.memory import not_spread, refuse_what_cannot_fit
from faceloss.compare.prepare import Bench, prepare
from faceloss.compare.records import assemble
from faceloss.compare.reward import usable
from faceloss.compare.run import policy_of, steps
from faceloss.compare.study import Competitor, Run, Study, competitors, plan
from faceloss.data.contract import unknown
from faceloss.errors import BadInput
from faceloss.files import write_atomically
from faceloss.lock import locked
from faceloss.losses.shards import holding, share
from faceloss.progress import Progress
from faceloss.train.epochs import FaceEpochs
from faceloss.train.ranks import ONE, Ranks


def compare(
    study: Study | None,
    out: Path,
    *,
    workers: int = 1,
    engine: Engine | None = None,
    progress: Progress | None = None,
    ranks: Ranks = ONE,
    show_faces: bool = False,
) -> Path:
    """Run ``study`` into the folder ``out``, or continue what is there, and write ``out/records.jsonl``.

    The runs are done by ``engine`` (:func:`faceloss.compare.engines.choose`), or where none is given in ``workers``
    processes of this machine; the records are the same. Nothing in ``out`` is ever overwritten by another study: a
    folder that holds one with other settings is refused. Of several ``ranks`` all call this, and do each run together;
    process 0, whose ``study`` counts, does all the rest. ``show_faces`` consents to keep pictures of real people for
    the page (:mod:`faceloss.compare.failures`).

    Raises:
        BadInput: data, losses or settings cannot be used, or ``out`` belongs to another study.
        CouldNotFinish: stopped, lost workers, full disk, folder in use; says how to continue.
    """
    progress = progress or Progress()
    if study is None or ranks.rank:
        _follow(out, progress, ranks)
        return out / "records.jsonl"
    study = outside.settle(study)
    made = not out.exists()
    _claim(study, out)
    with locked(out), _nothing_if_refused(out, made):
        close_session(out)
        outside.use(study, out)
        bench = prepare(study, progress)
        as_begun(bench.records, out)
        share(len(bench.train.identities), ranks.rank, ranks.size)  # refuses more processes than classes
        refuse_what_cannot_fit(study, len(bench.train.identities), ranks)
        if study.balance:
            _grouped(bench)
        rows = _rows(study, bench, ranks)
        _divisible(study, bench, rows, ranks)
        _rewarded(rows, bench)
        runs = plan(study, rows, bench.digests)
        document = {"data": bench.records, "runs": [_planned(run) for run in runs]}
        write_atomically(out / "plan.json", json.dumps(document, indent=1).encode())
        outside.keep(study, out)
        write_atomically(out / "study.json", study.model_dump_json(indent=1).encode())
        todo = [run for run in runs if not (out / "runs" / run.folder / "result.json").exists()]
        what = f"{len(rows)} losses x {study.seeds} seeds = {len(runs)} runs ({len(todo)} to do)"
        progress.say(
            f"{rows[0].label if study.single else what} on "
            f"{len(bench.train.labels)} images of {len(bench.train.identities)} identities"
        )
        for row in rows:
            for remark in (*row.remarks, not_spread(row, study.recipe, len(bench.train.identities), ranks)):
                if remark:
                    progress.say(f"note on {row.label}: {remark}")
        if sentence := unknown({row["name"]: row["contract"] for row in bench.records}):
            progress.say(f"note: {sentence}")
        ranks.alone(lambda: [study.model_dump_json(), bench.digests, [run.id for run in todo]])
        if todo:
            together = partial(here, ranks=ranks) if ranks.size > 1 else partial(on_this_machine, workers=workers)
            board = Board(progress, len(runs), len(todo))
            for wave in waves(todo):
                (engine or together)(wave, study, bench, out, board)
        _count_looks(bench, runs, out, progress)
        records = assemble(out)
        keep_pictures(out, bench, show_faces=show_faces)
        return records


def _count_looks(bench: Bench, runs: list[Run], out: Path, progress: Progress) -> None:
    """Note which networks were judged on each test, say how many that makes in all, and keep it in ``looks.jsonl``.

    It is no part of the records, which do not depend on what else was done on this machine.
    """
    judged = [found for run in runs if (found := model_hash(out / "runs" / run.folder))]
    rows = []
    for test in bench.tests:
        looks = look(test_digest(test.faces, test.pairs), judged, f"compare {runs[0].id}")
        progress.say(looks.sentence(test.name))
        rows.append({"kind": "looks", "test": test.name, **looks._asdict(), "luck": looks.luck})
    write_atomically(out / "looks.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())


def _follow(out: Path, progress: Progress, ranks: Ranks) -> None:
    """The part of the processes beside process 0: to train with it what it says is to do."""
    text, digests, wanted = ranks.alone(lambda: None)
    study = Study.model_validate_json(text)
    see(out)
    outside.use(study, out)
    bench = prepare(study)
    same_faces(bench, digests, study, "of process 0")
    rows = _rows(study, bench, ranks)
    runs = {run.id: run for run in plan(study, rows, bench.digests)}
    board = Board(progress, len(runs), len(wanted))
    for wave in waves([runs[key] for key in wanted]):
        here(wave, study, bench, out, board, ranks=ranks)


def waves(todo: list[Run]) -> list[list[Run]]:
    """``todo`` in two parts, of which the second needs what the first leaves: runs that replay another's schedule."""
    parts = [run for run in todo if not run.source], [run for run in todo if run.source]
    return [part for part in parts if part]


def _rows(study: Study, bench: Bench, ranks: Ranks) -> list[Competitor]:
    """The rows of ``study``, whose losses are built for a look; no process builds more of one than it is to hold."""
    classes = len(bench.train.identities)
    with holding(ranks.rank, ranks.size):
        return competitors(study, classes, lambda batches: steps(study, bench, batches))


def _divisible(study: Study, bench: Bench, rows: list[Competitor], ranks: Ranks) -> None:
    """See that each of ``ranks`` has two images at least of every batch."""
    if ranks.size == 1:
        return
    for kind in {row.batches for row in rows}:
        smallest = min(len(batch) for batch in FaceEpochs(bench.train, study.recipe, 0, kind).batches(0))
        if smallest < 2 * ranks.size:
            raise BadInput(
                f"A batch of {smallest} images cannot be divided among {ranks.size} processes, at least two to each; "
                f"raise the batch (--set batch={2 * ranks.size} or more) or start {max(1, smallest // 2)} or fewer."
            )


def _grouped(bench: Bench) -> None:
    """See that there are groups to balance the training images by."""
    train = bench.train
    if unknown := sum(not group for group in train.groups):
        raise BadInput(
            f"--balance: {unknown} of the {len(train)} training images have no group; name one for each in a column "
            "group, or in identities.csv."
        )
    groups = set(train.groups)
    if len(groups) < 2:
        raise BadInput(f"--balance: all training images are of the group {min(groups)}; at least two are needed.")
    for test in bench.tests:
        if empty := sorted(set(test.faces.groups) - {""} - groups):
            raise BadInput(
                f"--balance: training has no image of the group {empty[0]}, which {test.name} has; add some, or leave "
                "it out of the test."
            )


def _rewarded(rows: list[Competitor], bench: Bench) -> None:
    """See that there are faces to reward a search by."""
    for row in rows:
        if policy_of(Run("", row, 0, row.source)).width > 1 and (why := usable(bench.val)):
            raise BadInput(f"{row.label}: {why}.")


def read_study(out: Path) -> Study:
    """The study that the folder ``out`` holds.

    Raises:
        BadInput: there is none, or its file was changed into something else.
    """
    file = out / "study.json"
    if not file.exists():
        raise BadInput(f"{out} holds no study (no study.json); start one with: faceloss compare --out {out}")
    try:
        return Study.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise BadInput(f"{file}: {first_error(error)}") from error


def first_error(error: ValidationError) -> str:
    """All that pydantic found, in one sentence."""
    parts = [f"{'.'.join(str(p) for p in e['loc']) or 'settings'}: {e['msg']}" for e in error.errors()]
    return "; ".join(parts) + "."


def _claim(study: Study, out: Path) -> None:
    if (out / "study.json").exists():
        held = read_study(out)
        if held != study:
            was = held.loss_files
            files = [f"{name}.py" for name, sha256 in study.loss_files.items() if was.get(name, sha256) != sha256]
            why = f" (the file {', '.join(files)} was another then)" if files else ""
            raise BadInput(
                f"{out} holds another study{why}; choose another --out, or continue that one: faceloss resume {out}"
            )
        return
    if out.exists() and (not out.is_dir() or any(entry.name != ".lock" for entry in out.iterdir())):
        raise BadInput(f"{out} exists and is not a runs folder; nothing in it was touched: choose another --out.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{out} cannot be made ({error.strerror}); choose another --out.") from error
    if not os.access(out, os.W_OK):
        raise BadInput(f"{out} cannot be written to; choose another --out.")


@contextmanager
def _nothing_if_refused(out: Path, made: bool) -> Iterator[None]:
    """Where the study is refused before anything was written, the folder ``made`` for it goes again."""
    try:
        yield
    except BadInput:
        if [entry.name for entry in out.iterdir()] == [".lock"]:
            (out / ".lock").unlink()
            if made:
                out.rmdir()
        raise


def _planned(run: Run) -> dict[str, Any]:
    row = run.competitor
    return {"run": run.id, "folder": run.folder, "label": row.label, "loss": row.loss, "seed": run.seed}
