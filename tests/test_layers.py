"""The one-way flow: a room imports only from the rooms before it."""

import ast
from pathlib import Path

import faceloss

ROOT = Path(faceloss.__file__).parent
ORDER = [
    "errors",
    "files",
    "lock",
    "memory",
    "progress",
    "threads",
    "data",
    "nets",
    "search",
    "losses",
    "checks",
    "train",
    "matching",
    "evaluate",
    "compare",
    "report",
    "cli",
    "__main__",
]
# Narrower than the order: what a room may import of the package, and what it must never import from outside.
ONLY = {
    "errors": set(),
    "files": {"errors"},
    "lock": {"errors"},
    "memory": set(),
    "progress": set(),
    "threads": set(),
    "data": {"errors", "files", "lock", "progress"},
    "nets": {"errors"},
    "search": {"errors", "data"},  # of data the keyed random numbers
    "losses": {"errors", "memory", "search"},
    "checks": {"errors", "losses", "search"},
    "matching": {"errors"},
    "evaluate": {"errors", "matching"},
    "report": {"errors", "files"},
}
NEVER = {
    "search": {"torch"},
    "matching": {"PIL", "matplotlib"},
    "evaluate": {"torch", "PIL", "matplotlib"},
    "report": {"torch", "PIL"},
    "data": {"torch"},
    "cli": {"PIL"},
}


def imports(source: str) -> list[str]:
    """Dotted names that a module imports, wherever in the file."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def violations(room: str, source: str) -> list[str]:
    """The imports of a module of ``room`` that turn the arrows round."""
    found = []
    allowed = ONLY.get(room, set(ORDER[: ORDER.index(room)])) | {room, "__version__"}
    for name in imports(source):
        parts = name.split(".")
        if parts[0] == "faceloss" and len(parts) > 1 and parts[1] not in allowed:
            found.append(name)
        if parts[0] in NEVER.get(room, set()):
            found.append(name)
    return found


def modules() -> list[tuple[str, Path]]:
    """(room, file) of every module; files in the package's root are rooms of their own."""
    return [
        (path.relative_to(ROOT).parts[0].removesuffix(".py"), path)
        for path in sorted(ROOT.rglob("*.py"))
        if path != ROOT / "__init__.py"
    ]


def test_the_arrows_point_one_way() -> None:
    assert len(modules()) > 30
    found = {str(path): violations(room, path.read_text()) for room, path in modules()}
    assert {path: names for path, names in found.items() if names} == {}


def test_the_check_finds_a_turned_arrow() -> None:
    assert violations("losses", "from faceloss.train.loop import train") == ["faceloss.train.loop.train"]
    assert violations("evaluate", "def f():\n    import torch") == ["torch"]
    assert violations("report", "from faceloss import compare") == ["faceloss.compare"]
    assert violations("compare", "from faceloss.report import write_report") == ["faceloss.report.write_report"]
    assert violations("train", "from faceloss.losses.core import Loss") == []


def test_modules_stay_small() -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for _, path in modules()}
    assert {name: size for name, size in sizes.items() if size > 350} == {}
