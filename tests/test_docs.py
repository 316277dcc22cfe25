"""What README and docs say is run or looked up, so that it cannot go stale unnoticed."""

import re
import shlex
from pathlib import Path

import click
import pytest

import faceloss
from faceloss import losses
from faceloss.cli.main import VERBS, cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "LAB.md", ROOT / "CHANGELOG.md"]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.S)


def test_the_python_in_the_readme_runs() -> None:
    code = blocks(ROOT / "README.md", "python")
    assert len(code) == 1
    names: dict[str, object] = {}
    exec(code[0], names)
    assert bool(names["output"].loss > 0)  # type: ignore[attr-defined]
    assert names["net"].training  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_ones_that_exist(page: Path) -> None:
    for line in "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), flags=re.M), line
        if Path(words[0]).name == "faceloss":
            assert words[1] in VERBS, line
            command = cli.get_command(click.Context(cli), words[1])
            assert command is not None
            command.make_parser(click.Context(command)).parse_args(words[2:])  # raises on an unknown option


def test_the_readme_names_every_verb_and_the_losses() -> None:
    text = " ".join((ROOT / "README.md").read_text().split())
    assert all(verb in text for verb in VERBS)
    assert "BUILTIN_PARAGRAPH" not in text
    names = {"softmax": "softmax", "normface": "NormFace", "cosface": "CosFace", "arcface": "ArcFace"}
    names |= {"triplet": "triplet", "margin": "margin loss", "center": "center loss"}
    assert set(names) <= set(losses.names())
    assert all(shown in text for shown in names.values())


def test_the_version_is_said_once() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{faceloss.__version__}"' in pyproject
