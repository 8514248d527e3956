"""Read the values that a property may have from its description in a record."""

from __future__ import annotations

import re

# "* A: Nighttime data", "- 3 - urban area", "*   `x`: ..."
_LISTED = re.compile(r"^\s*[*-]\s+[\"'`]?(-?[\w.+-]+?)[\"'`]?\s*(?::|=|-|–)\s", re.MULTILINE)
# 'Possible values are "Nominal" and "Degraded"', "Values: 'ASCENDING', 'DESCENDING'", "('Y'/'N')"
_ANNOUNCED = re.compile(
    r"(?:values?\b[^.\"'`]*?|one of\b[^.\"'`]*?|\()((?:[\"'`][\w .+-]+[\"'`][\s,/;|]*(?:and|or)?\s*){2,})"
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
    if type == "STRING":
        return tuple(dict.fromkeys(listed))
    try:
        numbers = tuple(float(text) for text in dict.fromkeys(listed))
    except ValueError:
        return ()
    return tuple(int(number) for number in numbers) if type == "INT" else numbers if type == "DOUBLE" else ()
