"""Turn properties of STAC items into those of Earth Engine's images, and conditions on images into those on items."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

from eechips_local.evaluation.asset_model import Range
from eechips_local.values.calendar import parse_timestamp

_LARGEST = sys.float_info.max
_NUMBERS = re.compile(  # of the extensions EO, View Geometry, Satellite, Landsat and Sentinel-2
    r"(eo:(cloud|snow)_cover|view:.+|sat:(absolute|relative)_orbit|landsat:cloud_cover_land|gsd"
    r"|s2:(.+_percentage|mean_solar_.+|reflectance_conversion_factor))"
)

Conversion = Literal["", "number", "text", "time", "upper", "title", "baseline", "complement"]
"""``number``: a text or number as a number; ``text``: a number as text; ``time``: a date and time as milliseconds since
1970; ``upper`` and ``title``: letters; ``baseline``: "5.9" as "05.09"; ``complement``: 90 minus an angle in degrees."""


@dataclass(frozen=True, slots=True)
class PropertyRule:
    """How a property of items becomes one of images.

    Attributes:
        name: STAC's.
        prefix: prefix of the item's text that the image's lacks.
        suffix: likewise.
        width: digits to which the item's text is padded with zeros, for numbers; 0 for none.
        tolerance: by which the item's number may differ from the image's, for items whose numbers are rounded.
        pattern: regular expression whose first group, found anywhere in the item's text, is the image's; empty for all.
        values: the image's for each of the item's; those that are not listed stay.
        is_exact: whether the archive can be asked for values.
    """

    name: str
    convert: Conversion = ""
    prefix: str = ""
    suffix: str = ""
    width: int = 0
    tolerance: float = 0.0
    pattern: str = ""
    values: tuple[tuple[Any, Any], ...] = ()
    is_exact: bool = True

    @classmethod
    def of(cls, rule: str | Mapping[str, Any]) -> PropertyRule:
        """Return the rule that a record states: a name, or a table of these attributes."""
        if isinstance(rule, str):
            return cls(rule)
        keys = dict(rule)
        return cls(values=tuple(keys.pop("values", {}).items()), **keys)

    def value(self, properties: Mapping[str, Any]) -> Any:
        """Return the image's value for an item's properties, or None if the item has none that can be understood."""
        value = properties.get(self.name)
        if value is None:
            return None
        try:
            converted = self._value(value)
        except (TypeError, ValueError, OverflowError):
            return None
        return (
            converted
            if _is_plain(converted) or (isinstance(converted, list) and all(map(_is_plain, converted)))
            else None
        )

    def _value(self, value: Any) -> Any:
        for theirs, ours in self.values:
            if value == theirs:
                return ours
        if self.pattern:
            match = re.search(self.pattern, str(value))
            return None if match is None else self._converted(match[1])
        if isinstance(value, str):
            value = value.removeprefix(self.prefix).removesuffix(self.suffix)
        return self._converted(value)

    def equal(self, value: Any) -> tuple[str, Any] | None:
        """Return the item's property and value for an image's value; None if items cannot be asked for it."""
        if self.pattern:
            return None
        if not self.is_exact or self.convert in ("time", "text", "baseline", "complement", "upper", "title"):
            known = [theirs for theirs, ours in self.values if ours == value]
            return (self.name, known[0]) if known and self.is_exact else None
        for theirs, ours in self.values:
            if value == ours:
                return self.name, theirs
        if self.width:
            is_whole = isinstance(value, (int, float)) and float(value).is_integer()
            return (self.name, f"{int(value):0{self.width}d}") if is_whole else None
        if isinstance(value, str):
            return self.name, f"{self.prefix}{value}{self.suffix}"
        return None if self.tolerance else (self.name, value)

    def range(self, span: Range) -> tuple[str, Range] | None:
        """Return the item's property and range for a range of the image's; None if items cannot be asked for it."""
        is_plain = self.convert == "" and not (self.width or self.prefix or self.suffix or self.values or self.pattern)
        if not self.is_exact or not is_plain or span.others:
            return None
        return self.name, Range(span.least - self.tolerance, span.greatest + self.tolerance)

    def _converted(self, value: Any) -> Any:
        is_written = isinstance(value, str) and not self.convert and _NUMBERS.fullmatch(self.name)
        match "number" if is_written else self.convert:
            case "number":
                number = float(value)
                return int(number) if number.is_integer() else number
            case "text":
                return str(value)
            case "time":
                return milliseconds(str(value))
            case "upper":
                return str(value).upper()
            case "title":
                return str(value).title()
            case "baseline":
                whole, _, part = str(value).partition(".")
                return f"{int(whole):02d}.{part:>02}"
            case "complement":
                return 90.0 - float(value)
        return value


def _is_plain(value: Any) -> bool:
    """Return whether a value is a text or a finite number, as properties of images are."""
    return isinstance(value, str) or (isinstance(value, (int, float)) and -_LARGEST <= value <= _LARGEST)


def number_of(value: Any) -> float | None:
    """Return the finite number of an item's property, which some archives write as text; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def milliseconds(text: Any) -> float | None:
    """Return an RFC 3339 time as milliseconds since 1970, rounded as times of images are; None for other values."""
    if not isinstance(text, str):
        return None
    try:
        moment = parse_timestamp(text)
    except ValueError:
        return None
    elapsed = moment - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return float(math.floor(elapsed.total_seconds() * 1000.0 + 0.5))


def times_of(properties: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return the first and the last time of an item in milliseconds since 1970, or None where it does not say."""
    start = properties.get("start_datetime") or properties.get("datetime")
    end = properties.get("end_datetime") or properties.get("datetime")
    return (milliseconds(str(start)) if start else None), (milliseconds(str(end)) if end else None)
