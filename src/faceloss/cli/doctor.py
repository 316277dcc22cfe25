"""``faceloss doctor``: is everything here that faceloss needs, and do images reach a network as they should?"""

import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import click

REQUIRED = ("torch", "numpy", "scipy", "pydantic", "pillow", "matplotlib", "safetensors", "click")


@click.command()
@click.argument("data", required=False)
@click.option("--model", type=click.Path(path_type=Path), metavar="MODEL", help="A trained network that DATA is for.")
def doctor(data: str | None, model: Path | None) -> int:
    """Check versions, device, the cache folder, each loss, and the way of a picture into a network.

    A built-in face goes through decoding, alignment and scaling, and every number must come out as it always did:
    swapped channels, a shift of half a pixel, other scaling or another template on the way are found and named.

    With DATA, what `faceloss compare --data` takes, its faces are looked at too: swapped channels and values scaled
    otherwise are found by themselves, another template or a shift of more than a pixel beside the faces that MODEL was
    trained on. Each answer says what it cannot tell.
    """
    from faceloss.errors import BadInput

    if model is not None and data is None:
        raise BadInput("--model is the network that DATA is for: faceloss doctor DATA --model MODEL.")
    problems: list[str] = []
    click.echo(f"faceloss {importlib.metadata.version('faceloss')}, Python {platform.python_version()}, {sys.platform}")
    for name in REQUIRED:
        try:
            click.echo(f"  {name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{name} is not installed; run: pip install {name}")

    import torch

    from faceloss import losses, nets
    from faceloss.data.builtin import builtin_path
    from faceloss.data.cache import cache_folder
    from faceloss.threads import cores
    from faceloss.train.state import resolve_device, resolve_precision

    device = resolve_device("auto")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    click.echo(f"device: {name}, {cores()} cores; training precision {resolve_precision('auto', device)}")

    if builtin_path().exists():
        click.echo(f"built-in faces: {builtin_path().stat().st_size / 1e6:.1f} MB")
    else:
        problems.append("the built-in faces are missing from this installation; install faceloss again")
    cache = cache_folder(None)
    parent = next(path for path in (cache, *cache.parents) if path.exists())
    if os.access(parent, os.W_OK):
        click.echo(f"cache: {cache} ({shutil.disk_usage(parent).free / 1e9:.0f} GB free)")
    else:
        problems.append(f"the cache folder {cache} cannot be written; set FACELOSS_CACHE to one that can")
    if not os.access(Path.cwd(), os.W_OK):
        problems.append("this folder cannot be written to; give compare an --out elsewhere")

    computed = 0
    for name in losses.names():
        try:
            loss = losses.build(name, dim=8, classes=4, **losses.describe(name).start)  # type: ignore[arg-type]
        except (BadInput, TypeError) as error:  # of a plug-in
            problems.append(f"the loss {name} cannot be built: {error}")
            continue
        computed += 1
        x = torch.linspace(-1, 1, 64).reshape(8, 8).requires_grad_()
        loss(x, torch.arange(8) // 2).loss.backward()
        if x.grad is None or not bool(torch.isfinite(x.grad).all()):
            problems.append(f"the loss {name} gave a gradient that is not finite on this machine")
    click.echo(f"losses: {computed} of {len(losses.names())} computed; networks: {', '.join(nets.names())}")
    problems += _pipeline()
    if data is not None:
        problems += _faces(data, model)
    for problem in problems:
        click.echo(f"PROBLEM: {problem}")
    click.echo("All is well." if not problems else f"{len(problems)} problem(s).")
    return 3 if problems else 0


def _pipeline() -> list[str]:
    """Walk the way of a picture into a network; returns what is wrong with it."""
    from faceloss.compare.self_test import self_test

    checked = self_test()
    if checked.fault:
        return [
            f"a known picture does not reach a network as it should ({checked.off:.1f} levels off): {checked.fault}"
        ]
    click.echo(
        f"pipeline: a known picture comes out right (to {checked.off:.1f} levels); it would be noticed, in levels:"
    )
    click.echo("  " + ", ".join(f"{name} {off:.0f}" for name, off in checked.noticed.items()))
    return []


def _faces(data: str, path: Path | None) -> list[str]:
    """Look at the faces of ``data``, also beside those a network was trained on; returns what is wrong with them."""
    from faceloss.compare.doctor import examine
    from faceloss.compare.model import load_model
    from faceloss.progress import Progress

    model: Any = None if path is None else load_model(path)
    progress = Progress()
    examined = examine(data, model and model.contract, model.size if model else 112, progress)
    progress.clear()
    for line in (*examined.facts, *(f"cannot be told: {sentence}" for sentence in examined.open)):
        click.echo(line)
    return [sentence.rstrip(".") for sentence in examined.problems]
