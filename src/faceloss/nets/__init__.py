"""Networks: an aligned face crop in, an embedding out.

The folder is the registry: a file that defines ``build`` at its top level is a network, and its name is the file's.
Asking for the names reads the files without importing torch.
"""

import ast
import importlib
import inspect
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from faceloss.errors import BadInput, unknown

if TYPE_CHECKING:
    from faceloss.nets.net import Net


@cache
def names() -> tuple[str, ...]:
    """The names that ``build`` knows, in alphabetical order (imports nothing)."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if _defines_build(path)))


def _defines_build(path: Path) -> bool:
    if path.stem == "__init__":
        return False
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == "build" for node in tree.body)


def build(name: str, *, dim: int = 128, seed: int = 0, **options: float) -> "Net":
    """The network ``name`` with embeddings of ``dim`` numbers; ``options`` are those of that network's own ``build``.

    The weights depend on ``seed`` alone: torch's global generator is neither read nor moved.
    Raises BadInput for an unknown name or option and for a value outside its range.

    >>> build("small", dim=64, width=16).input_size
    64
    """
    if name not in names():
        raise BadInput(unknown("network", name, names()))
    make = importlib.import_module(f"{__name__}.{name}").build
    allowed = [option for option in inspect.signature(make).parameters if option != "dim"]
    for option in options:
        if option not in allowed:
            raise BadInput(unknown(f"option of the network {name}", option, allowed))

    import torch  # here, so that names() stays free of it

    from faceloss.nets.net import Net, draw_weights

    with torch.random.fork_rng(devices=[]):  # layers draw default weights from the global generator when made
        net = make(dim=dim, **options)
    assert isinstance(net, Net)
    draw_weights(net, seed)
    return net
