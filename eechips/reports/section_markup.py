"""Build the parts of which sections of a report consist: headings, lists of values, tables, files of HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from eechips.reports.markup import Markup, element, escape

_LENGTH = 300  # characters of a message


@cache
def read_file(name: str) -> str:
    """Return the text of a file of this package."""
    return (files("eechips.reports") / name).read_text(encoding="utf-8")


def fill(name: str, **values: Any) -> Markup:
    """Return the HTML of a file of this package, without its line breaks, with values in place of their names."""
    template = "".join(line.strip() for line in read_file(name).splitlines())
    return Markup(template.format(**{key: "" if value is None else escape(value) for key, value in values.items()}))


def section(identifier: str, heading: str, *parts: Any, hidden: bool = False) -> Markup:
    """Build a section with a heading; a script may show it if it is hidden."""
    return element(
        "section",
        element("h2", heading, id=f"{identifier}-title"),
        *parts,
        id=identifier,
        aria_labelledby=f"{identifier}-title",
        hidden=hidden,
    )


def fact_list(pairs: Iterable[tuple[str, Any]]) -> Markup:
    """Build a list of names and values."""
    return element(
        "dl", *(part for name, value in pairs for part in (element("dt", name), element("dd", value))), class_="facts"
    )


def html_table(
    heads: Sequence[str], rows: Sequence[Sequence[Any]], *, numbers: Iterable[int] = (), caption: str | None = None
) -> Markup:
    """Build a table.

    Args:
        numbers: columns that are aligned to the right.
    """
    right = set(numbers)

    def cell(name: str, column: int, value: Any) -> Markup:
        kind = "number" if column in right else "message" if heads[column] == "message" else None
        return element(name, value, class_=kind, scope="col" if name == "th" else None)

    body = [element("tr", *(cell("td", column, value) for column, value in enumerate(row))) for row in rows]
    top = element("tr", *(cell("th", column, name) for column, name in enumerate(heads)))
    named = element("caption", caption) if caption else None
    return element(
        "div",
        element("table", named, element("thead", top), element("tbody", *body)),
        class_="wide",
        tabindex="0",
        role="region",
        aria_label=caption or "table",
    )


def small_print(text: Any) -> Markup | None:
    """Return a paragraph in small print; None for an empty text."""
    return element("p", text, class_="note") if text else None


def shorten(text: str) -> str:
    """Cut a message that is longer than the report shows."""
    return text if len(text) <= _LENGTH else f"{text[: _LENGTH - 1]}…"


def plain_text(value: Any) -> str:
    """Format a parameter; nested values without a setting are omitted."""
    if isinstance(value, dict):
        settings = [(name, nested) for name, nested in value.items() if nested not in (None, {}, [])]
        return shorten("; ".join(f"{name} {plain_text(nested)}" for name, nested in settings))
    if isinstance(value, (list, tuple)):
        separator = " / " if any(isinstance(nested, dict) for nested in value) else ", "
        return shorten(separator.join(map(plain_text, value)))
    return shorten(str(value))
