"""Clean texts from other sources for display: names of assets, messages, paths.

A copy of a part of :mod:`eechips.text.formatting`, as the two distributions share no code; a test holds them equal.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any

_CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f"
_SEPARATORS = "\u2028\u2029"
_DIRECTION = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Characters that change the direction of writing: https://www.unicode.org/reports/tr9/."""
_INVISIBLE = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0"
    "\ufff0-\ufffb\ufffe\uffff\U000e0000-\U000e0fff"
)
"""Characters without a glyph, which make different texts look alike (Default_Ignorable_Code_Point in Unicode)."""
_SURROGATES = "\ud800-\udfff"
_UNSAFE = re.compile(
    f"[{_CONTROL}{_SEPARATORS}{_DIRECTION}{_INVISIBLE}{_SURROGATES}]"
    # Joiners belong to scripts from Arabic to Mongolian and to emoji, and are invisible elsewhere.
    "|(?<![\u0600-\u1fff\u2190-\u2bff\ufe0f\U0001f000-\U0001faff])[\u200c\u200d]"
)
_ACCENTS = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_MOST_ACCENTS = re.compile(f"([{_ACCENTS}]{{3}})[{_ACCENTS}]+")
"""More than three accents on a letter, which cover the lines above."""
_BREAKS = re.compile("[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]\\s*")
_LONGEST = 10_000
"""Characters of a line that are shown."""


def replace_control_characters(text: str) -> str:
    """Replace unsafe characters of a text by U+FFFD. Line feeds and tabs are kept.

    These are control characters, which move a terminal's cursor or set its title; separators of lines; characters that
    change the direction of writing; characters that are not seen, where no script needs them; and lone surrogates,
    which cannot be encoded. Of several accents on one letter, three are kept.
    """
    if text.isascii() and text.isprintable():
        return text
    return _MOST_ACCENTS.sub(r"\1", _UNSAFE.sub("\ufffd", text))


def escape_html(text: str) -> str:
    """Return a text as HTML, without unsafe characters."""
    return html.escape(replace_control_characters(text), quote=True)


def one_line(text: str, longest: int = _LONGEST) -> str:
    """Return a text as one safe line: line breaks become spaces, other unsafe characters U+FFFD.

    Args:
        text: any text.
        longest: number of characters after which the rest is left out, and its length given.
    """
    line = _BREAKS.sub(" ", text[: 4 * longest]).replace("\t", " ")
    left_out = max(0, len(text) - 4 * longest) + max(0, len(line) - longest)
    line = replace_control_characters(line[:longest])
    return f"{line}… ({left_out:,} more characters)" if left_out else line


def format_json(value: Any, indent: int | None = None) -> str:
    """Return JSON that can be shown: unsafe characters of its texts are written as escapes, so no value changes."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return text if text.isascii() and "\x7f" not in text else _MOST_ACCENTS.sub(_escaped, _UNSAFE.sub(_escaped, text))


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]
