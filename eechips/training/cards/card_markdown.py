"""Write Markdown in which names of others cannot be markup: text, code, tables, blocks."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from eechips.text.formatting import one_line


def strip_markdown(markdown: str) -> str:
    """Convert escaped Markdown to plain text."""
    return html.unescape(markdown.replace("\\", ""))


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(one_line, line))} |" for line in lines)


def escape(value: Any) -> str:
    """Return a value as text with the syntax of Markdown escaped: names come from others."""
    escaped = html.escape(" ".join(one_line(str(value)).split()), quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]|#~" else c for c in escaped)


def code(value: Any) -> str:
    """Return a value as code, without characters that end it."""
    return f"`{' '.join(one_line(str(value)).split()).replace('`', '').replace('|', '/')}`"


def format_block(language: str, lines: Sequence[str]) -> str:
    """Return a block of code, between fences that are longer than any in it."""
    fence = "```"
    lines = [one_line(line, longest=max(1, len(line))) for line in lines]
    while any(fence in line for line in lines):
        fence += "`"
    return "\n".join([fence + language, *lines, fence])
