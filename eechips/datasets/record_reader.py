"""Read the record of a dataset from TOML (bands, classes, quantization, visualization), and refuse missing or unknown
keys and wrong values.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NoReturn

from eechips.datasets.dataset import Dataset, DatasetBand, Quantization
from eechips.errors import UsageError
from eechips.text.suggestion import did_you_mean
from eechips.text.toml_text import parse_toml

SUFFIX = ".toml"

MOST_BYTES = 1 << 20
"""Size of the largest record, far above that of any dataset of the catalog."""

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float32", "float64")

INTEGERS = {"int8": -128, "int16": -32768}
"""Types of quantized values, and the least value of each."""

_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)
_ALIAS = re.compile(r"[A-Z0-9][A-Z0-9_.+-]*")
_ID = re.compile(r"[\w.-]+(/[\w.-]+)*")
_COLOUR = re.compile(r"[0-9a-f]{6}")
_TEXT = re.compile(r".*\S.*", re.DOTALL)
_PAGE = re.compile(r"https://\S+")
_COMMON = re.compile(r"[a-z][a-z0-9]*")
_MOST_COLOURS = 1024  # of a palette


@dataclass(frozen=True, slots=True)
class RecordNames:
    """The names by which a dataset is found.

    Attributes:
        alias: short name.
        synonyms: other short names.
        id: asset id.
    """

    alias: str
    synonyms: tuple[str, ...]
    id: str


def parse_record(text: str, origin: str) -> Dataset:
    """Return the dataset that a TOML document describes.

    Args:
        origin: name of its file, for errors.

    Raises:
        UsageError: naming file, key, and what is expected there.
    """
    table = _Table(_parse(text, origin), origin)
    bands = _read_bands(table)
    names = tuple(band.name for band in bands)
    default_bands = table.names_of("default_bands", names)
    if not default_bands:
        table.fail("default_bands", "must name at least one band")
    start, end = table.date("start"), table.date("end", None)
    if end is not None and end < start:
        table.fail("end", f"must not be before the start, {start}")
    dataset = Dataset(
        alias=table.text("alias", pattern=(_ALIAS, "a word in upper case, such as S2")),
        synonyms=table.texts("synonyms", (_ALIAS, "words in upper case")),
        id=table.text("id", pattern=(_ID, "an asset id, such as USGS/SRTMGL1_003")),
        kind=table.choice("kind", ("image", "collection")),
        title=table.text("title"),
        provider=table.text("provider"),
        bands=bands,
        default_bands=default_bands,
        pixel_size=table.positive("pixel_size"),
        start=start,
        end=end,
        is_static=table.boolean("static"),
        is_unit_vector=table.boolean("unit_vector"),
        quantization=_read_quantization(table),
        visualization=_read_visualization(table, bands, default_bands),
        region=table.text("region", None),
        mask=table.text("mask", None),
        quality_bands=table.names_of("quality_bands", names, ()),
        varying_bands=table.names_of("varying_bands", names, ()),
        licence=table.text("licence"),
        citation=table.text("citation"),
        checked=table.date("checked"),
        page=table.text("page", None, (_PAGE, "a URL that starts with https://")),
    )
    table.finish(("bands", "quantization", "visualization"))
    return dataset


def parse_names(text: str, origin: str) -> RecordNames:
    """Return the names in a document: those of the keys before its first table, all that has to be parsed.

    Args:
        origin: name of its file, for errors.

    Raises:
        UsageError: naming file, key, and what is expected there.
    """
    first = _TABLE.search(text)
    table = _Table(_parse(text[: first.start()] if first else text, origin), origin)
    return RecordNames(table.text("alias"), table.texts("synonyms"), table.text("id"))


def _parse(text: str, origin: str) -> dict[str, Any]:
    try:
        return parse_toml(text)
    except ValueError as error:
        raise UsageError(f"{origin} is not TOML: {str(error).replace(chr(10), ' ')}") from None


def _read_bands(table: _Table) -> tuple[DatasetBand, ...]:
    entries = table.values.get("bands")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        table.fail("bands", "must be at least one table, each with the heading [[bands]]")
    bands = tuple(_read_band(entry, number, table.origin) for number, entry in enumerate(entries, 1))
    _check_different(table, "bands", "name", [band.name for band in bands])
    _check_different(table, "bands", "common name", [name for band in bands for name in band.common_names])
    return bands


def _read_band(values: Mapping[str, Any], number: int, origin: str) -> DatasetBand:
    label = f"band {values['name']}" if isinstance(values.get("name"), str) else f"band {number}"
    table = _Table(values, origin, f"{label}: ")
    classes, colours = _read_classes(table)
    band = DatasetBand(
        name=table.text("name"),
        description=table.text("description", ""),
        common_names=table.texts("common_names", (_COMMON, "words in lower case")),
        units=table.text("units", ""),
        scale=table.number("scale", 1.0),
        offset=table.number("offset", 0.0),
        dtype=table.choice("dtype", DTYPES, None),
        is_cast=table.boolean("cast"),
        pixel_size=table.positive("pixel_size", None),
        classes=classes,
        colours=colours,
    )
    if band.is_cast and band.dtype is None:
        table.fail("cast", "needs `dtype`, to which the stored values are cast")
    table.finish(("classes",))
    return band


def _read_classes(table: _Table) -> tuple[dict[int, str], dict[int, str]]:
    """Return the names and the colours of the classes of a band, by value."""
    classes: dict[int, str] = {}
    colours: dict[int, str] = {}
    entries = table.values.get("classes", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        table.fail("classes", 'must be a list of { value = 1, name = "Water", colour = "0000ff" }')
    for entry in entries:
        one = _Table(entry, table.origin, f"{table.place}class {entry.get('value')}: ")
        value = one.whole("value")
        if value in classes:
            table.fail("classes", f"has the value {value} twice")
        classes[value] = one.text("name")
        colour = one.text("colour", None, (_COLOUR, "six hexadecimal digits in lower case"))
        if colour is not None:
            colours[value] = colour
        one.finish()
    return dict(sorted(classes.items())), dict(sorted(colours.items()))


def _read_quantization(table: _Table) -> Quantization | None:
    settings = table.values.get("quantization")
    if settings is None:
        return None
    if not isinstance(settings, dict):
        table.fail("quantization", "must be a table with the heading [quantization]")
    own = _Table(settings, table.origin, "quantization: ")
    dtype, nodata = own.choice("dtype", tuple(INTEGERS)), own.whole("nodata")
    if nodata != INTEGERS[dtype]:  # all others are values
        own.fail("nodata", f"must be {INTEGERS[dtype]}, the least {dtype}, not {nodata}")
    quantization = Quantization(
        dtype=dtype, divisor=own.positive("divisor"), power=own.positive("power"), nodata=nodata
    )
    own.finish()
    return quantization


def _read_visualization(table: _Table, bands: Sequence[DatasetBand], default_bands: Sequence[str]) -> dict[str, Any]:
    settings = table.values.get("visualization", {})
    if not isinstance(settings, dict):
        table.fail("visualization", "must be a table with the heading [visualization]")
    if not settings:
        return {}
    look = _Table(settings, table.origin, "visualization: ")
    colours = next(band.colours for band in bands if band.name == default_bands[0])
    if settings.get("palette") == "classes":
        look.finish(("palette",))
        return _class_visualization(look, colours if len(default_bands) == 1 else {})
    visualization: dict[str, Any] = {"min": look.number("min"), "max": look.number("max")}
    if visualization["min"] >= visualization["max"]:
        look.fail("min", f"must be below max, {visualization['max']:g}")
    if "gamma" in settings:
        visualization["gamma"] = look.positive("gamma")
    if "palette" in settings:
        visualization["palette"] = list(
            look.texts("palette", (_COLOUR, 'colours of six hexadecimal digits, or "classes"'))
        )
        if len(default_bands) != 1 or len(visualization["palette"]) < 2:
            look.fail("palette", "must have at least two colours, for one default band")
    look.finish(("gamma", "palette"))
    return visualization


def _class_visualization(look: _Table, colours: Mapping[int, str]) -> dict[str, Any]:
    """Return a palette in which every class falls on its own colour; values between two have that of the lower."""
    if len(colours) < 2:
        look.fail("palette", 'must not be "classes" where no class of the default band has a colour')
    low, high = min(colours), max(colours)
    step = reduce(math.gcd, (value - low for value in colours))
    if (high - low) // step >= _MOST_COLOURS:
        look.fail("palette", f'must not be "classes" for values from {low} to {high}')
    palette = [colours[low]]
    for value in range(low + step, high + step, step):
        palette.append(colours.get(value, palette[-1]))
    return {"min": low, "max": high, "palette": palette}


def _check_different(table: _Table, key: str, noun: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            table.fail(key, f"has the {noun} {name} twice")


_REQUIRED: Any = object()
Pattern = tuple[re.Pattern[str], str]


class _Table:
    """A table of a record, whose values are checked as they are read.

    Args:
        origin: name of the file, for errors.
        place: place of the table in the file, for errors.
    """

    def __init__(self, values: Mapping[str, Any], origin: str, place: str = "") -> None:
        self.values, self.origin, self.place = values, origin, place
        self._known: set[str] = set()

    def fail(self, key: str, problem: str) -> NoReturn:
        raise UsageError(f"{self.origin}: {self.place}'{key}' {problem}")

    def text(self, key: str, default: Any = _REQUIRED, pattern: Pattern | None = None) -> Any:
        form, expected = pattern or (_TEXT, "text in quotes")
        return self._read(key, default, expected, lambda value: isinstance(value, str) and form.fullmatch(value))

    def texts(self, key: str, pattern: Pattern | None = None) -> tuple[str, ...]:
        value = self._read(
            key,
            [],
            "a list of texts in quotes",
            lambda value: isinstance(value, list) and all(isinstance(text, str) and text for text in value),
        )
        wrong = [text for text in value if pattern and not pattern[0].fullmatch(text)]
        if pattern and wrong:
            self.fail(key, f"must be {pattern[1]}, not {wrong[0]!r}")
        return tuple(value)

    def names_of(self, key: str, known: Sequence[str], default: Any = _REQUIRED) -> tuple[str, ...]:
        """Return a list of names of bands, which must all be there."""
        self._read(key, default, "a list of names of bands")
        names = self.texts(key)
        for name in names:
            if name not in known:
                self.fail(key, f"names {name!r}, which is not a band of [[bands]]{did_you_mean(name, known)}")
        _check_different(self, key, "band", names)
        return names

    def number(self, key: str, default: Any = _REQUIRED) -> Any:
        return self._read(
            key, default, "a number", lambda value: type(value) in (int, float) and abs(value) <= sys.float_info.max
        )

    def positive(self, key: str, default: Any = _REQUIRED) -> Any:
        value = self.number(key, default)
        if value is not None and value <= 0:
            self.fail(key, f"must be above 0, not {value!r}")
        return value and float(value)

    def whole(self, key: str) -> Any:
        return self._read(key, _REQUIRED, "a whole number", lambda value: type(value) is int)

    def boolean(self, key: str) -> Any:
        return self._read(key, False, "true or false", lambda value: isinstance(value, bool))

    def choice(self, key: str, choices: Sequence[str], default: Any = _REQUIRED) -> Any:
        return self._read(key, default, f"one of {', '.join(choices)}", lambda value: value in choices)

    def date(self, key: str, default: Any = _REQUIRED) -> Any:
        expected = "a date without quotes, such as 2017-03-28"
        value = self._read(key, default, expected, lambda value: type(value) is dt.date)
        return value and value.isoformat()

    def finish(self, others: Sequence[str] = ()) -> None:
        """Check that there are no keys beside those that were read, and some others."""
        known = self._known | set(others)
        for key in self.values:
            if key not in known:
                raise UsageError(f"{self.origin}: {self.place}there is no key '{key}'{did_you_mean(key, known)}")

    def _read(self, key: str, default: Any, expected: str, is_right: Callable[[Any], object] = lambda _: True) -> Any:
        self._known.add(key)
        if key not in self.values:
            if default is _REQUIRED:
                raise UsageError(f"{self.origin}: {self.place}'{key}' is missing: {expected}")
            return default
        if not is_right(self.values[key]):
            self.fail(key, f"must be {expected}, not {self.values[key]!r}")
        return self.values[key]
