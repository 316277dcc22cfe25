"""Figures of matplotlib as inline SVG: no namespace, no font, no host; colors are variables of the page.

Drawn with the object interface (no pyplot, no display, no global figure), imported only when a figure is asked for.
Fixed salt and no date: the same records give the same bytes. Whatever a person's matplotlibrc says is set aside.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO, StringIO
from typing import TYPE_CHECKING, Any, NamedTuple

from faceloss.report.markup import Safe, tag

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# name: (light, dark). Hues of Okabe and Ito (2008), told apart by color-blind eyes; darker on white, lighter on black.
COLORS = {
    "paper": ("#fdfdfc", "#16191d"),
    "ink": ("#1c2126", "#e8eaed"),
    "muted": ("#5f6872", "#a3abb5"),
    "grid": ("#e2e5e8", "#363c44"),
    "rest": ("#b4bac1", "#5a626c"),
    "c1": ("#0072b2", "#5cb3ec"),
    "c2": ("#d55e00", "#f39152"),
    "c3": ("#00876b", "#3fcfa4"),
    "c4": ("#a8458c", "#e394cf"),
    "c5": ("#9a7400", "#e2bb4a"),
    "c6": ("#3d9ad1", "#a5dcff"),
    "c7": ("#7d5a3c", "#c9a183"),
}
PAPER, INK, MUTED, GRID, REST = (COLORS[name][0] for name in ("paper", "ink", "muted", "grid", "rest"))


class Style(NamedTuple):
    """How a label is drawn in every figure: color, line and marker, so that no two differ by color alone."""

    color: str
    dash: Any  # as matplotlib wants it
    marker: str
    width: float
    order: int


_DASHES: list[Any] = [
    "-", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (6, 1.6, 1.2, 1.6)), (0, (9, 2)),
    (0, (3, 1.2, 1, 1.2, 1, 1.2)), (0, (2.6, 2.6)),
]  # fmt: skip
_MARKERS = "osD^vPX"


def styles(shown: list[str], baseline: str, labels: list[str]) -> dict[str, Style]:
    """One style for each label: the baseline in ink, those in ``shown`` in color, the rest thin and grey."""
    colored = [label for label in labels if label in shown and label != baseline]
    found = {label: Style(REST, "-", "o", 0.8, 1) for label in labels}
    found[baseline] = Style(INK, "-", "o", 2.2, 3)
    for i, label in enumerate(colored):
        j = i % 7
        found[label] = Style(COLORS[f"c{j + 1}"][0], _DASHES[j], _MARKERS[j], 1.7, 4)
    return found


SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a label may hold a dollar sign
    "font.family": "DejaVu Sans",  # the one font that comes with matplotlib
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.formatter.use_locale": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
}


def small_multiples(figure: "Figure", count: int, columns: int, *, sharex: bool = False, sharey: bool = False) -> Any:
    """An array of axes [lines,columns] for ``count`` panels, ``columns`` a line; what is left of the last is empty."""
    grid = figure.subplots(-(-count // columns), columns, squeeze=False, sharex=sharex, sharey=sharey)
    for axes in grid.flat[count:]:
        axes.set_axis_off()
    return grid


@contextmanager
def _settings(name: str) -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        # A name may use letters that the font lacks; the page shows them in the reader's own font.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing")
        warnings.filterwarnings("ignore", message=r"Matplotlib currently does not support")
        # A figure that is too crowded is drawn crowded; every number is in the tables as well.
        warnings.filterwarnings("ignore", message=r"constrained_layout not applied")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS | {"svg.hashsalt": f"faceloss {name}"})  # type: ignore[arg-type]
        yield


def inline(draw: Callable[["Figure"], None], *, name: str, size: tuple[float, float], alt: str) -> Safe:
    """Draw on an empty figure of ``size`` inches; returns ``<svg>`` for the page. ``alt`` is read aloud."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with _settings(name):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        out = StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _for_page(out.getvalue(), name, alt)


def png(draw: Callable[["Figure"], None], *, size: tuple[float, float], dpi: int) -> bytes:
    """Draw on an empty white figure of ``size`` inches; returns the bytes of a PNG without date or version."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _settings("png"):
        figure = Figure(figsize=size, dpi=dpi, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        draw(figure)
        out = BytesIO()
        figure.savefig(out, format="png", dpi=dpi, metadata={"Software": None})
    return out.getvalue()


def _for_page(source: str, name: str, alt: str) -> Safe:
    body = source[source.index("<svg") :]
    view = re.search(r'viewBox="([^"]+)"', body)
    inner = body[body.index(">") + 1 : body.rindex("</svg>")]
    inner = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", inner, flags=re.S)
    inner = re.sub(r'<style type="text/css">.*?</style>', "", inner, flags=re.S).replace("xlink:href", "href")
    # Ids are shared by the whole page: those that nothing refers to go, the others get the figure's name.
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', inner))
    inner = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", inner)
    inner = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", inner)
    for variable, (light, _) in COLORS.items():
        inner = re.sub(light, f"var(--{variable})", inner, flags=re.I)
    # Only the size and weight of a text are the figure's; the letters are the page's own.
    inner = re.sub(r"font: (?:(bold|\d+) )?([\d.]+)px [^;\"]*", r"font-weight: \1; font-size: \2px", inner)
    inner = re.sub(r"font-weight: ; |font-family: [^;\"]*;? ?", "", inner)
    inner = re.sub(r' d="([^"]*)"', lambda m: f' d="{compact(m[1])}"', inner)
    inner = re.sub(r' (?:x|y)="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), inner)
    inner = re.sub(r'<g/>| transform="rotate\(-?0 [^"]*"', "", inner)
    inner = re.sub(r"\s*\n\s*", "\n", inner)
    width = float(view[1].split()[2]) if view else 720.0
    return tag(
        "div",
        Safe(
            f'<svg viewBox="{view[1] if view else "0 0 720 400"}" style="max-width: {width * 1.45:.0f}px" role="img" '
            f"{_label(alt)}>{inner}</svg>"
        ),
        class_="plot",
        tabindex=0,
        role="group",
        aria_label=alt,
    )


_COMMAND = re.compile(r"([MLQCz])([^MLQCz]*)")
_ZERO = re.compile(r"(?<!\d)0\.")


def compact(path: str) -> str:
    """A path of M, L, Q, C and z in a third of the letters: relative, in tenths of a point, which no screen shows.

    What is rounded are the places, not the steps, so that nothing drifts.

    >>> compact("M 10.02 20 L 10.02 20 L 13.96 20 L 13.96 18.5 z")
    'M10 20h0h4v-1.5z'
    """
    out: list[str] = []
    at = start = (0, 0)
    for command, rest in _COMMAND.findall(path):
        numbers = [round(float(x) * 10) for x in rest.split()]
        places = list(zip(numbers[::2], numbers[1::2], strict=True))
        steps = [(x - at[0], y - at[1]) for x, y in places]
        if command == "z":
            out.append("z")
            at = start
            continue
        if not out:
            out.append("M" + _numbers(places))
        elif command == "L" and steps[0][1] == 0:
            out.append("h" + _numbers([(steps[0][0],)]))
        elif command == "L" and steps[0][0] == 0:
            out.append("v" + _numbers([(steps[0][1],)]))
        else:
            out.append(command.lower() + _numbers(steps))
        at = places[-1]
        start = at if command == "M" else start
    return "".join(out)


def _numbers(tenths: Sequence[tuple[int, ...]]) -> str:
    shown = " ".join(f"{n / 10:.1f}".removesuffix(".0") for group in tenths for n in group)
    return _ZERO.sub(".", shown).replace(" -", "-")


def _label(alt: str) -> str:
    from html import escape

    return f'aria-label="{escape(alt)}"'
