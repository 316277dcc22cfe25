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
    "--lists",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="A list of IJB as it comes (may be repeated): gallery, probe and match CSVs, or *_tid_mid.txt and "
    "*_pair_label.txt; EMBEDDINGS holds a row for each face, in their order.",
)
@click.option(
    "--scores-out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write the scores of the pair list: .csv, .npz.",
)
@click.option(
    "--index",
    type=click.Choice(["ivf", "hnsw"]),
    help="Leave-one-out ranks through this approximate index of faiss, and what it misses (recall@1 of a sample).",
)
@click.option("--far", "fars", type=float, multiple=True, help="Only TAR at this FAR (and ranks): fast on large sets.")
@click.option(
    "--latency", is_flag=True, help="Of a trained network: how long detecting, embedding, matching take here."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON lines, one measured number each.")
def evaluate(
    given: Path,
    name: str | None,
    data: str | None,
    images: Path | None,
    lists: tuple[Path, ...],
    any_contract: bool,
    scores_out: Path | None,
    fars: tuple[float, ...],
    index: str | None,
    latency: bool,
    as_json: bool,
) -> None:
    """Judge what EMBEDDINGS holds:

    \b
    .npz    arrays embeddings [N,D], identities [N], and what the protocol needs: pairs [M,2..4], groups, roles,
            templates, media [N], comparisons [M,2..3], corrupted [K,N,D], conditions [K]; .npy: embeddings alone,
            the rest from a protocol file
    .csv    scores of pairs: columns label (1 or 0), score, and where known first, second, fold; or the same as .npz
    folder  of a trained network, RUNS/runs/NAME, or its model file; with --data
    builtin the generated twin of the protocol, to try it

    \b
    lfw     a pair list, ten folds            rfw             the same in groups, at own and at one threshold
    ijb     templates, 1:1 and 1:N            megaface        rank 1 and TAR among distractors
    rank    leave one out, rank k             trillion-pairs  TPR at FAR 1e-3, TAR at FAR 1e-9
    groups  FMR, FNMR at one threshold        open-set        who is it, or nobody?
    cross-matrix  every pair of a set         closed-set      a linear classifier names test images
    robustness    corrupted probes, FNMR at five levels of seven corruptions (embeds the test 36 times)

    A pair is two rows of embeddings, and may be followed by whether it is of one person (0 or 1) and by its fold. What
    the pairs cannot carry is "not measurable". With more than 10,000 million pairs (141,000 images) EER, AUC and the
    TARs at larger FARs are left out.
    """
    from faceloss.compare.looks import look, model_hash
    from faceloss.errors import BadInput
    from faceloss.evaluate.file import Input, judge_input, read_input, repeated
    from faceloss.evaluate.protocol import conditions_of, load_protocol
    from faceloss.progress import Progress
    from faceloss.threads import cores

    progress = Progress()
    protocol = load_protocol(name or "ijb") if name or lists else None
    if lists and protocol is not None and (protocol.kind != "templates" or _is_model(given)):
        raise BadInput("--lists are those of IJB: for a file of embeddings, one row a face, and --protocol ijb.")
    if scores_out is not None and scores_out.suffix.lower() not in (".csv", ".npz"):
        raise BadInput(f"--scores-out {scores_out}: scores are written as .csv or .npz.")
    if latency:
        _latency(given, as_json, progress)
        if data is None:
            return
    if str(given) != "builtin" and _is_model(given):
        if data is None:
            raise BadInput(f"{given} is a trained network; say which faces it should be judged on: --data.")
        from faceloss.compare.model import embedded, load_model

        asked = conditions_of(protocol.settings) if protocol and protocol.kind == "robustness" else ()
        arrays, test = embedded(
            load_model(given), data, images, progress, asked, any_contract=any_contract, say=progress.say
        )
        held, what = Input(arrays, {}), model_hash(given if given.is_dir() else given.parent)
    else:
        if data is not None or images is not None or any_contract:
            raise BadInput(f"--data, --images and --any-contract belong to a trained network; {given} is none.")
        held = read_input(given, protocol)
        if lists and not held.scores:
            from faceloss.evaluate.ijb import with_lists

            arrays, note = with_lists(held.arrays, lists)
            held = held._replace(arrays=arrays)
            if note:
                progress.say(f"note: {note}.")
        test, what = held.digests(protocol)
    if "embeddings" in held.arrays and (sentence := repeated(held.arrays["embeddings"], held.arrays.get("identities"))):
        progress.say(f"note: {sentence}")
    if index is not None:
        outcome = _through(index, held, protocol, progress)
    else:
        outcome = judge_input(held, protocol, progress, fars=fars or None, workers=cores())
    progress.clear()
    if scores_out is not None:
        more = protocol.lists if protocol else {}
        _write_scores(held._replace(arrays={**held.arrays, **more}), scores_out)
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


def _latency(given: Path, as_json: bool, progress: Any) -> None:
    """Lines on how long one call takes."""
    from faceloss.compare.latency import measure
    from faceloss.compare.model import load_model

    for row in measure(load_model(given), progress):
        progress.clear()
        line = f"{row['what']:<7} {row['about']:<62} p50 {row['p50_ms']:.2f} ms  p95 {row['p95_ms']:.2f} ms"
        click.echo(json.dumps(row) if as_json else f"{line}  ({row['calls']} calls; {row['machine']})")


def _through(index: str, held: Any, protocol: Any, progress: Any) -> Any:
    """What an approximate index finds and misses."""
    from faceloss.errors import BadInput
    from faceloss.evaluate.index import judge_index
    from faceloss.evaluate.protocol import Outcome

    if protocol is not None and protocol.kind != "rank":
        raise BadInput(f"--index searches for ranks; {protocol.name} is another protocol: --protocol rank, or none.")
    if "identities" not in held.arrays:
        raise BadInput("--index needs embeddings with identities.")
    found = judge_index(held.arrays["embeddings"], held.arrays["identities"], index, progress=progress)
    progress.say(f"{found.said}.")
    return Outcome(found.judged.rows)


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
    named: list[tuple[str, Any, str]] = []
    for row in outcome.rows:
        at = f" at {_at(row.metric)}{row.at:g}" if row.at is not None else ""
        size = f" of {row.gallery:,}" if row.gallery is not None else ""
        of = row.group or _condition(row.corruption, row.level)
        name = f"{row.protocol}{size}: {row.metric}{at}" + (f" ({of})" if of else "")
        named.append((name, row, f"({row.pairs} comparisons)"))
    for row in outcome.groups:
        at = f" at FAR {row.at:g}" if row.at is not None else " at one threshold"
        name = f"{row.metric} {row.group}{' and ' + row.other if row.other else ''}{at}"
        named.append((name, row, row.verdict or f"({row.pairs} comparisons)"))
    width = max((len(name) for name, _, _ in named), default=0)
    return [_line(f"{name:<{max(46, width)}}", row, tail) for name, row, tail in named]


def _at(metric: str) -> str:
    known = {"tar": "FAR ", "tar by identity": "FAR ", "tpir": "FPIR ", "fnmr": "FMR ", "fnmr by identity": "FMR "}
    return known.get(metric, "")


def _condition(corruption: str, level: int | None) -> str:
    """``clean``, ``blur 3``, ``blur, mean``; nothing for a number that is about no corruption."""
    if level is None:
        return f"{corruption}, mean" if corruption else ""
    return f"{corruption} {level}" if corruption else "clean"


def _line(name: str, row: Any, tail: str) -> str:
    if row.value is None:
        return f"{name} {row.status}" + (f" ({row.note})" if row.note else "")
    interval = f"[{row.low:.4f}, {row.high:.4f}]" if row.low is not None else ""
    return f"{name} {row.value:.4f}  {interval}  {tail}"
