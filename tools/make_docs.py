"""Write docs/losses.md and its figures from the losses themselves: what their files say, and the common ruler.

    python tools/make_docs.py            # or: make docs

A test writes them anew and fails when what is committed says anything else.
"""

import re
import sys
from pathlib import Path

from draw_curves import GRAY, ORANGE, Curve, Panel, row, sheet

from faceloss import losses
from faceloss.losses import FAMILIES, Description, courses
from faceloss.losses.ruler import ANGLES, ClassCurve, Measured, PairCurve, in_words, measure_named

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, FIGURES = DOCS / "losses.md", DOCS / "losses"
PARITY = "pytorch-metric-learning 2.9"

# With what a loss is drawn that has hyperparameters without a default. Examples, no recommendations.
EXAMPLES = {
    "center_invariant": {"gamma": 0.01},
    "tse": {"alpha": 0.2},
    "x2_softmax": {"a": -0.25, "h": -0.4, "k": 1.0},
}

TOP = """\
<!-- Written by tools/make_docs.py from the files of the losses; change those and run `make docs`. -->

# The losses

{count} losses, by family. Each section below says what the file of the loss says: formula, paper, deviations from it,
defaults, and what was checked. `faceloss losses show NAME` prints the same, with the curves in the terminal, for
hyperparameters of your own too: `faceloss losses show "arcface(m=0.3)"`.

{table}

## What was checked

"Formula" says where it is from. The papers themselves were mostly not at hand: a formula rests on code that its
authors released, on public code of others, or on a public summary. "Loops" means that value and gradient agree, in
float64, with the formula written as plain loops in the test of the loss. The last column means that they agree with
that library too, once what the two do differently is turned off; `tests/losses/test_parity_pml.py` says what that is.

{checked}

## The common ruler

Raw values of two losses do not compare. What does is what a loss does to one sample at each angle. All of it is
computed by `faceloss.losses.ruler` from the value and the derivative of the loss itself.

**Losses over classes.** The sample is at the angle on the horizontal axis to its own class, and the wrong classes stay
where they are: {classes:,} classes, one of the wrong ones at cosine {lookalike:g}, all others at right angles. With L
the loss, c the target cosine, s the scale and R the log-sum-exp of the wrong classes' logits in plain softmax:

- **target logit / s** is (R - log(exp(L) - 1)) / s, the target logit with which plain softmax would have this loss. For
  a margin on the target it is the paper's function psi. Dashed: cos, which is plain softmax.
- **nats taken** is s c - R + log(exp(L) - 1), what plain softmax would have to lose from its target logit. CosFace
  takes the same s m at every angle, ArcFace most in the middle. Rules that raise wrong classes count, too, and so do
  the wrong classes' own questions in the family "binary".
- **gradient weight** is |dL/dc| / s, how hard the loss pulls at the target. Dashed: plain softmax at the same scale.
  Without a margin it falls to 0 as soon as the own class wins; a margin keeps it up at smaller angles.

**Losses over pairs and triplets.** Two faces are at the angle on the horizontal axis. Shown are the **loss** of the two
as a genuine and as an impostor pair, and the **force**, its derivative by the angle: above 0 it draws the two together,
below 0 it pushes them apart. In a triplet the other face is held, at {genuine:g} degrees if it is genuine and at
{impostor:g} if it is an impostor.

![Target logit of every loss over classes against the angle, beside the cosine](losses/overview.svg)

All target logits, from 0 to 180 degrees, between {low:g} and 1 (lines at 0 and at 90 degrees; dashed: cos). A curve on
the cosine has no margin; of the family "centers" only the softmax is drawn.
"""
LOWEST = -2.0  # the bottom of the overview


def by_family() -> list[Description]:
    """All losses in the order of the page."""
    facts = [losses.describe(name) for name in losses.names()]
    strange = sorted({about.family for about in facts} - set(FAMILIES))
    if strange:
        raise SystemExit(f"No family: {', '.join(strange)}; a loss of ours is one of {', '.join(FAMILIES)}.")
    return sorted(facts, key=lambda about: (FAMILIES.index(about.family), about.name))


def measured(about: Description) -> Measured:
    """The curves of a loss at its defaults, or at the example where it has none."""
    given = EXAMPLES.get(about.name, {})
    missing = [key for key, known in about.hyperparameters.items() if known.default is None and key not in given]
    if missing:
        raise SystemExit(f"{about.name} has no default for {', '.join(missing)}; name an example in EXAMPLES.")
    return measure_named(about.name, **given)


def page(facts: list[Description], curves: dict[str, Measured]) -> str:
    """The text of docs/losses.md."""
    from faceloss.losses import ruler

    top = TOP.format(
        count=len(facts),
        table=_table(facts),
        checked=_checked(facts),
        parity=PARITY,
        classes=ruler.CLASSES,
        lookalike=ruler.LOOKALIKE,
        genuine=ruler.GENUINE,
        impostor=ruler.IMPOSTOR,
        low=LOWEST,
    )
    parts = [top]
    family = ""
    for about in facts:
        if about.family != family:
            family = about.family
            parts.append(f"## Family: {family}\n")
        parts.append(_section(about, curves[about.name]))
    return "\n".join(parts)


def figures(curves: dict[str, Measured]) -> dict[str, str]:
    """File name -> SVG, of every loss that has a curve, and the overview."""
    drawn = {f"{name}.svg": figure for name, found in curves.items() if (figure := _figure(name, found))}
    cells = [
        (name, Panel(name, [Curve(found.classes.cos, GRAY, "4 3"), Curve(found.classes.target)], (LOWEST, 1.0)))
        for name, found in curves.items()
        if found.classes is not None and found.pairs is None
    ]
    label = "Target logit of every loss over classes against the angle, beside the cosine"
    return drawn | {"overview.svg": sheet(cells, ANGLES, columns=6, label=label)}


def _figure(name: str, found: Measured) -> str:
    if found.pairs is not None:
        return _pair_figure(name, found.pairs)
    return "" if found.classes is None else _class_figure(name, found.classes)


def _class_figure(name: str, curve: ClassCurve) -> str:
    mine, plain = Curve(curve.nats), Curve([0.0] * len(curve.nats), GRAY, "4 3")
    panels = [
        Panel("target logit / s", [plain._replace(values=curve.cos), mine._replace(values=curve.target)]),
        Panel("nats taken", [plain, mine]),
        Panel("gradient weight", [plain._replace(values=curve.plain), mine._replace(values=curve.weight)]),
    ]
    label = f"{name}: target logit, nats taken from the target and gradient weight against the angle"
    return row(panels, ANGLES, label=label, key=[(name, mine), ("plain softmax, same scale", plain)])


def _pair_figure(name: str, curve: PairCurve) -> str:
    genuine, impostor = Curve(curve.genuine), Curve(curve.impostor, ORANGE, "7 3")
    forces = [impostor._replace(values=curve.impostor_force), genuine._replace(values=curve.genuine_force)]
    panels = [Panel("loss", [impostor, genuine]), Panel("force, per radian", forces)]
    label = f"{name}: loss and force of a genuine and of an impostor pair against their angle"
    return row(panels, ANGLES, label=label, key=[("genuine", genuine), ("impostor", impostor)])


def _table(facts: list[Description]) -> str:
    lines = ["| loss | family | year | paper | batches | hyperparameters |", "| --- | --- | --- | --- | --- | --- |"]
    for about in facts:
        first = about.paper.split("; ")[0]  # the paper of the loss; others that it draws on come after
        year, title = re.search(r"\b(?:19|20)\d\d\b", first), re.search(r'"(.+?)"', first)
        values = [
            name if known.default is None else f"{name}={known.default}"
            for name, known in about.hyperparameters.items()
        ]
        cells = [
            f"[{about.name}](#{about.name})",
            about.family,
            year.group() if year else "–",
            _prose(title.group(1) if title else first),
            about.batches,
            ", ".join(f"`{value}`" for value in values) or "none",
        ]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n\nA hyperparameter without a value has no known default and must be given."


def _checked(facts: list[Description]) -> str:
    lines = [f"| loss | formula | loops | {PARITY} |", "| --- | --- | --- | --- |"]
    for about in facts:
        formula, *rest = about.checked.rstrip(".").split("; ")
        loops = [claim for claim in rest if "against loops" in claim]
        parity = [claim for claim in rest if PARITY in claim]
        strange = [claim for claim in rest if claim not in loops + parity]
        if strange:
            raise SystemExit(f"'Checked:' of {about.name} claims '{strange[0]}', for which the table has no column.")
        columns = [_claim(loops, " against loops in its test"), _claim(parity, f" against {PARITY}")]
        lines.append(
            f"| [{about.name}](#{about.name}) | {_prose(formula.removeprefix('formula '))} | {' | '.join(columns)} |"
        )
    return "\n".join(lines)


def _claim(claims: list[str], known: str) -> str:
    """ "value and gradient", or what else was compared; a dash where nothing was."""
    return "; ".join(claim.replace(known, "") for claim in claims) or "–"


def _section(about: Description, found: Measured) -> str:
    rows = [
        f"`{name}` = {'no default' if known.default is None else f'`{known.default}`'}"
        + (f" ({', '.join(f'`{choice}`' for choice in known.choices)})" if known.choices else "")
        for name, known in about.hyperparameters.items()
    ]
    parts = [f"### {about.name}", _prose(about.title), f"```text\n{about.formula}\n```", *_paragraphs(about.summary)]
    facts = {
        "Paper": _prose(about.paper),
        "Deviations": _prose(about.deviations),
        "Checked": _prose(about.checked),
        "Batches": about.batches,
        "Course": _course(about),
        "Defaults": ", ".join(rows) or "no hyperparameters",
    }
    parts.append("\n".join(f"- **{name}:** {text}" for name, text in facts.items() if text))
    if found.classes or found.pairs:
        parts.append(f"![Curves of {about.name}](losses/{about.name}.svg)")
    said = [f"Scale s = {found.classes.scale:.4g}."] if found.classes and not found.pairs else []
    if not found.classes and not found.pairs:
        said += in_words(found)
    if found.left_out:
        said.append(f"Not in the curves, as no function of this angle: the term {', '.join(found.left_out)}.")
    if found.classes and found.pairs:
        said.append("Drawn are the pairs; the other term is a plain softmax.")
    if about.name in EXAMPLES:
        values = ", ".join(f"{name} = {value}" for name, value in EXAMPLES[about.name].items())
        said.append(f"Drawn with {values}, as an example only: no default is known.")
    return "\n\n".join([*parts, *([" ".join(said)] if said else [])]) + "\n"


def _course(about: Description) -> str:
    """What moves while a loss trains, in words and, at its defaults, in numbers; "" where nothing does."""
    values = courses.in_words(losses.course(about.name, **about.start))
    return f"{_prose(about.course)} At the defaults {values}." if values else ""


def _paragraphs(text: str) -> list[str]:
    """Prose as prose, tables of the docstring as they are."""
    blocks = [block for block in text.split("\n\n") if block.strip()]
    return [f"```text\n{block}\n```" if block.startswith("    ") else _prose(block) for block in blocks]


def _prose(text: str) -> str:
    """Text of a docstring as Markdown: ``name`` is code, what Markdown would read as a sign is not."""
    pieces = re.split(r"(?::\w+:)?(``.+?``|`.+?`)", text)
    for index, piece in enumerate(pieces):
        if index % 2:
            pieces[index] = f"`{piece.strip('`')}`"
        else:
            pieces[index] = re.sub(r"([\\*]|<(?=[\w/!])|(?<!\w)_|_(?!\w)|\[(?=[^\]]*\]\())", r"\\\1", piece)
    return "".join(pieces)


def main() -> None:
    """Write the page and the figures, and take away figures of losses that are gone."""
    facts = by_family()
    curves = {}
    for done, about in enumerate(facts, 1):
        curves[about.name] = measured(about)
        print(f"{done}/{len(facts)} {about.name}", file=sys.stderr)
    drawn = figures(curves)
    FIGURES.mkdir(exist_ok=True)
    for path in FIGURES.glob("*.svg"):
        if path.name not in drawn:
            path.unlink()
    for name, text in drawn.items():
        (FIGURES / name).write_text(text, encoding="utf-8")
    PAGE.write_text(page(facts, curves), encoding="utf-8")


if __name__ == "__main__":
    main()
