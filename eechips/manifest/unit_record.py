"""Define the states and the record of a unit in the ledger."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any


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


@dataclass(frozen=True, slots=True)
class WorkUnit:
    """A unit that is to be fetched.

    Attributes:
        position: its place in the plan, from 0; never its identity.
        id: sha256, hexadecimal.
        unit: canonical JSON.
        name: path of its result below the output folder, without suffix.
        attempts: how often it was tried in earlier runs.
        replaces: position of the empty unit that it was drawn for; None for one of the recipe's plan.
        joined: further units of the same task: neighbours that may be fetched in the same requests.
        is_profiled: whether the requests of the task are profiled.
        exported: addresses of the files that batch tasks have made of the unit's chips, in the order of these; empty if
            the chips are requested.
    """

    position: int
    id: str
    unit: str
    name: str
    attempts: int = 0
    replaces: int | None = None
    joined: tuple[WorkUnit, ...] = ()
    is_profiled: bool = False
    exported: tuple[str, ...] = ()

    @property
    def units(self) -> tuple[WorkUnit, ...]:
        """All units of the task, each without the others."""
        return (self,) if not self.joined else (replace(self, joined=()), *self.joined)

    def __reduce__(self) -> tuple[Any, ...]:
        # What a dataclass with slots does by itself looks its fields up again for every unit, on both sides.
        return type(self), tuple(getattr(self, name) for name in self.__slots__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Outcome of a unit in the ledger; its fields are columns of manifest.parquet.

    Attributes:
        position: of the unit in the plan.
        state: what became of it.
        attempts: how often it was tried, in all runs: 1 if nothing went wrong.
        requests: HTTP requests sent for it in all runs, repeats included. One that it shares with other units counts
            for the first of them.
        shared_request: position of the first unit of the request that it shares; None if it was fetched alone.
        error_class: name of the class in :mod:`eechips.errors`.
        error: what happened, without secrets.
        traceback: of the recipe, for a RecipeError.
        file: path below the output folder.
        bytes: size of the file.
        sha256: of the file, hexadecimal.
        width: columns of pixels.
        height: rows of pixels.
        bands: JSON list of names (of columns, in a table).
        dtype: numpy name of the pixels' type.
        crs: code, or WKT.
        transform: JSON list (a, b, c, d, e, f): pixel corners to coordinates.
        valid_fraction: share of pixels that are not masked.
        rows: of a table.
        sources: JSON list of asset ids.
        dates: JSON list of ISO 8601 dates.
        method: kinds of the requests that succeeded, such as ``assets:getPixels``, or ``image:export`` for a batch
            task; None for a failed unit.
        seconds: from taking the unit up to having its file on the disk.
        eecu_seconds: compute that the service reports for the unit's profiled requests, in all runs; None for units
            that were not profiled. A request that several units share is divided among them by their pixels.
        finished: ISO 8601, UTC.
    """

    position: int
    state: State
    attempts: int = 1
    requests: int = 0
    error_class: str | None = None
    error: str | None = None
    traceback: str | None = None
    file: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    bands: str | None = None
    dtype: str | None = None
    crs: str | None = None
    transform: str | None = None
    valid_fraction: float | None = None
    rows: int | None = None
    sources: str | None = None
    dates: str | None = None
    shared_request: int | None = None
    method: str | None = None
    seconds: float | None = None
    eecu_seconds: float | None = None
    finished: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _record, tuple(getattr(self, name) for name in self.__slots__)


RECORD_COLUMNS = tuple(field.name for field in fields(Record) if field.name != "position")


FRAME_COLUMNS = ("series", "frame", "start", "end", "clear_fraction")
"""Columns of a file that is one frame of a time series: see :class:`eechips.recipe.Frame`."""

FILE_COLUMNS = ("bands", "dtype", "width", "height", "crs", "transform", "valid_fraction", "rows", "sources", "dates")
"""Columns of a file, in the manifest and in ``layers.parquet``."""

LAYER_COLUMNS = (*FILE_COLUMNS, *FRAME_COLUMNS)
"""Columns of each file of a unit that has several."""

LISTS = frozenset({"bands", "transform", "sources", "dates"})
"""Columns that hold JSON lists."""


def _record(*values: Any) -> Record:
    return Record(**dict(zip(Record.__slots__, values, strict=True)))
