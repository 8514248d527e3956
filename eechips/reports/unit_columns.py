"""Read the units of a run into columns for a report, of more than 100,000 a random sample: location, state, stratum,
fields.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import shapely

from eechips.errors import UsageError
from eechips.geo.crs import is_usable
from eechips.geo.ellipsoid import Floats, Geometries
from eechips.geo.footprints import footprints
from eechips.geo.grid import Grid
from eechips.manifest.export import planned_grid, recorded_grid
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.recipe.units import COMPLETES
from eechips.storage import ID_LENGTH, name_fields
from eechips.storage.untrusted_files import read_parquet
from eechips.text.progress_bar import progress_bar
from eechips.web.redaction import redact_unit

MOST_UNITS = 100_000
"""Maximum number of units on a page; of more, a random sample is used."""
MOST_CATEGORIES = 1000
"""Maximum different values of a category."""

_FEW = 30  # maximum different integers that are taken as classes, not as quantities
_MOST_TEXT = 500_000  # maximum characters of a column of labels
_READ = (
    "lower(hex(id))", "unit", "state", "file", "bytes", "valid_fraction", "width", "height", "crs", "transform",
    "dates", "error_class", "error",
)  # fmt: skip
# Fields with the location or the id of a unit, which are not shown as columns.
_PLACES = frozenset({"lon", "lat", "longitude", "latitude", "x", "y", "column", "row", "width", "height", "scale"})
_NAMES = frozenset({"id", "index", "kind", "crs", "dtype", "mode", "date", "system:index", COMPLETES})
_UNGROUPED = frozenset({"image", "latest", "images", "start", "end", "time", "outline"})
_LENGTH = 200  # characters of a message

T = TypeVar("T")
Kind = Literal["category", "number", "text"]


@dataclass(frozen=True, slots=True, eq=False)
class UnitColumn:
    """A column with a value for each unit.

    Attributes:
        kind: ``category`` for classes, ``number`` for quantities, ``text`` for labels.
        values: values of each unit; None or NaN for units without a value.
    """

    name: str
    kind: Kind
    values: Sequence[Any]

    def categories(self) -> list[Any]:
        """Different values, the most frequent first."""
        counted = Counter(value for value in self.values if value is not None)
        return sorted(counted, key=lambda value: (-counted[value], str(value)))


@dataclass(frozen=True, slots=True, eq=False)
class UnitColumns:
    """The units of a run as columns, in the order of the plan.

    Attributes:
        total: units in the plan; of a long plan, more than in these columns.
        ids: first digits of the units' ids.
        files: paths below the run's folder; None without a file.
        bytes: sizes of the files; 0 without a file.
        valid: share of pixels that are not masked; NaN if unknown.
        errors: class and message of the units' errors; None without an error.
        centres: longitude and latitude, (n, 2); NaN if unknown.
        outlines: polygons in longitude and latitude; None for units with a point only.
        tallies: number of units by value and state for each category, of all units of the plan.
        completing: numbers of units with further files of others' chips.
    """

    total: int
    ids: Sequence[str]
    states: Sequence[str]
    files: Sequence[str | None]
    bytes: npt.NDArray[np.int64]
    valid: Floats
    errors: Sequence[str | None]
    centres: Floats
    outlines: Geometries
    columns: Sequence[UnitColumn]
    tallies: Mapping[str, Mapping[tuple[Any, str], int]] = field(default_factory=dict)
    completing: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def has_places(self) -> bool:
        """Return whether any unit has a location."""
        return bool(np.isfinite(self.centres).all(axis=1).any())

    def column(self, name: str) -> UnitColumn:
        """Return the column of a name.

        Raises:
            UsageError: if it does not exist; the message lists the columns.
        """
        for column in self.columns:
            if column.name == name:
                return column
        there = ", ".join(column.name for column in self.columns) or "none"
        raise UsageError(f"units have no column {name!r}; there are: {there}")

    @property
    def stratum(self) -> UnitColumn | None:
        """The best category to group units by: names before numbers, in the order of the units' own fields.

        Which images or days a chip shows is none, nor the hash of an outline.
        """
        sorting = [
            column
            for column in self.columns
            if column.name in self.tallies
            and column.name not in _UNGROUPED
            and 2 * len(column.categories()) <= len(self.ids)
        ]
        named = [column for column in sorting if any(isinstance(value, str) for value in column.values)]
        return next(iter(named or sorting), None)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the ledger."""

    id: str
    unit: Mapping[str, Any]
    state: str
    file: str | None
    bytes: int | None
    valid: float | None
    grid: Grid | None
    date: str | None
    error: str | None
    fields: Mapping[str, Any]


def read_units(folder: Path, *, seed: int = 0, most: int = MOST_UNITS, quiet: bool = False) -> UnitColumns:
    """Read a run's units; of more than ``most``, a random selection by the seed."""
    with Ledger(folder / LEDGER_NAME, readonly=True) as ledger:
        total = sum(ledger.counts().values())
        kept = draw_numbers(total, most, seed)
        tally = _Tally()
        rows = []
        report_rows = ledger.rows(_READ)
        for number, raw in enumerate(progress_bar(total, "units", quiet=quiet, things=report_rows, is_kept=False)):
            row = _row(number, raw)
            tally.add(row.fields, row.state)
            if kept is None or number in kept:
                rows.append(replace(row, fields=_fields(redact_unit(row.unit), row.id, number)))
    columns = _columns(rows, tally, _splits(folder))
    outlines, centres = _places(rows)
    sorting = {column.name for column in columns if column.kind == "category"}
    return UnitColumns(
        total=total,
        ids=[row.id[:ID_LENGTH] for row in rows],
        states=[row.state for row in rows],
        files=[row.file for row in rows],
        bytes=np.array([row.bytes or 0 for row in rows], dtype=np.int64),
        valid=np.array([np.nan if row.valid is None else row.valid for row in rows], dtype=np.float64),
        errors=[row.error for row in rows],
        centres=centres,
        outlines=outlines,
        columns=columns,
        tallies={
            name: _without_secrets(name, counts, rows) for name, counts in tally.counts.items() if name in sorting
        },
        completing=frozenset(number for number, row in enumerate(rows) if COMPLETES in row.unit),
    )


class _Tally:
    """Count units by the values of fields with few different values."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[tuple[Any, str]]] = {}
        self._values: dict[str, set[Any]] = {}
        self._left_out: set[str] = set()

    def add(self, fields: Mapping[str, Any], state: str) -> None:
        for name, value in fields.items():
            if name in self._left_out:
                continue
            values = self._values.setdefault(name, set())
            values.add(value)
            if len(values) > MOST_CATEGORIES:
                self._left_out.add(name)
                self.counts.pop(name, None)
                continue
            self.counts.setdefault(name, Counter())[value, state] += 1


def _without_secrets(
    name: str, counts: Mapping[tuple[Any, str], int], rows: Sequence[_Row]
) -> dict[tuple[Any, str], int]:
    """Return the counts of a field's values as its column has them."""
    shown: Counter[tuple[Any, str]] = Counter()
    part = "properties" if any(name in (row.unit.get("properties") or ()) for row in rows) else "value"
    for (value, state), count in counts.items():
        shown[redact_unit({part: {name: value}})[part][name], state] += count
    return shown


def draw_numbers(total: int, most: int, seed: int) -> frozenset[int] | None:
    """Return the numbers of the sampled units; None for all."""
    if total <= most:
        return None
    return frozenset(np.random.default_rng(seed).choice(total, most, replace=False).tolist())


def _row(number: int, raw: tuple[Any, ...]) -> _Row:
    identifier, text, state, file, size, valid, width, height, crs, transform, dates, error_class, error = raw
    unit = json.loads(text)
    unit = unit if isinstance(unit, dict) else {"value": unit}
    fields = _fields(unit, identifier, number)
    listed = json.loads(dates) if dates else []
    message = None if error_class is None else f"{error_class}: {error}"[:_LENGTH]
    grid = recorded_grid(crs, transform, width, height) or planned_grid(unit) or planned_grid(unit.get("value"))
    date = listed[0][:10] if listed else None
    return _Row(identifier, unit, state, file, size, valid, grid, date, message, fields)


def _fields(unit: Mapping[str, Any], identifier: str, number: int) -> dict[str, Any]:
    return {
        name: value
        for name, value in name_fields(unit, identifier, number).items()
        if name not in _NAMES and name.lower() not in _PLACES and not name.startswith("_")
    }


def _places(rows: Sequence[_Row]) -> tuple[Geometries, Floats]:
    """Return outlines and centres of units."""
    # Recipes may name any CRS.
    outlines = footprints([row.grid if row.grid is not None and is_usable(row.grid.crs) else None for row in rows])
    for number in np.flatnonzero(outlines == None).tolist():  # noqa: E711 - element by element
        if (bounds := bounds_of(rows[number].unit)) is not None:
            outlines[number] = shapely.box(*bounds)
    centres = centres_of(outlines)
    for number, row in enumerate(rows):
        if (place := location_of(row.unit)) is not None:
            centres[number] = place
    return outlines, centres


def _columns(rows: Sequence[_Row], tally: _Tally, splits: Mapping[str, str]) -> list[UnitColumn]:
    """Return columns of the units' own fields, their dates, and their splits."""
    names = dict.fromkeys(name for row in rows for name in row.fields)
    candidate_columns = [_column(name, [row.fields.get(name) for row in rows], tally) for name in names]
    columns = _without_doubles([column for column in candidate_columns if column is not None])
    dates = [row.date for row in rows]
    if any(dates):
        few = len(set(dates)) <= MOST_CATEGORIES
        columns.append(UnitColumn("date", "category" if few else "text", dates))
    if splits and "split" not in names:
        columns.append(UnitColumn("split", "category", [splits.get(row.id) for row in rows]))
    return columns


def _column(name: str, values: list[Any], tally: _Tally) -> UnitColumn | None:
    known = [value for value in values if value is not None]
    different = set(known)
    if len(different) < 2:
        return None  # the same for all units
    if any(isinstance(value, str) for value in known):
        values = [None if value is None else str(value) for value in values]
        if name in tally.counts and (len(different) <= max(_FEW, len(known) // 2)):
            return UnitColumn(name, "category", values)
        return UnitColumn(name, "text", values) if sum(map(len, map(str, different))) <= _MOST_TEXT else None
    is_whole = all(isinstance(value, int) for value in known)
    if is_whole and len(different) <= _FEW:
        return UnitColumn(name, "category", values)
    return UnitColumn(name, "number", [np.nan if value is None else float(value) for value in values])


def _without_doubles(columns: Sequence[UnitColumn]) -> list[UnitColumn]:
    """Return columns without numeric duplicates of text columns, such as eco_id beside eco_name."""
    named = [column for column in columns if column.kind == "category" and isinstance(column.categories()[0], str)]
    kept = []
    for column in columns:
        if column.kind == "category" and column not in named:
            pairs = [len(set(zip(column.values, other.values, strict=True))) for other in named]
            if any(
                count == len(set(column.values)) == len(set(other.values))
                for count, other in zip(pairs, named, strict=True)
            ):
                continue
        kept.append(column)
    return kept


def _splits(folder: Path) -> dict[str, str]:
    """Split of each unit by its id, if the run was split."""
    path = folder / "splits.parquet"
    if not path.is_file():
        return {}
    table = read_parquet(path, ["id", "split"])
    return dict(zip(table["id"].to_pylist(), table["split"].to_pylist(), strict=True))


def _layers(unit: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the mappings of a unit that may contain its location."""
    value = unit.get("value")
    for layer in (unit, value, unit.get("properties"), unit.get("geometry")):
        if isinstance(layer, Mapping):
            yield layer
    if isinstance(value, Mapping):
        for name in ("properties", "geometry"):
            if isinstance(value.get(name), Mapping):
                yield value[name]


def centres_of(outlines: Geometries) -> Floats:
    """Return longitude and latitude of the middle of outlines, (n, 2); NaN without an outline."""
    centres = np.full((len(outlines), 2), np.nan)
    known = outlines != None  # noqa: E711 - element by element
    if known.any():
        # A point in the largest part, since the centroid of parts on both sides of the antimeridian is far away.
        largest = [max(shapely.get_parts(outline), key=shapely.area) for outline in outlines[known]]
        centres[known] = shapely.get_coordinates(shapely.centroid(largest))
    return centres


def location_of(unit: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the longitude and latitude in a unit; None if it has none."""
    if (place := _lonlat(unit.get("value"))) is not None:
        return place
    for layer in _layers(unit):
        for candidate in (
            layer.get("coordinates"),
            [layer.get("lon"), layer.get("lat")],
            [layer.get("longitude"), layer.get("latitude")],
        ):
            if (place := _lonlat(candidate)) is not None:
                return place
    return None


def bounds_of(unit: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """Return west, south, east and north in a unit; None if it has none."""
    for layer in _layers(unit):
        bounds = layer.get("bounds")
        if isinstance(bounds, list) and len(bounds) == 4 and _lonlat(bounds[:2]) and _lonlat(bounds[2:]):
            west, south, east, north = map(float, bounds)
            return (west, south, east, north) if west <= east and south <= north else None
    return None


def _lonlat(value: Any) -> tuple[float, float] | None:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return None
    if not all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in value):
        return None
    return (float(value[0]), float(value[1])) if abs(value[0]) <= 360 and abs(value[1]) <= 90 else None
