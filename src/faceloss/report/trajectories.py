"""Figures of searches: where candidates were drawn, which went on, the functions found, and the rewards."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from faceloss.report import searched
from faceloss.report.kinds_of_training import Search
from faceloss.report.records import Records
from faceloss.report.searched import MOST_COORDINATES, NATS, Coordinate, pieces, ranks
from faceloss.report.svg import COLORS, INK, MUTED, PAPER, REST, small_multiples
from faceloss.report.words import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Drawing = tuple[Callable[["Figure"], None], tuple[float, float]]  # and its size in inches
Dot = tuple[float, float]

MEAN, CHOSEN = COLORS["c1"][0], COLORS["c2"][0]
MOST_SEEDS = 5  # drawn beside each other
MOST_EPOCHS = 30  # drawn of a course; a longer one is drawn at every second, third, ... epoch
MOST_DOTS = 1600  # candidates in a figure
SHADES = (0.85, 0.55, 0.35, 0.2)  # opacity of the best, second, third and last quarter
UNTRIED = 0.6


def spaced(epochs: Sequence[Search], most: int = MOST_EPOCHS) -> list[Search]:
    """Every k-th epoch, k as small as ``most`` allows, from the first on."""
    return list(epochs[:: max(1, -(-len(epochs) // most))])


def scale(records: Records, label: str, seed: int) -> float | None:
    """The scale s of a run, where it has one."""
    run = records.runs.get((label, seed))
    s = run.hyperparameters.get("s") if run is not None else None
    return float(s) if isinstance(s, int | float) and s > 0 else None


def _array(values: Sequence[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _dots(axes: "Axes", dots: Sequence[Dot], size: float, color: str, order: float, alpha: float = 1.0) -> None:
    """Round dots as one path of lines without length: a third of the bytes of as many markers."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    known = [dot for dot in dots if np.isfinite(dot).all()]
    if not known:
        return
    path = Path(np.repeat(known, 2, axis=0), [Path.MOVETO, Path.LINETO] * len(known))
    path.should_simplify = False
    patch = PathPatch(path, fill=False, edgecolor=color, linewidth=size, capstyle="round", alpha=alpha, zorder=order)
    patch.set_snap(False)
    axes.add_patch(patch)


def _candidates(axes: "Axes", epochs: Sequence[Search], x: Coordinate, width: float) -> None:
    """Every candidate, from the worst on the left of its epoch to the best on the right, which is the strongest."""
    shaded: dict[float | None, list[Dot]] = {}
    for entry in epochs:
        places = ranks(entry.candidates, entry.chosen)
        tried = [place for place in places if place is not None]
        n, behind = len(places), len(tried)
        for candidate, place in zip(entry.candidates, places, strict=True):
            shade = None if place is None else SHADES[min(place * len(SHADES) // max(len(tried), 1), 3)]
            if place is None:
                place, behind = behind, behind + 1
            value = x.of(candidate.values)
            at = entry.epoch + width * ((n - place - 0.5) / n - 0.5)
            shaded.setdefault(shade, []).append((at, np.nan if value is None else value))
    for shade, dots in shaded.items():
        _dots(
            axes,
            dots,
            2.2 if shade is None else 4.0,
            MUTED if shade is None else INK,
            3,
            0.55 if shade is None else shade,
        )


def _course(axes: "Axes", epochs: Sequence[Search], x: Coordinate, width: float, step: int) -> None:
    """The mean with its sigma where something was drawn, and what went on. An epoch is ``step`` wide."""
    differ = any(len({x.of(c.values) for c in entry.candidates}) > 1 for entry in epochs)
    drawn = [entry.policy if len(entry.candidates) > 1 else None for entry in epochs]
    mean, low, high = (
        np.repeat(_array([None if policy is None else x.of(getattr(policy, name)) for policy in drawn]), 2)
        for name in ("mean", "low", "high")
    )
    at = np.ravel([(entry.epoch - step / 2, entry.epoch + step / 2) for entry in epochs])
    if differ:  # a bound cut off at a limit may lie on the other side of the mean
        three = np.stack([mean, low, high])
        axes.fill_between(at, np.fmin.reduce(three), np.fmax.reduce(three), color=MEAN, alpha=0.16, linewidth=0)
    axes.plot(at, mean, color=MEAN, linewidth=1.8 if width else 1.3, zorder=4)
    went = [x.of(entry.candidates[entry.chosen].values) for entry in epochs]
    places = [
        (entry.epoch + width * (0.5 - 0.5 / len(entry.candidates)), np.nan if value is None else value)
        for entry, value in zip(epochs, went, strict=True)
    ]
    axes.plot(*zip(*places, strict=True), color=CHOSEN, linewidth=0.9, linestyle=(0, (4, 1.4)), zorder=5)
    if width:
        _dots(axes, places, 6.0, PAPER, 6)
    _dots(axes, places, 4.4 if width else 2.4, CHOSEN, 7)


def trajectory(records: Records, label: str) -> Drawing:
    """One row of panels a number that was searched, one column a seed; the first seed is large, with all candidates."""
    from matplotlib.ticker import MaxNLocator

    seeds = dict(list(searched.courses(records, label).items())[:MOST_SEEDS])
    numbers = searched.coordinates([entry for epochs in seeds.values() for entry in epochs])[:MOST_COORDINATES]
    first = next(iter(seeds))

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(
            len(numbers), len(seeds), squeeze=False, sharex="col", sharey="row",
            width_ratios=[1.0 if len(seeds) == 1 else 2.3, *[1.0] * (len(seeds) - 1)],
        )  # fmt: skip
        for line, x in zip(panels, numbers, strict=True):
            for axes, (seed, epochs) in zip(line, seeds.items(), strict=True):
                some = spaced(epochs)
                step = some[1].epoch - some[0].epoch if len(some) > 1 else 1
                width = 0.7 * step if seed == first else 0.0
                if seed == first:
                    each = len(numbers) * max(len(entry.candidates) for entry in some)
                    _candidates(axes, spaced(some, max(1, MOST_DOTS // each)), x, width)
                _course(axes, some, x, width, step)
                axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8 if seed == first else 3))
                axes.margins(y=0.08)
                axes.autoscale_view()
                if axes in panels[0]:
                    axes.set_title(f"Seed {seed}" + (", with all candidates" if seed == first else ""))
                if axes in panels[-1]:
                    axes.set_xlabel("Epoch")
            line[0].set_ylabel(short(x.name))
            line[0].yaxis.set_major_locator(MaxNLocator(nbins=5))
            if x is NATS:
                _margin(line[-1], scale(records, label, first))
        _key(figure, some_untried=any(not c.rewards for e in seeds[first] for c in e.candidates))

    return draw, (9.0, (2.9 if len(numbers) == 1 else 1.55 * len(numbers) + 0.5) + 0.35)


def _margin(axes: "Axes", s: float | None) -> None:
    """A second axis: the margin of CosFace that takes u nats at scale ``s``."""
    if s is not None:
        both: Any = (lambda u: u / s, lambda m: m * s)
        right = axes.secondary_yaxis("right", functions=both)
        right.set_ylabel("CosFace margin u / s")
        right.spines["right"].set_visible(False)


def _key(figure: "Figure", *, some_untried: bool) -> None:
    from matplotlib.lines import Line2D

    def dot(color: str, alpha: float, size: float, label: str) -> Line2D:
        return Line2D([], [], color=color, alpha=alpha, marker="o", markersize=size, linestyle="", label=label)

    handles = [
        Line2D([], [], color=MEAN, linewidth=1.8, label="mean, band of one sigma"),
        Line2D([], [], color=CHOSEN, linewidth=0.9, linestyle=(0, (4, 1.4)), marker="o", markersize=4, label="went on"),
        dot(INK, SHADES[0], 4, "high reward"),
        dot(INK, SHADES[-1], 4, "low reward"),
    ]
    if some_untried:
        handles.append(dot(MUTED, UNTRIED, 2.4, "drawn, not tried"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=2.4)


def functions(records: Records, label: str) -> Drawing:
    """The functions t(c) and tau(p) of AM-LFS at the first, middle and last epoch, as they are; of all seeds."""
    seeds = dict(list(searched.courses(records, label).items())[:MOST_SEEDS])
    length = min(len(epochs) for epochs in seeds.values())
    moments = list(dict.fromkeys([0, (length - 1) // 2, length - 1]))
    first = next(iter(seeds))

    def draw(figure: "Figure") -> None:
        from matplotlib.lines import Line2D

        panels = figure.subplots(2, len(moments), squeeze=False, sharex="row", sharey="row")
        for line, function, start, name in zip(panels, ("t", "tau"), (-1.0, 0.0), ("t(c)", "tau(p)"), strict=True):
            for axes, moment in zip(line, moments, strict=True):
                axes.plot([start, 1], [start, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
                for seed, epochs in reversed(seeds.items()):
                    _function(axes, epochs[moment], function, start, whole=seed == first)
                axes.set_xlim(start, 1)
                axes.set_xlabel("target cosine c" if function == "t" else "target probability p")
                if function == "t":
                    axes.set_title(f"Epoch {seeds[first][moment].epoch}")
            line[0].set_ylabel(name)
        handles = [
            Line2D([], [], color=MEAN, linewidth=1.8, label=f"mean of seed {first}, band of one sigma"),
            Line2D([], [], color=CHOSEN, linewidth=1.2, linestyle=(0, (4, 1.4)), label="went on"),
            Line2D([], [], color=MUTED, linewidth=1, linestyle=(0, (2, 2)), label="unchanged: softmax"),
        ]
        if len(seeds) > 1:
            handles.insert(1, Line2D([], [], color=REST, linewidth=1, label="mean of the other seeds"))
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=2.6)

    return draw, (9.0, 4.6)


def _function(axes: "Axes", entry: Search, function: str, start: float, *, whole: bool) -> None:
    """One piecewise linear function on [start, 1], with a gap where it jumps."""
    mean, high = pieces(entry.policy.mean, function), pieces(entry.policy.high, function)
    went = pieces(entry.candidates[entry.chosen].values, function)
    known = mean or went
    if known is None:
        return
    bounds = np.linspace(start, 1, len(known) + 1)

    def values(parts: list[tuple[float, float]], part: int) -> Any:
        slope, offset = parts[part]
        return slope * bounds[part : part + 2] + offset

    for i in range(len(known)):
        ends = bounds[i : i + 2]
        if mean is not None:
            middle = values(mean, i)
            color, width = (MEAN, 1.8) if whole else (REST, 1.0)
            axes.plot(ends, middle, color=color, linewidth=width, zorder=4 if whole else 2)
            if whole and high is not None and len(high) == len(mean):
                # Slope and offset are drawn each on its own, so their sigmas add up as squares.
                x = np.linspace(ends[0], ends[1], 7)
                sigma = np.hypot((high[i][0] - mean[i][0]) * x, high[i][1] - mean[i][1])
                center = mean[i][0] * x + mean[i][1]
                axes.fill_between(x, center - sigma, center + sigma, color=MEAN, alpha=0.16, linewidth=0)
        if whole and went is not None and len(went) == len(known):
            axes.plot(ends, values(went, i), color=CHOSEN, linewidth=1.2, linestyle=(0, (4, 1.4)), zorder=5)


def rewards(records: Records, labels: Sequence[str]) -> Drawing:
    """One panel a searched row: its rewards over epochs, best to worst of the first seed, and what went on of all."""
    from matplotlib.ticker import MaxNLocator

    columns = min(3, len(labels))
    lines = -(-len(labels) // columns)

    def draw(figure: "Figure") -> None:
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        panels = small_multiples(figure, len(labels), columns)
        for axes, label in zip(panels.flat, labels, strict=False):
            seeds = dict(list(searched.courses(records, label).items())[:MOST_SEEDS])
            for i, epochs in reversed(list(enumerate(seeds.values()))):
                some = spaced(epochs)
                at = [entry.epoch for entry in some]
                last = _array([searched.last_reward(entry) for entry in some])
                if i == 0:
                    found = [searched.first_rewards(entry) or [np.nan] for entry in some]
                    worst, best = [min(r) for r in found], [max(r) for r in found]
                    axes.fill_between(at, worst, best, color=INK, alpha=0.14, linewidth=0)
                    axes.plot(at, worst, color=MUTED, linewidth=0.8, linestyle=(0, (1.2, 1.4)))
                axes.plot(at, last, color=REST if i else CHOSEN, linewidth=0.8 if i else 1.6, zorder=2 if i else 4)
                if len(at) == 1:
                    _dots(axes, [(at[0], last[0])], 4.4, REST if i else CHOSEN, 5)
            axes.set_title(short(label, 38))
            axes.set_ylabel(_reward(records, label))
            axes.set_xlabel("Epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        handles = [
            Line2D([], [], color=CHOSEN, linewidth=1.6, label="went on, end of the epoch"),
            Patch(color=INK, alpha=0.14, label="best to worst where all are compared"),
            Line2D([], [], color=REST, linewidth=0.8, label="went on, other seeds"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)

    return draw, (9.0, 2.15 * lines + 0.4)


def _reward(records: Records, label: str) -> str:
    named = [run.hyperparameters.get("reward") for (name, _), run in records.runs.items() if name == label]
    return next((short(f"reward: {name}") for name in named if isinstance(name, str)), "reward")
