"""Numbers and names as people read them; independent of locale and time zone."""

from collections.abc import Iterable, Sequence
from math import floor, log10

from faceloss.report.kinds import Key

MINUS = "\u2212"


def digits(spans: Iterable[float | None], most: int = 5) -> int:
    """Decimals that a column needs: two digits of its narrowest interval's half width, between 2 and ``most``.

    ``spans`` are widths high - low; those that are None or 0 say nothing.
    """
    widths = [abs(span) / 2 for span in spans if span]
    if not widths:
        return 3
    return min(max(1 - floor(log10(min(widths))), 2), most)


def number(value: float, decimals: int) -> str:
    """A number with a true minus sign, and no minus before a rounded zero."""
    shown = f"{value:.{decimals}f}" if abs(value) < 1e6 else f"{value:.3g}"
    return shown.lstrip("-") if float(shown) == 0 else shown.replace("-", MINUS)


def signed(value: float, decimals: int) -> str:
    shown = number(value, decimals)
    return shown if shown.startswith(MINUS) or float(shown) == 0 else f"+{shown}"


def interval(low: float | None, high: float | None, decimals: int, *, sign: bool = False) -> str:
    """``[low, high]``, or nothing where there is no interval."""
    if low is None or high is None:
        return ""
    show = signed if sign else number
    return f"[{show(low, decimals)},\u00a0{show(high, decimals)}]"  # never broken over two lines


def breakable(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    """The texts of a table for other places than a page, with ordinary spaces."""
    return [[text.replace("\u00a0", " ") for text in row] for row in rows]


def power(far: float) -> str:
    """A false accept rate in the field's spelling.

    >>> power(0.001), power(0.00025)
    ('1e-3', '2.5e-4')
    """
    if far <= 0:
        return "0"
    mantissa, exponent = f"{far:.3e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def metric(key: Key) -> str:
    """The name of a column within its test, e.g. ``TAR at FAR 1e-3``."""
    if key.metric.startswith("tar") and key.at is not None:
        return f"TAR{key.metric[3:]} at FAR {power(key.at)}"
    if key.metric == "tpir" and key.at is not None:
        return f"TPIR at FPIR {power(key.at)}"
    if key.metric == "rank" and key.at is not None:
        return f"Rank {key.at:g}"
    return {"accuracy": "Accuracy", "tar": "TAR", "eer": "EER", "auc": "AUC", "rank": "Rank"}.get(
        key.metric, key.metric
    )


def place(key: Key) -> str:
    """Test and protocol."""
    return f"{key.test} ({key.protocol})" if key.protocol else key.test


def count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def memory(mib: float | None) -> str:
    if mib is None:
        return "–"
    return f"{mib:,.0f} MiB" if mib < 10240 else f"{mib / 1024:.1f} GiB"


def operations(value: float | None) -> str:
    """Floating-point operations.

    >>> operations(4.2e9), operations(1.73e15), operations(None)
    ('4.20 GFLOP', '1.73 PFLOP', '–')
    """
    if value is None:
        return "–"
    step = min(max(floor(log10(value)) // 3, 2), 6) if value > 0 else 2
    shown = value / 1000**step
    return f"{shown:,.{2 if shown < 10 else 1 if shown < 100 else 0}f} {'MGTPE'[step - 2]}FLOP"


def listed(names: Sequence[str], last: str = "and") -> str:
    """``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}" if names else ""


def plural(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def short(name: str, most: int = 30) -> str:
    """A name that fits into a figure: broken after a comma into lines of at most ``most``, cut only where that fails.

    >>> short("arcface (s=30, m=0.3, gradient=straight-through)")
    'arcface (s=30, m=0.3,\\ngradient=straight-through)'
    """
    lines = [""]
    for part in name.replace(", ", ",\n").split("\n"):
        joined = f"{lines[-1]} {part}".strip()
        if len(joined) <= most or not lines[-1]:
            lines[-1] = joined
        else:
            lines.append(part)
    return "\n".join(line if len(line) <= most else line[: most - 1] + "…" for line in lines[:2])
