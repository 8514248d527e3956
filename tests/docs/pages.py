"""Read the tables and headings of the documentation's pages."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def read_page(path: str) -> str:
    """Return the Markdown text of a page below ``docs``."""
    return (DOCS / path).read_text(encoding="utf-8")


def read_table(text: str, *head: str) -> list[dict[str, str]]:
    """Return the rows of the first table whose first columns have the given headings, by heading."""
    lines = iter(text.splitlines())
    for line in lines:
        columns = _cells(line)
        if columns[: len(head)] == list(head):
            assert set("".join(_cells(next(lines)))) <= set("-: "), "a table has a rule below its heading"
            rows = []
            for row in lines:
                if not row.startswith("|"):
                    break
                rows.append(dict(zip(columns, _cells(row), strict=True)))
            return rows
    raise AssertionError(f"no table begins with {head}")


def read_section(text: str, heading: str) -> str:
    """Return the text below a heading, to the next heading of the same or a higher level."""
    level = len(heading) - len(heading.lstrip("#"))
    _, found, rest = f"\n{text}".partition(f"\n{heading}\n")
    assert found, f"no heading {heading!r}"
    return re.split(rf"\n#{{1,{level}}} ", rest)[0]


def unquote(cell: str) -> str:
    """Return the code in a cell such as ``` `name` ```."""
    found = re.fullmatch(r"`([^`]+)`", cell)
    assert found, f"{cell!r} is not one piece of code"
    return found[1]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
