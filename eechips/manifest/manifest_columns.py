"""Define the states of a unit, and declare the columns of its row in the ledger and in the files that are exported.

A new column is a field of :class:`Record` with its :class:`Column`; whoever fetches a result fills it. Everything else
derives from the columns: the tables of the ledger, ``manifest.parquet`` and ``layers.parquet``, the check of runs of
others, the recovery, and the documentation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from functools import cached_property
from operator import attrgetter
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints

_SQL = {int: "INTEGER", float: "REAL", str: "TEXT"}
LARGEST: Mapping[type, float] = {int: 1 << 53, float: 1e15}
"""Largest numbers of the ledger, by type."""
_TRANSFORM = 6  # numbers of a transform
_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")


@dataclass(frozen=True)
class Column:
    """A column. Annotate a field of a class with it, and :func:`columns_of` adds name, type and nullability.

    Attributes:
        meaning: sentences in Markdown, with links from ``docs/reference``.
        element_type: type of the elements, of a column of lists: the ledger stores these as JSON.
        is_digest: whether the ledger stores the hexadecimal text as bytes.
        is_sum: whether its values add up over all runs, and stay when a unit is fetched again.
        initial: value of a planned unit; null if None.
        layer_order: place among the columns of a file in ``layers.parquet``; None for columns of units only.
        of_frame: whether frames of the same file have values of their own.
        value_type: type of the values: int, float, str or bytes.
        is_nullable: whether values may be missing.
        is_optional: whether a table in which no row has a value lacks the column.
    """

    meaning: str
    element_type: type | None = None
    is_digest: bool = False
    is_sum: bool = False
    initial: Any = None
    layer_order: int | None = None
    of_frame: bool = False
    name: str = ""
    value_type: type = str
    is_nullable: bool = True
    is_optional: bool = False

    @property
    def definition(self) -> str:
        """The definition in ``CREATE TABLE``."""
        if self.name == "position":
            return "position INTEGER PRIMARY KEY"
        null = "" if self.is_nullable else " NOT NULL"
        default = "" if self.initial is None else f" DEFAULT {self.initial!r}"
        return f"{self.name} {'BLOB' if self.is_digest else _SQL[self.value_type]}{null}{default}"

    @property
    def selection(self) -> str:
        """The expression that selects its values from the ledger."""
        return f"lower(hex({self.name}))" if self.is_digest else self.name

    @cached_property
    def arrow(self) -> Any:
        """The type of its values in Parquet, as a ``pyarrow.DataType``."""
        import pyarrow as pa

        types = {int: pa.int64(), float: pa.float64(), str: pa.string(), bytes: pa.binary()}
        return types[self.value_type] if self.element_type is None else pa.list_(types[self.element_type])

    def accepts(self, value: Any) -> bool:
        """Return whether a JSON value may be in the column: of its type, and a number that the ledger holds."""
        if value is None:
            return self.is_nullable
        if self.element_type is not None:
            is_list = isinstance(value, list) and (self.name != "transform" or len(value) == _TRANSFORM)
            return is_list and all(_is_of(self.element_type, element) for element in value)
        return _is_of(self.value_type, value) and (self.value_type is not int or value >= 0)

    @property
    def plain_meaning(self) -> str:
        """The meaning without Markdown."""
        return _LINK.sub(r"\1", self.meaning).replace("`", "")


def _is_of(kind: type, value: Any) -> bool:
    """Return whether a JSON value is a text, or a number that the ledger holds."""
    if kind is str or isinstance(value, bool):
        return kind is str and isinstance(value, str)
    return isinstance(value, int if kind is int else (int, float)) and abs(value) <= LARGEST[kind]


def columns_of(rows: type) -> tuple[Column, ...]:
    """Return the columns that the fields of a dataclass are annotated with, in their order."""
    hints = get_type_hints(rows, include_extras=True)
    columns = []
    for field in fields(rows):
        hint = hints[field.name]
        column = next(
            (annotation for annotation in getattr(hint, "__metadata__", ()) if isinstance(annotation, Column)), None
        )
        if column is not None:
            kinds = get_args(hint.__origin__) or (hint.__origin__,)
            kind = next(base for base in (int, float, str) for annotation in kinds if issubclass(annotation, base))
            columns.append(replace(column, name=field.name, value_type=kind, is_nullable=NoneType in kinds))
    return tuple(columns)


def names_of(columns: Iterable[Column]) -> tuple[str, ...]:
    """Return the names of columns."""
    return tuple(column.name for column in columns)


def schema_of(columns: Iterable[Column]) -> Any:
    """Return the ``pyarrow.Schema`` of a table."""
    import pyarrow as pa

    return pa.schema([(column.name, column.arrow) for column in columns])


class State(str, Enum):
    """State of a unit.

    ``planned`` and ``failed_transient`` units are fetched by the next run; the others are settled.
    """

    PLANNED = "planned"
    DONE = "done"
    EMPTY = "empty"
    FAILED_TRANSIENT = "failed_transient"
    FAILED_PERMANENT = "failed_permanent"
    SKIPPED = "skipped"

    @property
    def is_open(self) -> bool:
        """Return whether the next run tries the unit."""
        return self in (State.PLANNED, State.FAILED_TRANSIENT)

    @property
    def is_failure(self) -> bool:
        """Return whether the unit was tried and has no result."""
        return self in (State.FAILED_TRANSIENT, State.FAILED_PERMANENT)

    @property
    def has_result(self) -> bool:
        """Return whether the unit has a result; ``empty`` ones do, if only that there is nothing but masked pixels."""
        return self in (State.DONE, State.EMPTY)


OPEN_STATES = ", ".join(repr(state.value) for state in State if state.is_open)
"""The states of open units as a list in SQL."""


@dataclass(frozen=True, slots=True)
class WorkUnit:
    """A unit that is to be fetched.

    Attributes:
        attempts: how often it was tried in earlier runs.
        joined: further units of the same assignment: neighbours that may be fetched in the same requests.
        is_profiled: whether the requests of the assignment are profiled.
        exported: addresses of the files that batch tasks have made of the unit's chips, in the order of these; empty if
            the chips are requested.
    """

    position: Annotated[
        int, Column("Place of the unit in the plan, from 0. It is no identity: it changes when the plan changes.")
    ]
    id: Annotated[
        str,
        Column(
            "SHA-256, hexadecimal, of the unit's canonical JSON and the recipe's identity. Equal units of "
            "equal recipes have equal ids in all runs.",
            is_digest=True,
        ),
    ]
    unit: Annotated[str, Column("The unit as canonical JSON (sorted keys, no spaces).")]
    name: Annotated[str, Column("Path of the result below the output folder, without suffix.")]
    attempts: int = 0
    replaces: Annotated[
        int | None,
        Column(
            "With `--on-empty redraw`: position of the empty unit that this one replaces. Null for units "
            "of the recipe's plan."
        ),
    ] = None
    joined: tuple[WorkUnit, ...] = ()
    is_profiled: bool = False
    exported: tuple[str, ...] = ()

    @property
    def units(self) -> tuple[WorkUnit, ...]:
        """All units of the assignment, each without the others."""
        return (self,) if not self.joined else (replace(self, joined=()), *self.joined)

    def __reduce__(self) -> tuple[Any, ...]:
        # What a dataclass with slots does by itself looks its fields up again for every unit, on both sides.
        return type(self), tuple(getattr(self, name) for name in self.__slots__)


@dataclass(frozen=True, slots=True)
class UnitFile:
    """A file of a unit.

    Attributes:
        name: path below the output folder.
        size: bytes.
        sha256: SHA-256 digest of its content, hexadecimal.
        layer: its name among the files of the unit; empty if it has none.
        metadata: the columns of files and frames, as JSON; empty if the record of the unit has them.
    """

    name: str
    size: int
    sha256: str
    layer: str = ""
    metadata: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Outcome of a unit in the ledger: the columns of its row that the plan does not set. Lists are JSON.

    Attributes:
        files: every file with metadata of its own: of a unit with layers, frames or several files. Empty in a record
            that is read from the ledger.
    """

    position: int
    state: Annotated[
        State,
        Column(
            "`planned`, `done`, `empty`, `failed_transient`, `failed_permanent` or `skipped`.",
            initial=State.PLANNED.value,
        ),
    ]
    attempts: Annotated[
        int, Column("Number of attempts in all commands of the run. 1 if nothing failed.", is_sum=True, initial=0)
    ] = 1
    requests: Annotated[
        int, Column("HTTP requests sent for it in all commands, repeats included.", is_sum=True, initial=0)
    ] = 0
    error_class: Annotated[
        str | None, Column("Name of the [error class](errors.md#classes). Null if the unit did not fail.")
    ] = None
    error: Annotated[str | None, Column("The message, without credentials.")] = None
    traceback: Annotated[str | None, Column("Traceback of the recipe, for a `RecipeError`.")] = None
    file: Annotated[str | None, Column("Path of the first file below the output folder, with `/` between folders.")] = (
        None
    )
    bytes: Annotated[int | None, Column("Size of the file.")] = None
    sha256: Annotated[str | None, Column("SHA-256 of the file, hexadecimal.")] = None
    width: Annotated[int | None, Column("Columns of pixels.", layer_order=2)] = None
    height: Annotated[int | None, Column("Rows of pixels.", layer_order=3)] = None
    bands: Annotated[
        str | None,
        Column(
            "Names of the bands, in a file with several frames of one frame; of a table, of its columns.",
            element_type=str,
            layer_order=0,
        ),
    ] = None
    dtype: Annotated[str | None, Column("NumPy name of the pixels' type, such as `uint8`.", layer_order=1)] = None
    crs: Annotated[
        str | None, Column("CRS as a code (`EPSG:32613`), or as WKT where there is no code.", layer_order=4)
    ] = None
    transform: Annotated[
        str | None,
        Column(
            "`[a, b, c, d, e, f]` with x = a·column + b·row + c and y = d·column + e·row + f, for pixel "
            "corners. The order is that of `affine.Affine` and of Earth Engine's `crs_transform`, not of "
            "GDAL's geotransform.",
            element_type=float,
            layer_order=5,
        ),
    ] = None
    valid_fraction: Annotated[
        float | None,
        Column(
            "Fraction of pixels that are not masked, 0 to 1. JPEG has no mask: always 1.", layer_order=6, of_frame=True
        ),
    ] = None
    rows: Annotated[int | None, Column("Rows of a table.", layer_order=7)] = None
    sources: Annotated[
        str | None,
        Column(
            "Asset ids of the images that the result shows, where they are known (`--provenance` makes them exact).",
            element_type=str,
            layer_order=8,
            of_frame=True,
        ),
    ] = None
    dates: Annotated[
        str | None, Column("Dates of these images, ISO 8601, UTC.", element_type=str, layer_order=9, of_frame=True)
    ] = None
    shared_request: Annotated[
        int | None,
        Column(
            "Number of the [request](../explanation/quota.md#one-request-for-several-chips) that fetched "
            "it together with its neighbours. `requests` counts it for one of them. Null if the unit was "
            "fetched alone."
        ),
    ] = None
    method: Annotated[
        str | None,
        Column(
            "Kinds of the requests that gave its result; null for a failed unit: `assets:getPixels`, "
            "`image:computePixels`, `thumbnails, thumbnails:getPixels` (by URL), `value:compute`, …; "
            "`image:export` or `table:export` for a chip or table that a [batch "
            "task](../how-to/timeouts.md) has exported. Both of the first two mean that the chip [has "
            "masked pixels](../explanation/quota.md#the-smallest-request)."
        ),
    ] = None
    seconds: Annotated[float | None, Column("Time from the start of the unit until its file was on the disk.")] = None
    eecu_seconds: Annotated[
        float | None,
        Column(
            "[Compute](../explanation/quota.md#compute) that Earth Engine reports for the profiled "
            "requests of the unit, in all commands, and for its [batch task](../how-to/timeouts.md). A "
            "request that several units share is divided among them by pixels. Null if the unit was not "
            "profiled.",
            is_sum=True,
        ),
    ] = None
    finished: Annotated[str | None, Column("Time of the last attempt, ISO 8601, UTC.")] = None
    files: tuple[UnitFile, ...] = ()

    @classmethod
    def of_row(cls, values: Iterable[Any], files: tuple[UnitFile, ...] = ()) -> Record:
        """Return the record with values of :data:`ROW`, as the ledger or a pickle has them."""
        fields = dict(zip(ROW, values, strict=True))
        return cls(**{**fields, "state": State(fields["state"])}, files=files)

    @property
    def every_file(self) -> tuple[UnitFile, ...]:
        """All files of the unit."""
        if self.files or self.file is None:
            return self.files
        return (UnitFile(self.file, self.bytes or 0, self.sha256 or ""),)

    def without(self, names: Collection[str]) -> Record:
        """Return the record without files of some names; its columns of files are those of the first that is left."""
        files = tuple(file for file in self.every_file if file.name not in names)
        columns: dict[str, Any] = dict.fromkeys(FILE_COLUMNS)
        if not files:
            return replace(self, files=(), file=None, bytes=None, sha256=None, **columns)
        first = files[0]
        if first.name == self.file:
            return replace(self, files=files)
        for name, value in json.loads(first.metadata).items():
            if name in columns and value is not None:
                columns[name] = json.dumps(value) if name in LISTS else value
        return replace(self, files=files, file=first.name, bytes=first.size, sha256=first.sha256, **columns)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.of_row, (tuple(getattr(self, name) for name in ROW), self.files)


PLAN = columns_of(WorkUnit)
"""Columns of a unit that is planned."""

RECORD = columns_of(Record)
"""Columns of its outcome."""

FRAME = (
    Column(
        "Of a [frame](../how-to/time-series-of-chips.md): name of the dataset, empty if there is one "
        "dataset. Null for other files.",
        name="series",
    ),
    Column("Number of the frame, from 0.", name="frame", of_frame=True, value_type=int),
    Column("With `--every`: first day of the frame's period, YYYY-MM-DD.", name="start", of_frame=True),
    Column("Day after the last of the period.", name="end", of_frame=True),
    Column(
        "Fraction of the chip's pixels that the frame's image shows clear, 0 to 1.",
        name="clear_fraction",
        of_frame=True,
        value_type=float,
    ),
    Column(
        "With `--rank-by`: score of the frame's image, by which it was chosen. Runs without scores lack the column.",
        name="score",
        of_frame=True,
        value_type=float,
        is_optional=True,
    ),
)
"""Columns of a file that is one frame of a time series: see :class:`eechips.recipe.Frame`."""

FILE = tuple(sorted((each for each in RECORD if each.layer_order is not None), key=attrgetter("layer_order")))
"""Columns of a file, in the manifest and in ``layers.parquet``."""

FRAME_VALUES = tuple(column for column in (*FILE, *FRAME) if column.of_frame)
"""Columns of which each frame of a file with several has a value of its own."""

MANIFEST = (*PLAN, *RECORD)
"""Columns of a unit in the ledger and in ``manifest.parquet``, which adds those of the units' values."""

_MANIFEST = {column.name: column for column in MANIFEST}
LAYERS = (
    *(_MANIFEST["position"], _MANIFEST["id"]),
    Column("Name of the layer, such as `S2`. Null for files of a script, which have none.", name="layer"),
    *(_MANIFEST["file"], _MANIFEST["bytes"], _MANIFEST["sha256"]),
    *FILE,
    *FRAME,
)
"""Columns of ``layers.parquet``; the optional ones only if some file has a value."""

COLUMNS = {column.name: column for column in (*MANIFEST, *LAYERS)}
"""All columns by name."""

FAILURES = tuple(
    COLUMNS[name] for name in ("position", "id", "unit", "state", "error_class", "error", "traceback", "attempts")
)
"""Columns of :func:`eechips.manifest.sqlite.ledger_queries.read_failures`."""

RECORD_COLUMNS, FILE_COLUMNS, FRAME_COLUMNS = names_of(RECORD), names_of(FILE), names_of(FRAME)

ROW = ("position", *RECORD_COLUMNS)
"""Names of the columns of a :class:`Record`, in their order."""

LAYER_COLUMNS = (*FILE_COLUMNS, *FRAME_COLUMNS)
"""Names of the metadata of each file of a unit that has several."""

LISTS = frozenset(column.name for column in MANIFEST if column.element_type is not None)
"""Names of columns that hold JSON lists."""


def decode_columns(values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the values of columns by name, lists in the place of their JSON, without those that are missing."""
    return {
        name: json.loads(value) if name in LISTS and isinstance(value, str) and value else value
        for name, value in values
        if value is not None
    }
