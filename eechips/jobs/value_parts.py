"""Divide values of options that have parts, such as ``surveyed:%d/%m/%Y``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eechips.errors import UsageError
from eechips.text.suggestion import describe_choices

_CLASSES = re.compile(r"(?P<map>[^:/]+|[^:]+:[^:]+):(?P<classes>[^:]*)")  # ID:BAND:CLASSES, or NAME:CLASSES
_BEFORE_NAME = re.compile(r",(?=\s*\w+\s*=|\s*$)")  # a name of a column may have a comma as well
_NUMBERS = re.compile(r"-?\d+(\s*,\s*-?\d+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceColumns:
    """Columns of a file of places; None where the usual names count.

    Attributes:
        lon: name of the column of longitudes.
        lat: name of the column of latitudes.
        id: name of the column that identifies a row, a cell or a region.
        date: column of dates.
    """

    lon: str | None = None
    lat: str | None = None
    id: str | None = None
    date: DateColumn | None = None

    @classmethod
    def parse(cls, value: str | Mapping[str, str], names: Sequence[str]) -> PlaceColumns:
        """Return the columns of a text such as ``lon=LONG,lat=LAT,date=surveyed:%d/%m/%Y``, or of columns by name.

        Args:
            value: value of the option.
            names: names that the file may have.

        Raises:
            UsageError: if a name is another, or has no column.
        """
        if isinstance(value, str):
            pairs = [part.partition("=")[::2] for part in _BEFORE_NAME.split(value) if part.strip()]
        else:
            pairs = list(value.items())
        columns = {name.strip(): column.strip() for name, column in pairs}
        for name, column in columns.items():
            if name not in names or not column:
                raise UsageError(f"`columns` {name}={column}: write NAME=COLUMN; {describe_choices(name, [*names])}")
        date = columns.pop("date", None)
        return cls(date=None if date is None else DateColumn.parse(date), **columns)


def region_column(columns: str | Mapping[str, str]) -> str | None:
    """Return the column that identifies the regions of a file; None for the numbers of its features.

    Args:
        columns: value of the option.

    Raises:
        UsageError: if it names other columns.
    """
    return PlaceColumns.parse(columns, ("id",)).id


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table on the server.

    Attributes:
        table: id of the asset.
        field: name of the column.
    """

    table: str
    field: str

    @classmethod
    def parse(cls, text: str, usual: str) -> TableColumn:
        """Return the column of ``ASSET:FIELD``, or the usual one of ``ASSET``."""
        table, _, field = text.partition(":")
        return cls(table, field or usual)


@dataclass(frozen=True, slots=True)
class DateColumn:
    """A column of dates.

    Attributes:
        name: name of the column.
        format: format of its dates, as ``%d/%m/%Y``; None for ISO 8601.
    """

    name: str
    format: str | None = None

    @classmethod
    def parse(cls, text: str) -> DateColumn:
        """Return the column of ``FIELD`` or ``FIELD:FORMAT``."""
        before, percent, after = text.partition("%")
        name, colon, begin = before.rpartition(":")
        if not percent or not colon:
            return cls(text)
        return cls(name, f"{begin}%{after}")


def divide_map(text: str) -> tuple[str, tuple[int, ...] | None]:
    """Return the map of ``ID:BAND`` or ``ID:BAND:CLASSES``, and its classes; None for all.

    A short name, such as WORLDCOVER, may be followed by classes without a band.

    Raises:
        UsageError: if a class is no whole number, or is named twice.
    """
    match = _CLASSES.fullmatch(text)
    if match is None or (":" not in match["map"] and not _NUMBERS.fullmatch(match["classes"])):
        return text, None
    if not _NUMBERS.fullmatch(match["classes"]):
        raise UsageError(f"`per_class` {text!r}: classes must be whole numbers, as in 10,40,50")
    classes = tuple(map(int, match["classes"].split(",")))
    if len(set(classes)) < len(classes):
        raise UsageError(f"`per_class` {text!r} names a class twice")
    return match["map"], classes


def divide_count(option: str, value: int | str) -> tuple[int, str | None]:
    """Return the whole number of ``N`` or ``N:TEXT``, and the text.

    Raises:
        UsageError: if it begins with no whole number.
    """
    number, text = divide_number(option, value)
    if number != int(number):
        raise UsageError(f"{option} must begin with a whole number, not {value!r}")
    return int(number), text


def divide_number(option: str, value: float | str) -> tuple[float, str | None]:
    """Return the number of ``N`` or ``N:WORD``, and the word.

    Raises:
        UsageError: if it begins with no number.
    """
    number, _, word = str(value).partition(":")
    try:
        amount = float(number)
    except ValueError:
        amount = math.nan
    if not math.isfinite(amount):
        raise UsageError(f"{option} must begin with a number, not {value!r}")
    return amount, word or None
