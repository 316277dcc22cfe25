"""The embedding map: a few identities of a test in two dimensions, a panel a loss; a picture, and no evidence."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faceloss.report import answer
from faceloss.report.charts import shown
from faceloss.report.kinds_of_training import EmbeddingMap
from faceloss.report.markup import Child, Safe, tag
from faceloss.report.records import Records
from faceloss.report.svg import COLORS, GRID, INK, MUTED, PAPER, inline
from faceloss.report.words import listed, number, plural, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.path import Path

Maps = dict[str, EmbeddingMap]  # by label

# Inches: the figure, between panels, above and below one for its words, and a mark's radius.
WIDTH, GAP, ABOVE, BELOW, MARK = 9.0, 0.2, 0.36, 0.2, 0.04
COLUMNS, MANY = 4, 6  # panels side by side: of the losses in color, and of all others
HUES = [*(COLORS[f"c{i}"][0] for i in range(1, 8)), INK]


def section(records: Records) -> list[Child]:
    """The warning, the maps of the losses in color, and folded away those of the others; empty without records."""
    maps = first_of_each(records)
    if not maps:
        return []
    held = [number(100 * pick(sum(m.share) for m in maps.values()), 0) for pick in (min, max)]
    warning = tag(
        "p", tag("strong", "A map is no evidence."), f" These two dimensions hold {' to '.join(dict.fromkeys(held))} % "
        "of the variance of a few embeddings. What overlaps here may be far apart in the others, and a handful of "
        "people says nothing about error rates among thousands: losses are compared by the numbers of the tables.",
    )  # fmt: skip
    half = _half(maps)
    colored = {label: m for label, m in maps.items() if label in shown(records)}
    others = {label: m for label, m in maps.items() if label not in colored}
    picture = _picture(colored, COLUMNS, half, "map")
    parts: list[Child] = [warning, tag("figure", picture, tag("figcaption", *_caption(maps, half)))]
    if others:
        summary = f"The maps of {plural(len(others), 'other loss', 'other losses')}"
        parts.append(tag("details", tag("summary", summary), tag("figure", _picture(others, MANY, half, "map-others"))))
    absent = [x for x in records.labels if x not in maps and any(label == x for label, _ in records.runs)]
    if absent:
        have = "has no map: no run of it" if len(absent) == 1 else "have no map: no run of theirs"
        parts.append(tag("p", f"{listed(absent)} {have} ended with a usable network.", class_="note"))
    return parts


def first_of_each(records: Records) -> Maps:
    """The map of each label's first seed that has one, from the best label to the worst.

    Of the test that ranks where it has maps, else of the first test that has.
    """
    key, tests = answer.primary(records), [m.test for m in records.maps]
    test = key.test if key is not None and key.test in tests else next(iter(tests), None)
    found: Maps = {}
    for drawn in sorted((m for m in records.maps if m.test == test), key=lambda m: m.seed):
        found.setdefault(drawn.label, drawn)
    return {label: found[label] for label in answer.ranked(records, key) if label in found}


def _half(maps: Maps) -> float:
    """Half the side of every panel, in radii of the sphere, so that all share one scale and nothing is cut off."""
    widest = max(max(along) - min(along) for m in maps.values() for along in (m.x, m.y))
    return max(float(np.ceil(5.5 * widest)) / 10, 0.1)  # a tenth wider, in steps of 0.1


def _caption(maps: Maps, half: float) -> list[Child]:
    one = next(iter(maps.values()))
    people = plural(len(one.counts), "identity", "identities")
    among = "" if one.of is None else f" from the {one.of:,} with {one.fewest} images or more"
    said = (
        f" {plural(sum(one.counts), 'image')} of {people}, drawn{among} by a key of the test's contents, the same for "
        "every loss; of each loss its first seed that ended with a usable network. Embeddings at length 1, on the two "
        "directions in which these of the loss vary most (principal components); in every panel these are others. All "
        f"panels have one scale: a side is {2 * half:.1f} long, and two embeddings at right angles are 1.4 apart."
    )
    return [tag("b", f"A few people of {one.test}."), said]


def _picture(maps: Maps, columns: int, half: float, name: str) -> Safe:
    side = (WIDTH - GAP * (columns - 1)) / columns
    height = -(-len(maps) // columns) * (side + ABOVE + BELOW)
    corners = [  # lower left, of each panel
        np.array([i % columns * (side + GAP), -(i // columns * (side + ABOVE + BELOW) + ABOVE + side)])
        for i in range(len(maps))
    ]
    one = next(iter(maps.values()))
    people = plural(len(one.counts), "identity", "identities")
    alt = f"Maps of the embeddings of {people} of {one.test}: {listed(list(maps))}"

    def draw(figure: "Figure") -> None:
        from matplotlib.lines import Line2D
        from matplotlib.patches import PathPatch

        # One pair of axes in inches for all panels: a path an identity, however many losses there are.
        axes = figure.subplots()
        axes.set_axis_off()
        axes.set(xlim=(-0.02, WIDTH + 0.02), ylim=(-height, 0), aspect="equal", anchor="NW")
        square = side * np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
        axes.add_patch(PathPatch(_path(square, np.array(corners)), facecolor="none", edgecolor=GRID, linewidth=0.8))
        large = columns == COLUMNS
        for (label, m), (left, low) in zip(maps.items(), corners, strict=True):
            axes.text(left, low + side + 0.05, short(label, 28 if large else 21), va="bottom", fontweight="bold",
                      fontsize=8.5 if large else 7)  # fmt: skip
            said = f"{number(100 * sum(m.share), 0)} % of the variance"
            axes.text(left, low - 0.05, said, va="top", color=MUTED, fontsize=7.5 if large else 6.5)
        handles = []
        for i, identity in enumerate(one.identities):
            color, shape = HUES[i % len(HUES)], SHAPES[i % len(SHAPES)]
            places = [c + side * (0.5 + _of(m, i) / (2 * half)) for m, c in zip(maps.values(), corners, strict=True)]
            marks = _path(MARK * shape, np.concatenate(places))
            axes.add_patch(PathPatch(marks, facecolor=color, edgecolor=PAPER, linewidth=0.3, zorder=3))
            known: dict[str, Any] = {"marker": _path(shape, np.zeros((1, 2))), "label": short(identity, 26)}
            handles.append(Line2D([], [], linestyle="", color=color, markersize=7, markeredgewidth=0, **known))
        figure.legend(handles=handles, loc="outside lower left", ncols=4, handlelength=1)

    return inline(draw, name=name, size=(WIDTH, height + 0.22 * -(-len(one.counts) // 4) + 0.1), alt=alt)


def _of(m: EmbeddingMap, identity: int) -> NDArray[np.float64]:
    """The places [N,2] of the images of an identity, as seen from the middle between the outermost ones of all."""
    places, start = np.array([m.x, m.y]).T, sum(m.counts[:identity])
    middle = (places.min(axis=0) + places.max(axis=0)) / 2
    return np.asarray(places[start : start + m.counts[identity]] - middle)


def _star(points: int, turn: float, radius: float, inner: float = 1.0) -> NDArray[np.float64]:
    """Corners [V,2] of a star around 0, or without ``inner`` of a polygon; ``turn`` is the angle of the first."""
    corners = points * (1 if inner == 1 else 2)
    angle = np.radians(turn) + 2 * np.pi * np.arange(corners) / corners
    length = radius * np.where(np.arange(corners) % 2, inner, 1.0)
    return np.stack([length * np.cos(angle), length * np.sin(angle)], axis=1)


# Of about the same area: disk, square, diamond, triangles, two crosses, star. Straight lines only, which are short.
SHAPES = [
    _star(8, 22.5, 1.0), _star(4, 45, 1.2), _star(4, 0, 1.25), _star(3, 90, 1.4), _star(3, 270, 1.4),
    _star(4, 0, 1.6, 0.35), _star(4, 45, 1.6, 0.35), _star(5, 90, 1.5, 0.45),
]  # fmt: skip


def _path(shape: NDArray[np.float64], places: NDArray[np.float64]) -> "Path":
    """The closed ``shape`` [V,2] at each of ``places`` [N,2], as one path."""
    from matplotlib.path import Path

    closed = np.concatenate([shape, shape[:1]])
    codes = np.full(len(closed), Path.LINETO, dtype=Path.code_type)
    codes[0], codes[-1] = Path.MOVETO, Path.CLOSEPOLY
    return Path((places[:, None] + closed).reshape(-1, 2), np.tile(codes, len(places)))
