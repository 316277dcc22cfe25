"""From records to one self-contained page, and one picture of the answer. Sees only records; needs no torch."""

from collections.abc import Callable
from pathlib import Path

from faceloss.errors import BadInput
from faceloss.files import write_atomically

__all__ = ["write_figure", "write_report", "write_tables"]


def _silent(what: str, done: int, total: int) -> None:
    pass


def write_report(runs: Path, progress: Callable[[str, int, int], None] = _silent, *, show_faces: bool = False) -> Path:
    """Write ``RUNS/report.html`` from ``records.jsonl`` and, where they exist, ``costs.jsonl`` and ``pictures.jsonl``.

    The page asks no host for anything and is a pure function of these files: same records, same bytes. It is replaced
    as a whole or not at all. It shows pictures of generated faces only, those of real people with ``show_faces``.
    Raises BadInput (file and line) for records that cannot be used, CouldNotFinish where the page cannot be written.
    """
    from faceloss.report.page import page
    from faceloss.report.records import read_records

    path = runs / "report.html"
    write_atomically(path, page(read_records(runs, show_faces=show_faces), progress).encode("utf-8"))
    return path


def write_figure(records: Path, path: Path) -> Path:
    """Write a PNG, 1200 pixels wide, of the answer: the number that ranks, and the differences to the baseline.

    ``records`` is the folder of a study or its records.jsonl. Raises BadInput where nothing has been measured.
    """
    from faceloss.report import answer, charts
    from faceloss.report.records import read_records
    from faceloss.report.svg import png

    folder = records.parent if records.name == "records.jsonl" else records
    found = read_records(folder)
    key = answer.primary(found)
    if key is None:
        raise BadInput(f"{folder / 'records.jsonl'}: nothing has been measured yet, so there is no answer to draw.")
    size = (9.6, max(0.42 * len(found.labels) + 1.1, 2.0))
    write_atomically(path, png(charts.answer_figure(found, key), size=size, dpi=125))
    return path


def write_tables(runs: Path, name: str) -> list[Path]:
    """Write the tables beside the page: of results ``RUNS/report.csv``, ``.md`` or ``.tex``, then those of sections.

    These are ``report-robustness.*`` (FNMR under corruptions), ``report-why.*``, ``report-cost.*`` and, as CSV alone,
    ``report-curves.csv`` (DET, CMC, open set, scores: a line a point); rates of groups and open sets are in the first.
    ``name`` is that of a format: "csv" (every number, unrounded; of costs a line a run), "markdown" or "latex" (as on
    the page; the latter with booktabs). A section without numbers has no file, and one
    that is there from before goes. Raises BadInput for another format and for records that cannot be used.
    """
    from faceloss.errors import unknown
    from faceloss.report.export import FORMATS, SECTIONS
    from faceloss.report.records import read_records

    if name not in FORMATS:
        raise BadInput(unknown("format", name, FORMATS))
    suffix, table = FORMATS[name]
    records = read_records(runs)
    written = {runs / f"report.{suffix}": table(records)}
    written |= {runs / f"report-{section}.{suffix}": make(records, name) for section, make in SECTIONS.items()}
    for path, text in written.items():
        if text:
            write_atomically(path, text.encode("utf-8"))
        else:
            path.unlink(missing_ok=True)
    return [path for path, text in written.items() if text]
