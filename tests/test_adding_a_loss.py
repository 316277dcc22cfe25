"""The page on adding a loss is true: its file is a loss that conforms, and its test passes and can fail."""

import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from faceloss import checks, losses
from faceloss.cli.compare import compare
from faceloss.compare.outside import add_files
from faceloss.compare.study import Study, competitors, split_specifications
from faceloss.losses import outside

HERE = Path(__file__).parent
PAGE = (HERE.parent / "docs" / "adding-a-loss.md").read_text(encoding="utf-8")
FILE, TEST = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The page's loss, in a folder laid over the package."""
    (tmp_path / "growing_margin.py").write_text(FILE, encoding="utf-8")
    monkeypatch.setattr(losses, "__path__", [*losses.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    yield "growing_margin"
    sys.modules.pop("faceloss.losses.growing_margin", None)


def test_the_file_is_all_it_takes(example):
    assert example in losses.names()
    about = losses.describe(example)
    assert about.hyperparameters["m"].default == 0.5
    assert "made up" in about.paper
    assert losses.build(example, dim=8, classes=4, m=1.7).hyperparameters()["m"].item() == 1.7


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_it_conforms(example, check):
    cases = list(checks.cases(example))
    assert [case.straight_through for case in cases] == [False, True]
    for case in cases:
        check(case)


def test_it_is_checked_and_listed_from_a_file_of_ones_own(faceloss, tmp_path):
    (tmp_path / "growing_margin.py").write_text(FILE, encoding="utf-8")
    done = faceloss("losses", "check", "growing_margin.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"growing_margin: all {2 * len(checks.CHECKS)} checks hold, in 2 settings." in done.stdout


def test_the_comparisons_of_the_page_can_be_planned(tmp_path, monkeypatch):
    """Each compare command of the page, up to the training."""
    (tmp_path / "growing_margin.py").write_text(FILE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    labels = []
    for line in re.findall(r"^faceloss (compare .*)$", PAGE, flags=re.MULTILINE):
        given = compare.make_context("compare", shlex.split(line)[1:]).params
        rows = add_files(given["loss_files"], split_specifications(given["loss_text"]))
        labels.append([row.label for row in competitors(Study(data="builtin", losses=rows), 5)])
    outside.drop("growing_margin")
    assert labels == [
        ["softmax", "cosface", "growing_margin"],
        ["softmax", "growing_margin (m=0.3)", "growing_margin (m=0.9)"],
    ]


def test_the_entry_point_of_the_page_names_the_group():
    (settings,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
    assert list(tomllib.loads(settings)["project"]["entry-points"]) == [outside.GROUP]


def run_the_test(tmp_path, source):
    """The page's test beside the shared fixtures, in a process of its own."""
    (tmp_path / "growing_margin.py").write_text(source, encoding="utf-8")
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_growing_margin.py").write_text(TEST, encoding="utf-8")
    overlay = f"\nfrom faceloss import losses\nlosses.__path__.append({str(tmp_path)!r})\n"
    fixtures = (HERE / "losses" / "conftest.py").read_text(encoding="utf-8")
    (folder / "conftest.py").write_text(fixtures + overlay, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "."]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120).stdout


def test_its_test_passes(tmp_path):
    assert "2 passed" in run_the_test(tmp_path, FILE)


def test_its_test_can_fail(tmp_path):
    assert "2 failed" in run_the_test(tmp_path, FILE.replace("m * (1 - cos)", "m * (1 + cos)"))


def test_the_example_is_not_shipped():
    assert "growing_margin" not in losses.names()
