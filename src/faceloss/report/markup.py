"""HTML by one function: text is escaped unless it is already ``Safe``."""

from collections.abc import Iterable
from html import escape

_VOID = {"br", "col", "hr", "img", "meta"}


class Safe(str):
    """Text that is HTML already and must not be escaped again."""

    __slots__ = ()


Child = str | Iterable["Child"] | None


def text(child: Child) -> str:
    """The HTML of a child: a ``Safe`` as it is, a string escaped, a sequence one after the other."""
    if child is None:
        return ""
    if isinstance(child, Safe):
        return str(child)
    if isinstance(child, str):
        return escape(child)
    return "".join(text(c) for c in child)


def tag(name: str, /, *children: Child, **attributes: str | int | None) -> Safe:
    """One element; ``class_`` stands for the attribute class, ``aria_label`` for aria-label, None leaves one out.

    >>> tag("td", "a < b", class_="n")
    '<td class="n">a &lt; b</td>'
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    opening = "".join([f"<{name}", *(f' {key}="{escape(str(value))}"' for key, value in given.items()), ">"])
    return Safe(opening if name in _VOID else f"{opening}{text(children)}</{name}>")


def row(*cells: Child, **attributes: str | int | None) -> Safe:
    """A table row; a cell that is not ``<td>`` or ``<th>`` yet becomes a ``<td>``."""
    return tag("tr", [c if _is_cell(c) else tag("td", c) for c in cells], **attributes)


def _is_cell(child: Child) -> bool:
    return isinstance(child, Safe) and child.startswith(("<td", "<th"))


def head(*names: Child) -> Safe:
    """The head of a table with one line of column names."""
    return tag("thead", tag("tr", [n if _is_cell(n) else tag("th", n, scope="col") for n in names]))


def numeric(*names: str) -> list[Safe]:
    """Names of columns of numbers, over the right edge of the column."""
    return [tag("th", name, scope="col", class_="n") for name in names]


def table(header: Safe, rows: Iterable[Safe], *, name: str, class_: str = "") -> Safe:
    """A table in a container of its own that scrolls when it is wider than the page; ``name`` is read aloud."""
    body = tag("table", header, tag("tbody", list(rows)), class_=class_ or None)
    return tag("div", body, class_="scroll", role="region", aria_label=name, tabindex=0)
