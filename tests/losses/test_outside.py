"""Losses from outside the package: files of the user's own and plug-ins, and every way in which they can be broken."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from faceloss import losses
from faceloss.errors import BadInput
from faceloss.losses import outside
from faceloss.losses.shards import holding

MINE = (Path(__file__).parents[1] / "mine.py").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    yield
    for name in outside.added():
        outside.drop(name)
    outside.plugins.cache_clear()


@pytest.fixture
def write(tmp_path):
    def write(source, name="mine.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
        return path

    return write


def value(name, **hyperparameters):
    embeddings = torch.linspace(-1, 2, 32).sin().view(4, 8)
    return losses.build(name, dim=8, classes=4, **hyperparameters)(embeddings, torch.arange(4)).loss.item()


def test_a_file_is_a_loss_like_any_other(write):
    assert losses.add(write(MINE)) == "mine"
    assert "mine" in losses.names()
    assert "mine" not in losses.own_names()
    assert losses.describe("mine").hyperparameters["m"].default == 0.1
    assert value("mine") == value("cosface", m=0.1, s=10.0)
    assert value("mine", m=0.3) == value("cosface", m=0.3, s=10.0)
    with pytest.raises(TypeError, match="did you mean 'm'"):
        losses.build("mine", dim=8, classes=4, mm=0.3)


def test_the_file_as_it_was_added_runs_until_it_is_added_again(write):
    path = write(MINE)
    losses.add(path)
    write(MINE.replace("cos - m", "cos - 5 * m"))
    for name in [name for name in sys.modules if name.startswith("faceloss_file_")]:
        del sys.modules[name]  # as in a process that has not built it yet
    before = value("mine")
    assert before == value("cosface", m=0.1, s=10.0)
    losses.add(path)
    assert value("mine") > before + 0.1
    path.unlink()
    assert value("mine") > before + 0.1


def test_a_file_may_hold_a_dataclass(write):
    plus = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass Plan:\n    m: float"
    )
    losses.add(write(MINE.replace("from faceloss.losses.core", f"{plus}\n\nfrom faceloss.losses.core", 1)))
    assert value("mine") > 0


BROKEN = {
    "not Python": (MINE.replace("def psi(", "def psi(("), r"is not a Python file: .* \(line 1"),
    "a null byte": (MINE + "\0", "is not a Python file"),
    "no build": (MINE.replace("def build", "def make"), "mine.py defines no build"),
    "a positional hyperparameter": (MINE.replace(" *, m", " m"), r"after a \*, the hyperparameters; it takes \(dim"),
    "no classes": (MINE.replace("classes: int, *", "*"), "build must take dim, classes"),
    "anything goes": (MINE.replace("*, m: float = 0.1", "**given"), "build must take dim, classes"),
    "an annotation that says nothing": (MINE.replace("m: float", "m"), "m of the loss mine must be annotated"),
    "a computed default": (MINE.replace("= 0.1", "= 1 / 10"), "m of the loss mine must be annotated"),
    "a start for nothing": (MINE.replace("Dev", "Start with: q = 1\nDev"), "hyperparameter named 'q'"),
    "a start of another type": (MINE.replace("Dev", "Start with: m = 'much'\nDev"), "m must be of type float"),
    "a start that is no number": (MINE.replace("Dev", "Start with: m = much\nDev"), "'Start with:' should read"),
}


@pytest.mark.parametrize("wrong", BROKEN)
def test_a_file_that_is_no_loss_is_refused_with_a_sentence(write, wrong):
    source, sentence = BROKEN[wrong]
    assert source != MINE
    with pytest.raises(BadInput, match=sentence):
        losses.add(write(source))
    assert "mine" not in losses.names()


RAISING = {
    "an import that is not there": (
        "from faceloss.losses.core",
        "import no_such_package\nfrom faceloss.losses.core",
        r"No module named 'no_such_package' \(mine.py, line 14\)",
    ),
    "an error in build": (
        "    return ClassHead(",
        "    dim.nothing\n    return ClassHead(",
        r"AttributeError: .*nothing' \(mine.py, line 23\)",
    ),
    "no loss returned": (
        "    return ClassHead(",
        "    return dict(",
        "must return a faceloss.losses.core.Loss; it ret",
    ),
}


@pytest.mark.parametrize("wrong", RAISING)
def test_a_file_that_raises_is_refused_with_a_sentence_when_built(write, wrong):
    old, new, sentence = RAISING[wrong]
    source = MINE.replace(old, new, 1)
    if "dict(" in new:
        source = source[: source.index("    return dict(")] + "    return dict()\n"
    losses.add(write(source))
    with pytest.raises(BadInput, match=sentence):
        losses.build("mine", dim=8, classes=4)


@pytest.mark.parametrize("name", ["my-loss.py", "_mine.py", "all.py", "2.py", "mine.txt", "größe.py"])
def test_a_name_that_cannot_be_a_loss_is_refused(write, name):
    with pytest.raises(BadInput, match="letters, digits and _"):
        losses.add(write(MINE, name))


def test_what_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "folder.py").mkdir()
    for name in ("nowhere.py", "folder.py"):
        with pytest.raises(BadInput, match=f"{name} cannot be read"):
            losses.add(tmp_path / name)


def test_the_name_of_a_built_in_loss_is_refused(write):
    with pytest.raises(BadInput, match=r"More than one loss is named 'arcface': by faceloss itself and by the file"):
        losses.add(write(MINE, "arcface.py"))
    assert value("arcface") > 0


# ---- plug-ins: a distribution on sys.path, as pip would leave it

ENTRIES = "[faceloss.losses]\nringed = rings.losses.ringed\n"


@pytest.fixture
def install(write, tmp_path, monkeypatch):
    def install(entries=ENTRIES, source=MINE, package="rings", version="1.2"):
        write(entries, f"{package}-{version}.dist-info/entry_points.txt")
        write(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n", f"{package}-{version}.dist-info/METADATA"
        )
        write("raise RuntimeError('imported')" if source is None else "", "rings/__init__.py")
        write("", "rings/losses/__init__.py")
        write(source or MINE, "rings/losses/ringed.py")
        monkeypatch.syspath_prepend(tmp_path)
        outside.plugins.cache_clear()

    yield install
    for name in [name for name in sys.modules if name.partition(".")[0] == "rings"]:
        del sys.modules[name]


def test_a_plugin_is_a_loss_like_any_other(install):
    install()
    assert "ringed" in losses.names()
    assert losses.describe("ringed").title.startswith("Mine")
    assert "rings" not in sys.modules
    assert value("ringed", m=0.3) == value("cosface", m=0.3, s=10.0)


def test_names_and_descriptions_of_plugins_and_files_need_no_torch(install, write, tmp_path):
    install()
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from faceloss import losses
losses.add({str(write(MINE))!r})
assert {{"mine", "ringed"}} <= set(losses.names())
assert losses.describe("mine").formula == losses.describe("ringed").formula
assert not {{"torch", "rings"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("entries", "source", "sentence"),
    [
        (
            "[faceloss.losses]\nringed = rings.losses.nothing\n",
            MINE,
            "of rings 1.2 cannot be used: rings.losses.nothing",
        ),
        ("[faceloss.losses]\nringed = nothing\n", MINE, "of rings 1.2 cannot be used: nothing is not"),
        (ENTRIES, "def build(", r"rings.losses.ringed of rings 1.2 is not a Python file: .*line 1\)"),
        (ENTRIES, "pass", "rings.losses.ringed of rings 1.2 defines no build"),
        ("[faceloss.losses]\nringed = rings.losses.ringed\n", None, "RuntimeError: imported"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_a_sentence_and_takes_nothing_else_away(install, entries, source, sentence):
    install(entries, source)
    with pytest.raises(BadInput, match=sentence):
        losses.build("ringed", dim=8, classes=4)
    assert value("cosface") > 0


def test_a_plugin_with_the_name_of_another_loss_is_refused_when_that_name_is_asked_for(install, write):
    install("[faceloss.losses]\narcface = rings.losses.ringed\nringed = rings.losses.ringed\n")
    with pytest.raises(BadInput, match=r"More than one loss is named 'arcface': by faceloss itself and by rings 1\.2"):
        losses.describe("arcface")
    assert value("ringed") > 0
    with pytest.raises(BadInput, match=r"by rings 1\.2 and by the file"):
        losses.add(write(MINE, "ringed.py"))
    install("[faceloss.losses]\nringed = rings.losses.ringed\n", package="others")
    with pytest.raises(BadInput, match=r"by others 1\.2 and by rings 1\.2"):
        losses.build("ringed", dim=8, classes=4)


# ---- values to start with


def test_values_to_start_with_are_said_where_no_default_is_known():
    assert losses.describe("tse").start == {"alpha": 0.2}
    assert losses.describe("x2_softmax").start == {"a": -0.25, "h": -0.4, "k": 0.97}
    for name in losses.own_names():
        about = losses.describe(name)
        assert set(about.start) == {key for key, known in about.hyperparameters.items() if known.default is None}
    with pytest.raises(TypeError, match=r"no default is known; start with tse\(alpha=0\.2\)"):
        losses.build("tse", dim=8, classes=4)


def test_the_parabola_to_start_with_is_a_margin_at_every_angle():
    theta = torch.linspace(0, torch.pi, 10001, dtype=torch.float64)
    start = losses.describe("x2_softmax").start
    margin = theta.cos() - (start["a"] * (theta - start["h"]) ** 2 + start["k"])
    assert margin.min() > 0
    upto = theta <= torch.pi * 50 / 180
    assert 0.07 - 1e-6 < margin[upto].min() < margin[upto].max() < 0.115


def test_words_behind_the_values_are_words(write):
    source = MINE.replace("m: float = 0.1", "m: float, on: Literal['a', 'b'] = 'a'")
    losses.add(write(source.replace("Dev", "Start with: m = 0.2, on = b (s = 10 suits); nobody = knows.\nDev")))
    assert losses.describe("mine").start == {"m": 0.2, "on": "b"}


def test_of_a_file_all_class_vectors_are_built_even_where_a_process_holds_a_part(write):
    """Its code may do with them what it likes; they are spread afterwards."""
    more = "    head = ClassHead(dim, classes, scale=Number(10.0), psi=psi, hyperparameters={'m': Number(m, low=0)})\n"
    more += "    head.weight.data[classes - 1] = 1.0\n    return head\n"
    losses.add(write(MINE[: MINE.rindex("    return")] + more))
    with holding(0, 2):
        assert len(losses.build("cosface", dim=4, classes=10).weight) == 5
        assert len(losses.build("mine", dim=4, classes=10).weight) == 10
        assert len(losses.build("cosface", dim=4, classes=10).weight) == 5
