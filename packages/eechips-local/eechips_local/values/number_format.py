"""Format numbers as Java does (``Double.toString``, ``java.util.Formatter``), and as JSON: NaN and infinities are
texts.
"""

from __future__ import annotations

import math
import re
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError

_PATTERN = re.compile(
    r"%(?P<flags>[-#+ 0,(]*)(?P<width>[1-9]\d*)?(?:\.(?P<precision>\d+))?(?P<conversion>[sdoxXeEfgGaA])"
)
_MOST_CHARACTERS = 10_000
_CONTEXT = Context(prec=_MOST_CHARACTERS + 400, rounding=ROUND_HALF_UP)  # room for the greatest double


def java_text(value: float) -> str:
    """Return a number as Java's ``toString`` gives it: "3" of an integer, "3.0", "1.0E10" or "NaN" of a double."""
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        text = f"{Decimal(repr(value)):f}"
        return text if "." in text else text + ".0"
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    figures = "".join(map(str, digits)).rstrip("0") or "0"
    scale = len(digits) - 1 + int(exponent)
    return f"{'-' if sign else ''}{figures[0]}.{figures[1:] or '0'}E{scale}"


def format_number(value: float, pattern: str) -> str:
    """Write a number by a pattern with exactly one conversion, e.g. "%05d" or "S%.2f km".

    Conversions of integers cut a fraction off, those of doubles take integers too; digits are rounded half up, as in
    Java.

    Raises:
        InvalidError: if the pattern is malformed, or its flags do not fit the conversion.
        LimitError: if it asks for an absurd width or precision.
    """
    match = _PATTERN.search(pattern)
    if pattern.count("%") != 1 or match is None:
        raise InvalidError(f"Invalid format string: '{pattern[:100]}'.")
    if any(len(match[name] or "") > 5 for name in ("width", "precision")):
        raise MemoryLimitError()
    flags, conversion = frozenset(match["flags"]), match["conversion"]
    if len(flags) != len(match["flags"]) or {"-", "0"} <= flags or {"+", " "} <= flags:
        raise InvalidError(f"Illegal format flags: '{match['flags']}'.")
    if flags & {"-", "0"} and match["width"] is None:
        raise InvalidError(f"Missing format width: '{match.group()}'.")
    width = int(match["width"] or 0)
    precision = None if match["precision"] is None else int(match["precision"])
    if max(width, precision or 0) > _MOST_CHARACTERS:
        raise MemoryLimitError()
    body = _converted(value, conversion, flags, width, precision)
    return pattern[: match.start()] + body + pattern[match.end() :]


def _converted(value: float, conversion: str, flags: frozenset[str], width: int, precision: int | None) -> str:
    if conversion == "s":
        text = java_text(value)
        text = text if precision is None else text[:precision]
        return text.ljust(width) if "-" in flags else text.rjust(width)
    if conversion in "doxX":
        if precision is not None:
            raise InvalidError(f"Illegal format precision: {precision}.")
        if not math.isfinite(value):
            raise InvalidError(f"Cannot format {java_text(value)} as an integer.")
        return _whole(int(value), conversion, flags, width)
    return _fractional(float(value), conversion, flags, width, precision)


def _whole(value: int, conversion: str, flags: frozenset[str], width: int) -> str:
    if conversion == "d":
        digits = f"{abs(value):,}" if "," in flags else str(abs(value))
        return _signed(digits, value < 0, flags, width)
    # Java writes the two's complement of 64 bits.
    number = value & 0xFFFF_FFFF_FFFF_FFFF if value < 0 else value
    digits = f"{number:o}" if conversion == "o" else f"{number:x}"
    if "#" in flags:
        digits = ("0" if conversion == "o" else "0x") + digits
    digits = digits.rjust(width, "0") if "0" in flags else digits.rjust(width)
    digits = digits.strip().ljust(width) if "-" in flags else digits
    return digits.upper() if conversion == "X" else digits


def _fractional(value: float, conversion: str, flags: frozenset[str], width: int, precision: int | None) -> str:
    negative = math.copysign(1.0, value) < 0
    if not math.isfinite(value):
        return _signed(java_text(abs(value)), negative and not math.isnan(value), flags - {"0"}, width)
    kind, size = conversion.lower(), abs(value)
    if kind == "a":
        digits = _hexadecimal(size)
    elif kind == "e":
        digits = _scientific(size, 6 if precision is None else precision)
    elif kind == "f":
        digits = _fixed(size, 6 if precision is None else precision, "," in flags)
    else:
        digits = _general(size, 6 if precision is None else precision or 1, "," in flags)
    text = _signed(digits, negative, flags, width)
    return text.upper() if conversion.isupper() else text


def _decimal(size: float) -> Decimal:
    return Decimal(repr(size))  # Java rounds the shortest digits, not the exact binary value


def _fixed(size: float, precision: int, grouped: bool) -> str:
    rounded = _rounded(_decimal(size), -precision)
    return f"{rounded:,.{precision}f}" if grouped else f"{rounded:.{precision}f}"


def _scientific(size: float, precision: int) -> str:
    if size == 0:
        return f"{0:.{precision}e}"
    number = _decimal(size)
    rounded = _rounded(number, number.adjusted() - precision)
    exponent = rounded.adjusted()
    figures = f"{rounded.scaleb(-exponent, _CONTEXT):.{precision}f}"
    return f"{figures}e{'-' if exponent < 0 else '+'}{abs(exponent):02}"


def _general(size: float, precision: int, grouped: bool) -> str:
    if size == 0:
        return _fixed(0.0, precision - 1, grouped)
    rounded = _rounded(_decimal(size), _decimal(size).adjusted() - precision + 1)
    if Decimal("1e-4") <= rounded < Decimal(10) ** precision:
        return _fixed(size, max(precision - rounded.adjusted() - 1, 0), grouped)
    return _scientific(size, precision - 1)


def _rounded(number: Decimal, exponent: int) -> Decimal:
    """Return rounded half up to a power of ten."""
    return number.quantize(Decimal((0, (1,), exponent)), context=_CONTEXT)


def _hexadecimal(size: float) -> str:
    mantissa, exponent = size.hex().split("p")
    mantissa = mantissa.rstrip("0") if "." in mantissa else mantissa
    mantissa = mantissa + "0" if mantissa.endswith(".") else mantissa
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}p{int(exponent)}"


def _signed(digits: str, negative: bool, flags: frozenset[str], width: int) -> str:
    before, after = ("(", ")") if negative and "(" in flags else ("-", "") if negative else ("", "")
    if not negative:
        before = "+" if "+" in flags else " " if " " in flags else ""
    if "0" in flags:
        digits = digits.rjust(width - len(before) - len(after), "0")
    text = before + digits + after
    return text.ljust(width) if "-" in flags else text.rjust(width)


def json_number(value: float) -> Any:
    """Return a number as Earth Engine sends it: whole without a fraction; as text what JSON lacks, infinities and
    NaN.
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
