"""``faceloss evaluate``: judge embeddings, scores or a trained network."""

import json
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("given", metavar="EMBEDDINGS", type=click.Path(path_type=Path))
@click.option(
    "--protocol",
    "name",
    metavar="NAME|FILE.toml",
    help="One of those below, or a protocol file of your own. Default: all that fit.",
)
@click.option(
    "--data", help="The faces or pair list to embed, where EMBEDDINGS is a trained network; as in `compare --test`."
)
@click.option(
    "--any-contract",
    is_flag=True,
    help="Go on where --data was prepared otherwise than what the network was trained on.",
)
@click.option("--images", type=click.Path(path_type=Path), help="The folder that a pair list in --data refers to.")
@click.option(
    "--scores-out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write the scores of the pair list: .csv, .npz.",
)
@click.option("--far", "fars", type=float, multiple=True, help="Only TAR at this FAR (and ranks): fast on large sets.")
@click.option("--json", "as_json", is_flag=True, help="As JSON lines, one measured number each.")
def evaluate(
    given: Path,
    name: str | None,
    data: str | None,
    images: Path | None,
    any_contract: bool,
    scores_out: Path | None,
    fars: tuple[float, ...],
    as_json: bool,
) -> None:
    """Judge what EMBEDDINGS holds:

    \b
    .npz    arrays embeddings [N,D], identities [N], and what the protocol needs: pairs [M,2..4], groups, roles,
            templates, media [N], comparisons [M,2..3]; .npy: embeddings alone, the rest from a protocol file
    .csv    scores of pairs: columns label (1 or 0), score, and where known first, second, fold; or the same as .npz
    folder  of a trained network, RUNS/runs/NAME, or its model file; with --data
    builtin the generated twin of the protocol, to try it

    \b
    lfw     a pair list, ten folds            rfw             the same in groups
    ijb     templates, 1:1 and 1:N            megaface        rank 1 and TAR among distractors
    rank    leave one out, rank k             trillion-pairs  TPR at FAR 1e-3, TAR at FAR 1e-9
    groups  FMR, FNMR at one threshold        open-set        who is it, or nobody?
    cross-matrix  every pair of a set         closed-set      a linear classifier names test images

    A pair is two rows of embeddings, and may be followed by whether it is of one person (0 or 1) and by its fold. What
    the pairs cannot carry is "not measurable". With more than 10,000 million pairs (141,000 images) EER, AUC and the
    TARs at larger FARs are left out.
    """
    from faceloss.compare.looks import look, model_hash
    from faceloss.errors import BadInput
    from faceloss.evaluate.file import Input, judge_input, read_input, repeated
    from faceloss.evaluate.protocol import load_protocol
    from faceloss.progress import Progress
    from faceloss.threads import cores

    progress = Progress()
    protocol = load_protocol(name) if name else None
    if scores_out is not None and scores_out.suffix.lower() not in (".csv", ".npz"):
        raise BadInput(f"--scores-out {scores_out}: scores are written as .csv or .npz.")
    if str(given) != "builtin" and _is_model(given):
        if data is None:
            raise BadInput(f"{given} is a trained network; say which faces it should be judged on: --data.")
        from faceloss.compare.model import embedded, load_model

        model = load_model(given)
        arrays, test = embedded(model, data, images, progress, any_contract=any_contract, say=progress.say)
        held, what = Input(arrays, {}), model_hash(given if given.is_dir() else given.parent)
    else:
        if data is not None or images is not None or any_contract:
            raise BadInput(f"--data, --images and --any-contract belong to a trained network; {given} is none.")
        held = read_input(given, protocol)
        test, what = held.digests(protocol)
    if "embeddings" in held.arrays and (sentence := repeated(held.arrays["embeddings"], held.arrays.get("identities"))):
        progress.say(f"note: {sentence}")
    outcome = judge_input(held, protocol, progress, fars=fars or None, workers=cores())
    progress.clear()
    if scores_out is not None:
        lists = protocol.lists if protocol else {}
        _write_scores(held._replace(arrays={**held.arrays, **lists}), scores_out)
    for line in _lines(outcome, as_json):
        click.echo(line)
    for note in dict.fromkeys(row.note for row in outcome.rows if row.value is not None and row.note and not as_json):
        click.echo(f"Note: {note}.")
    if str(given) != "builtin":
        looks = look(test, [what], f"evaluate {what[:12]}")
        if as_json:
            click.echo(json.dumps({"kind": "looks", "test": test, **looks._asdict(), "luck": looks.luck}))
        else:
            progress.say(looks.sentence("this test"))


def _is_model(path: Path) -> bool:
    named = path.name.startswith("model") and path.suffix in (".json", ".safetensors")
    return named or (path / "model.json").is_file()


def _write_scores(held: Any, file: Path) -> None:
    from faceloss.errors import BadInput
    from faceloss.evaluate.protocol import pair_list
    from faceloss.evaluate.scores import scores_of, to_bytes
    from faceloss.files import write_atomically

    if held.scores:
        table = held.scores
    elif "pairs" in held.arrays:
        e, pairs = held.arrays["embeddings"], pair_list(held.arrays)
        table = scores_of(e, *pairs, held.arrays.get("identities"))
    else:
        raise BadInput("--scores-out writes the scores of a pair list; there is no array pairs.")
    write_atomically(file, to_bytes(table, file.suffix.lower()))


def _lines(outcome: Any, as_json: bool) -> list[str]:
    from faceloss.evaluate.rows import curve_record, group_record, result_record

    if as_json:
        records = [result_record(row) for row in outcome.rows]
        records += [group_record(row) for row in outcome.groups]
        records += [curve_record(curve) for curve in outcome.curves]
        return [json.dumps(record) for record in records]
    lines = []
    for row in outcome.rows:
        at = f" at {_at(row.metric)}{row.at:g}" if row.at is not None else ""
        size = f" of {row.gallery:,}" if row.gallery is not None else ""
        name = f"{row.protocol}{size}: {row.metric}{at}" + (f" ({row.group})" if row.group else "")
        lines.append(_line(name, row, f"({row.pairs} comparisons)"))
    for row in outcome.groups:
        name = f"{row.metric} {row.group}{' and ' + row.other if row.other else ''} at FAR {row.at:g}"
        lines.append(_line(name, row, row.verdict or f"({row.pairs} comparisons)"))
    return lines


def _at(metric: str) -> str:
    return {"tar": "FAR ", "tar by identity": "FAR ", "tpir": "FPIR "}.get(metric, "")


def _line(name: str, row: Any, tail: str) -> str:
    if row.value is None:
        return f"{name:<46} {row.status}" + (f" ({row.note})" if row.note else "")
    interval = f"[{row.low:.4f}, {row.high:.4f}]" if row.low is not None else ""
    return f"{name:<46} {row.value:.4f}  {interval}  {tail}"
