"""Read the values that a property may have from its description in a record."""

from __future__ import annotations

import re

# "* A: Nighttime data", "- 3 - urban area", "*   `x`: ..."
_LISTED = re.compile(r"^\s*[*-]\s+[\"'`]?(-?[\w.+-]+?)[\"'`]?\s*(?::|=|-|–)\s", re.MULTILINE)
# 'Possible values are "Nominal" and "Degraded"', "Values: 'ASCENDING', 'DESCENDING'", "('Y'/'N')"
_ANNOUNCED = re.compile(
    r"(?:values?\b[^.\"'`]*?|one of\b[^.\"'`]*?|\()((?:[\"'`][\w .+-]+[\"'`][\s,/;|]*(?:and|or)?\s*){2,})",
    re.IGNORECASE,
)
# "[0.65;1.0]", "(0-100)", "Values: 0 - 999"
_NUMBER = r"(-?\d+(?:\.\d+)?)"
_LIMITS = re.compile(
    rf"\[\s*{_NUMBER}\s*[;,]\s*{_NUMBER}\s*\]|\({_NUMBER}\s*(?:-|–|to)\s*{_NUMBER}\)"
    rf"|values:\s*{_NUMBER}\s*(?:-|–|to)\s*{_NUMBER}",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"[\"'`]([\w .+-]+)[\"'`]")
_FEWEST = 2
# Lists of the parts of a text, not of values.
_PARTS = re.compile(r"format|digits?\b", re.IGNORECASE)


def stated_values(description: str, type: str) -> tuple[str | int | float, ...]:
    """Return the values that a description lists, or none.

    Args:
        description: words on a property, in Markdown.
        type: its type as Earth Engine's catalogue names it.
    """
    if _PARTS.search(description):
        return ()
    listed = _LISTED.findall(description)
    if len(listed) < _FEWEST and (announced := _ANNOUNCED.search(description)) is not None:
        listed = _QUOTED.findall(announced[1])
    if len(listed) < _FEWEST:
        return ()
    if type in ("STRING", "STRING_LIST"):
        return tuple(dict.fromkeys(listed))
    try:
        numbers = tuple(float(text) for text in dict.fromkeys(listed))
    except ValueError:
        return ()
    return tuple(int(number) for number in numbers) if type == "INT" else numbers if type == "DOUBLE" else ()


def stated_limits(description: str, type: str) -> tuple[float, float] | None:
    """Return the least and greatest value of a number that a description states in brackets, or None.

    Args:
        description: words on a property, in Markdown.
        type: its type as Earth Engine's catalogue names it.
    """
    match = _LIMITS.search(description) if type in ("DOUBLE", "INT") and not _PARTS.search(description) else None
    if match is None:
        return None
    low, high = (float(end) for end in match.groups() if end is not None)
    return (low, high) if low < high else None
