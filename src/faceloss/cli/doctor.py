"""``faceloss doctor``: is everything here that faceloss needs, and what can this machine do?"""

import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path

import click

REQUIRED = ("torch", "numpy", "scipy", "pydantic", "pillow", "matplotlib", "safetensors", "click")


@click.command()
def doctor() -> int:
    """Check versions, device, precision, the built-in faces, the cache folder, and that a loss can be computed."""
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
    from faceloss.errors import BadInput
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
    for problem in problems:
        click.echo(f"PROBLEM: {problem}")
    click.echo("All is well." if not problems else f"{len(problems)} problem(s).")
    return 3 if problems else 0
