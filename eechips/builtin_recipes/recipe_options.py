"""Separate the options of a recipe from those of its run; check and parse dates, formats, bands, ``columns`` and
counts; name the default folder (slug).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import math
import os
import re
from collections.abc import Callable, KeysView, Mapping, Sequence, ValuesView
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Generic, Literal, Protocol, TypeVar, overload

from eechips.engine.config import RunConfig
from eechips.engine.run_options import LedgerOptions
from eechips.errors import UsageError
from eechips.option_fields import check_types, chosen_options, takes, takes_none, type_error
from eechips.storage import is_address, local_path
from eechips.text.suggestion import describe_choices, did_you_mean_option
from eechips.text.timestamps import parse_timestamp

if TYPE_CHECKING:
    from eechips.engine.costs.cost_descriptions import Estimate
    from eechips.manifest.run import Run
    from eechips.recipe import Recipe

RecipeT = TypeVar("RecipeT")
DatasetT = TypeVar("DatasetT", contravariant=True)
OptionsT = TypeVar("OptionsT", bound="_NamesDataset")

_FORMAT_SYNONYMS = {"tiff": "tif", "geotiff": "tif", "gtiff": "tif", "jpeg": "jpg"}
_TEXTS = frozenset({"roi", "regions", "cells", "bbox", "start", "end"})
"""Options of recipes that are texts, and for which Python has types of its own."""
_DIGEST_LENGTH = 8  # hexadecimal digits, at the end of a folder's name

RUN_OPTIONS = frozenset(
    {field.name for field in (*dataclasses.fields(RunConfig), *dataclasses.fields(LedgerOptions))}
) - {"results"}
"""Options of every run."""


class _NamesDataset(Protocol):
    @property
    def dataset(self) -> str:
        """Alias or id."""


class BuiltinRecipe(Generic[OptionsT]):
    """What the recipes of commands that fetch have in common."""

    name: ClassVar[str]
    options_class: ClassVar[type]
    is_builtin = True
    options: OptionsT

    @property
    def call(self) -> tuple[str, Mapping[str, Any]]:
        """The command and its options; see :class:`eechips.recipe.SupportsCall`."""
        return self.name, chosen_options(self.options)

    @property
    def default_folder(self) -> str:
        """The name of the run's folder in ``outputs``, unless the caller gives one."""
        return f"{self.name}-{slug(self.options.dataset)}"

    def receive_config(self, config: RunConfig) -> None:
        """Raise UsageError if the command cannot have an option of the run."""


RecipeMaker = type[BuiltinRecipe[Any]] | Callable[[Mapping[str, Any]], tuple["Recipe", RunConfig]]
"""Class of a command's recipe, or a function that makes it and the config of its run."""


def make_recipe(kind: RecipeMaker, options: Mapping[str, Any]) -> tuple[Recipe, RunConfig]:
    """Make the recipe of a command, and the config of its run, from one set of options.

    Raises:
        UsageError: if an option is unknown, out of range, or contradicts another.
        RegionError: if a file of places or regions cannot be used.
    """
    if not isinstance(kind, type):
        return kind(options)
    recipe_class: type[Any] = kind
    declared = recipe_class.options_class
    recipe, config = split_options(
        recipe_class, option_names(declared), options, lambda recipe: recipe.default_folder, declared
    )
    recipe.receive_config(config)
    return recipe, config


def split_options(
    recipe: Callable[..., RecipeT],
    names: frozenset[str],
    options: Mapping[str, Any],
    out: Callable[[RecipeT], str],
    options_class: type | None = None,
) -> tuple[RecipeT, RunConfig]:
    """Make a recipe and the config of its run from one set of options.

    Args:
        names: options of the recipe; all others belong to the run.
        options: by name.
        out: returns the default folder of the recipe's run, in ``outputs``.
        options_class: declares the options of the recipe, whose types are checked; None for none.

    Raises:
        UsageError: if an option is unknown, and the message suggests a similar one; or if it has another type.
    """
    for option in options:
        if option not in names and option not in RUN_OPTIONS:
            raise UsageError(f"there is no option {option!r}{did_you_mean_option(option, names | RUN_OPTIONS)}")
    options = {name: _plain(value) for name, value in options.items()}
    own = {name: value for name, value in options.items() if name in names}
    own |= {name: format_text(name, own[name]) for name in _TEXTS & own.keys()}
    own |= {name: str(value) for name, value in own.items() if isinstance(value, Path)}
    job_recipe = recipe(**(own if options_class is None else check_types(options_class, own)))
    rest = {name: value for name, value in options.items() if name not in names}
    # None stands for the default of an option of the run, unless the option takes None itself.
    rest = {name: value for name, value in rest.items() if value is not None or takes_none(RunConfig, name)}
    for name in ("out", "ledger", "credentials"):
        if not isinstance(rest.get(name), (str, Path, NoneType)):
            raise type_error(name, rest[name], (Path,))
    folder, ledger = rest.pop("out", None), rest.pop("ledger", None)
    if folder is not None and is_address(str(folder)):
        rest["results"] = str(folder).rstrip("/")
        folder = Path("outputs") / slug(rest["results"]) if ledger is None else ledger
    elif ledger is not None:
        raise UsageError("`ledger` is for results in an object store: `out` s3://bucket/folder")
    if rest.get("credentials") is not None:
        rest["credentials"] = local_path(rest["credentials"])
    return job_recipe, RunConfig(
        out=Path("outputs") / out(job_recipe) if folder is None else local_path(folder), **rest
    )


def _plain(value: Any) -> Any:
    """Return numbers and arrays of numpy and pandas, such as the sum of a column, as values of Python: JSON has these.

    Named tuples, such as the bounds that rasterio returns, become tuples; paths of other libraries those of Python.
    """
    if isinstance(value, os.PathLike):
        return str(value) if is_address(str(value)) else Path(os.fsdecode(value))
    if isinstance(value, Mapping):
        return {name: _plain(element) for name, element in value.items()}
    if isinstance(value, (tuple, KeysView, ValuesView)):
        return tuple(map(_plain, value))
    if isinstance(value, list):
        return list(map(_plain, value))
    is_array = hasattr(value, "tolist") and not hasattr(value, "__geo_interface__")  # geometries belong in a file
    return _plain(value.tolist()) if is_array else value


def format_text(name: str, value: Any) -> str | None:
    """Return an option as the command line has it: a date as YYYY-MM-DD, four bounds as W,S,E,N.

    Raises:
        UsageError: if it is neither of these, nor a text or a path; the message names the option.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dt.date):
        return value.isoformat().removesuffix("T00:00:00")
    try:
        bounds = [float(number) for number in value]
    except (TypeError, ValueError, LookupError):  # the last of objects of ee
        bounds = []
    if len(bounds) != 4:
        raise type_error(name, value, (str,))
    return ",".join(map(repr, bounds))


def run_recipe(recipe: Recipe, config: RunConfig) -> Run | Estimate:
    """Run a recipe, or estimate it with ``dry_run``."""
    from eechips.engine.costs.estimate import estimate  # a worker, which imports the recipe's module, needs neither
    from eechips.engine.run import run

    return estimate(recipe, config) if config.dry_run else run(recipe, config)


class DatasetFunction(Protocol[DatasetT]):
    """Type of a function of a dataset that returns an estimate with ``dry_run``, and else a run."""

    __name__: str

    @overload
    def __call__(
        self, dataset: DatasetT, *, out: str | Path | None = None, dry_run: Literal[True], **options: Any
    ) -> Estimate: ...
    @overload
    def __call__(
        self, dataset: DatasetT, *, out: str | Path | None = None, dry_run: Literal[False] = False, **options: Any
    ) -> Run: ...


def dataset_function(
    options_class: type,
) -> Callable[[Callable[Concatenate[DatasetT, ...], Run | Estimate]], DatasetFunction[DatasetT]]:
    """Give a function of a dataset the signature and the documentation of its options; see :func:`takes`."""
    return takes(options_class, RunConfig, LedgerOptions)  # type: ignore[return-value]


def option_names(config: type) -> frozenset[str]:
    """Return the names of the options of a config."""
    return frozenset(field.name for field in dataclasses.fields(config) if field.init)


def slug(text: str) -> str:
    """Convert a text to a folder's name: lower-case letters, digits and dashes, and a digest if others are replaced."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if name and text.isascii():
        return name
    digest = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:_DIGEST_LENGTH]
    return f"{name}-{digest}".lstrip("-")


def split_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Split names: ``"R, G, B"``, or a sequence of names."""
    return tuple(name.strip() for name in (names.split(",") if isinstance(names, str) else names))


def split_list(texts: str | Sequence[str]) -> tuple[str, ...]:
    """Split at the commas that are not within parentheses: ``"NDVI, low=min(B8, B4)"``, or several such texts."""
    parts: list[str] = []
    for text in [texts] if isinstance(texts, str) else texts:
        begin = depth = 0
        for place, character in enumerate(text):
            depth += (character == "(") - (character == ")")
            if character == "," and depth == 0:
                parts.append(text[begin:place])
                begin = place + 1
        parts.append(text[begin:])
    return tuple(part.strip() for part in parts)


def find_indices(computed: Sequence[str]) -> tuple[str, ...]:
    """Return the names of spectral indices among computed bands."""
    return tuple(name for name in computed if "=" not in name)


def find_formulas(computed: Sequence[str]) -> tuple[str, ...]:
    """Return the formulas, ``name=formula``, among computed bands."""
    return tuple(formula for formula in computed if "=" in formula)


def check_bands(bands: Sequence[str] | str | None) -> None:
    """Raise UsageError if there is no name of a band, or one comes twice; None stands for the default bands."""
    names = () if bands is None else split_names(bands)
    if bands is not None and (not names or not all(names)):
        raise UsageError("`bands` must name at least one band: A,B,C")
    if len(set(names)) < len(names):
        raise UsageError(f"a band is asked for twice: {','.join(names)}")


def check_dates(start: str | None, end: str | None) -> None:
    """Raise UsageError if a date or moment (ISO 8601) is invalid, or the end, exclusive, is not after the start."""
    moments = [_moment(name, text) for name, text in (("start", start), ("end", end)) if text is not None]
    if len(moments) == 2 and moments[0] >= moments[1]:
        raise UsageError(f"the start ({start}) must be before the end ({end}), which is exclusive")


def parse_format(text: str, formats: Sequence[str]) -> str:
    """Return the name of a format, ``tif`` for ``tiff``, ``jpg`` for ``jpeg``; raise UsageError if it is unknown."""
    name = text.strip().lower()
    name = _FORMAT_SYNONYMS.get(name, name)
    if name in formats:
        return name
    raise UsageError(f"unknown format {text!r}: one of {', '.join(formats)}")


def check_values(values: str, choices: Sequence[str] = ("stored", "scaled")) -> None:
    """Raise UsageError if what the bands of the results hold is none of the choices of the command."""
    if values not in choices:
        raise UsageError(f"`values` must be {', '.join(choices[:-1])} or {choices[-1]}, not {values!r}")


def _moment(name: str, text: str) -> dt.datetime:
    moment = parse_timestamp(text) if text == text.strip() else None
    if moment is None:
        raise UsageError(f"the {name} {text!r} is not a date (YYYY-MM-DD)")
    return moment


_CLASSES = re.compile(r"(?P<map>[^:/]+|[^:]+:[^:]+):(?P<classes>[^:]*)")  # ID:BAND:CLASSES, or NAME:CLASSES
_BEFORE_NAME = re.compile(r",(?=\s*\w+\s*=|\s*$)")  # a name of a column may have a comma as well
_NUMBERS = re.compile(r"-?\d+(\s*,\s*-?\d+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceColumns:
    """Columns of a file of places; None where the usual names count.

    Attributes:
        id: name of the column that identifies a row, a cell or a region.
    """

    lon: str | None = None
    lat: str | None = None
    id: str | None = None
    date: DateColumn | None = None

    @classmethod
    def parse(cls, value: str | Mapping[str, str], names: Sequence[str]) -> PlaceColumns:
        """Return the columns of a text such as ``lon=LONG,lat=LAT,date=surveyed:%d/%m/%Y``, or of columns by name.

        Args:
            names: names that the file may have.

        Raises:
            UsageError: if a name is another, or has no column.
        """
        if isinstance(value, str):
            pairs = [part.partition("=")[::2] for part in _BEFORE_NAME.split(value) if part.strip()]
        else:
            pairs = list(value.items())
        columns = {name.strip(): column.strip() for name, column in pairs}
        if len(columns) == 1 and (only := next(iter(columns))) not in names and not columns[only]:
            first = "id" if "id" in names else names[0]
            raise UsageError(f"`columns` {only}: write NAME=COLUMN, as in columns='{first}={only}'")
        for name, column in columns.items():
            if name not in names or not column:
                raise UsageError(f"`columns` {name}={column}: write NAME=COLUMN; {describe_choices(name, [*names])}")
        date = columns.pop("date", None)
        return cls(date=None if date is None else DateColumn.parse(date), **columns)


def region_column(columns: str | Mapping[str, str]) -> str | None:
    """Return the column that identifies the regions of a file; None for the numbers of its features.

    Raises:
        UsageError: if it names other columns.
    """
    return PlaceColumns.parse(columns, ("id",)).id


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table on the server, which is named by its asset id."""

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
    """Return the number of ``N`` or ``N:WORD``, and the word; raise UsageError if it begins with no number."""
    number, _, word = str(value).partition(":")
    try:
        amount = float(number)
    except ValueError:
        amount = math.nan
    if not math.isfinite(amount):
        raise UsageError(f"{option} must begin with a number, not {value!r}")
    return amount, word or None
