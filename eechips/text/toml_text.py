"""Parse TOML of others, within bounds."""

from __future__ import annotations

import re
import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_MOST_PARTS = 32
"""Parts of a key: ``tomllib`` takes memory that grows with the square of their number, 13 GB for 100 kB."""
_KEY_PART = r"""(?:[\w-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')[ \t]*"""
# Spaces match in one way only: the search of a long line takes a time that grows with its length, not its square.
_LONG_KEY = re.compile(rf"(?:^|[{{,])(?:[ \t]*\[){{0,2}}[ \t]*(?:{_KEY_PART}\.[ \t]*){{{_MOST_PARTS}}}", re.MULTILINE)


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a document.

    Raises:
        ValueError: if it is not TOML, or has keys, numbers or nesting that take memory.
    """
    if _LONG_KEY.search(text):
        raise ValueError(f"a key has more than {_MOST_PARTS} parts")
    try:
        tables = tomllib.loads(text)
        str(tables)  # hexadecimal numbers of any length are read, and have no text
    except RecursionError:
        raise ValueError("its values are nested too deep") from None
    return tables
