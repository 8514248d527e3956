"""Parse and format quantities; clean texts of others for terminals, HTML, JSON, and CSV files that spreadsheets open
(an apostrophe before formulas).

Texts of services, runs and files that others made pass one of these functions before a person sees them:
:func:`one_line` before a terminal or a log, :func:`format_json` where JSON is printed,
:func:`escape_html` before HTML, and :func:`format_spreadsheet` in CSV files that are made for people.
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from eechips.errors import UsageError

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
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_DISTANCE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(m|km)\s*", re.IGNORECASE)
_MOST_DIGITS = 18  # below 2**63
_BYTES = re.compile(r"\s*(\d+(?:\.\d*)?)\s*([KMGT]i?)?B?\s*", re.IGNORECASE)
_PREFIXES = "KMGT"


def parse_count(text: str) -> int | None:
    """Return the number that ASCII digits write; None for other text, and for more than 18 digits.

    ``str.isdigit`` accepts characters that ``int`` refuses ("²"), and ``str.strip`` strips some that ``int`` does not.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def parse_bytes(text: str | int) -> int:
    """Parse ``256MB``, ``1.5GiB``, ``2G`` or a plain number into bytes.

    Raises:
        UsageError: if the text is not a size.
    """
    match = _BYTES.fullmatch(str(text))
    if match is None:
        raise UsageError(f"{text!r} is not a number of bytes such as 256MB or 1.5GiB")
    prefix = (match[2] or "").upper()
    base = 1024 if prefix.endswith("I") else 1000
    exponent = 1 + _PREFIXES.index(prefix[0]) if prefix else 0
    return round(float(match[1]) * float(base**exponent))


def format_bytes(count: float) -> str:
    """Format a number of bytes with a decimal unit: 9.7 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def format_count(count: int, noun: str) -> str:
    """Format a number with a noun in the singular or plural: 1 unit, 2,000 units."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def short_digest(digest: str) -> str:
    """Return the first 16 digits of a unit's id or of a SHA-256 digest, as messages have them."""
    return digest[:16]


def some_of(names: Sequence[Any], most: int = 3) -> str:
    """Return the first of several names as text, and say whether there are others: a, b, c, …."""
    return ", ".join(map(str, names[:most])) + (", …" if len(names) > most else "")


def format_duration(seconds: float) -> str:
    """Format a duration: 40 s, 3 min, 5.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def rate_period(per_second: float) -> tuple[str, int]:
    """Return the period in which a rate is at least 0.1, second, minute or hour, and its seconds."""
    if per_second == 0.0 or per_second >= 0.1:
        return "second", 1
    return ("minute", 60) if per_second >= 0.1 / 60 else ("hour", 3600)


def format_compute(seconds: float) -> str:
    """Format a compute: 0.842 EECU-seconds, 1.24 EECU-hours."""
    value, unit = (seconds, "EECU-seconds") if seconds < 360 else (seconds / 3600, "EECU-hours")
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}"


def format_extent(west: float, south: float, east: float, north: float) -> str:
    """Format an extent in degrees: longitude -105.2 to -104.1, latitude 39 to 40.25."""
    return f"longitude {west:.7g} to {east:.7g}, latitude {south:.7g} to {north:.7g}"


def format_distance(metres: float) -> str:
    """Format a distance as :func:`parse_distance` reads it: 0m, 250m, 1.5km."""
    return f"{metres:.3g}m" if metres < 1000 else f"{metres / 1000:.4g}km"


def parse_distance(option: str, text: str, *, may_be_zero: bool = False) -> float:
    """Parse a distance such as ``500m`` or ``10km``.

    Returns:
        Metres.

    Raises:
        UsageError: if the text is not a distance, or is zero where it must be positive.
    """
    match = _DISTANCE.fullmatch(str(text))
    metres = float(match[1]) * (1000.0 if match[2].lower() == "km" else 1.0) if match else 0.0
    if match is None or not (metres or may_be_zero):
        raise UsageError(f"{option} {text!r} is not a distance such as 500m or 10km")
    return metres


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


def format_spreadsheet(rows: Iterable[Sequence[Any]]) -> str:
    """Return CSV for people, who may open it in a spreadsheet: no cell is a formula.

    A text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return, and is no number, gets an apostrophe
    in front, as https://owasp.org/www-community/attacks/CSV_Injection advises. Control characters become U+FFFD. Tables
    for programs, such as time series, keep their texts as they are and are not written by this function.
    """
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(map(_cell, row) for row in rows)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    is_formula = value.lstrip(" ").startswith(_FORMULA) and not _NUMBER.fullmatch(value)
    return replace_control_characters(f"'{value}" if is_formula else value)


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]


def describe_exception(error: BaseException) -> str:
    """Return the class of an exception and its message; the class of a recipe may fail to make its message."""
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 - the code of that class may raise anything
        text = f"its message cannot be made ({type(broken).__name__})"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
