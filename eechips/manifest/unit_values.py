"""Derive manifest columns and geometries from the values of units."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from eechips.errors import UsageError
from eechips.geo.grid import Grid
from eechips.manifest.unit_record import Column

_MOST_COLUMNS = 200  # of units' own; what more there is stands in the column ``unit``
_LARGEST = 1 << 63
_EXACT = 1 << 53  # up to which float64 has all integers
GEOMETRY = "geometry"
GEOMETRY_COLUMN = Column(
    "WKB in OGC:CRS84 (longitude, latitude): the outline of the pixels if their grid is known, otherwise the unit's own"
    " geometry.",
    name=GEOMETRY,
    value_type=bytes,
)
GEO_METADATA = {
    b"geo": json.dumps(
        {
            "version": "1.1.0",
            "primary_column": GEOMETRY,
            "columns": {GEOMETRY: {"encoding": "WKB", "geometry_types": []}},  # in OGC:CRS84, of any type
        }
    ).encode()
}
"""Metadata of a GeoParquet file: https://geoparquet.org/releases/v1.1.0/."""


def unit_values(unit: Mapping[str, Any]) -> dict[str, Any]:
    """Return the texts, numbers and truth values of a unit and its properties."""
    value = unit.get("value")
    layers = (unit, value, unit.get("properties"), value.get("properties") if isinstance(value, Mapping) else None)
    fields: dict[str, Any] = {}
    for layer in layers:
        if isinstance(layer, Mapping):
            fields.update(
                (name, layer_value) for name, layer_value in layer.items() if isinstance(layer_value, (str, int, float))
            )
    if fields.get("kind") == unit.get("kind"):
        fields.pop("kind", None)
    return fields


class ValueColumns:
    """The columns of the units' own values: their names and types, found in a first pass over all units.

    Attributes:
        names: names of the columns, by name of the value.

    Args:
        units: as JSON.
        taken: names of the table's other columns; a value of such a name is in a column ``unit_<name>``.
    """

    def __init__(self, units: Iterable[str], taken: Collection[str]) -> None:
        kinds: dict[str, set[type]] = {}
        wide: set[str] = set()
        for unit in units:
            for name, value in unit_values(json.loads(unit)).items():
                is_large = isinstance(value, int) and not -_LARGEST <= value < _LARGEST
                kinds.setdefault(name, set()).add(str if is_large else type(value))
                if isinstance(value, int) and abs(value) > _EXACT:
                    wide.add(name)
                if len(kinds) > _MOST_COLUMNS:
                    del kinds[name]
        for name in wide & kinds.keys():
            if float in kinds[name]:  # which would lose digits of integers
                kinds[name].add(str)
        self._kinds = kinds
        self.names: dict[str, str] = {}
        for name in kinds:
            column = name
            while column in taken or column in self.names.values():
                column = f"unit_{column}"
            self.names[name] = column

    def fields(self) -> list[Any]:
        """Return the columns, as fields of a pyarrow schema."""
        return [(column, self._type(name)) for name, column in self.names.items()]

    def rows(self, units: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
        """Return the values of some units, column by column."""
        unit_rows = [unit_values(unit) for unit in units]
        return [self._column(name, [values.get(name) for values in unit_rows]) for name in self.names]

    def _column(self, name: str, values: list[Any]) -> list[Any]:
        if self._kinds[name] <= {int, float} and float in self._kinds[name]:
            return [None if v is None else float(v) for v in values]
        if len(self._kinds[name]) > 1 or str in self._kinds[name]:
            return [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
        return values

    def _type(self, name: str) -> Any:
        import pyarrow

        kinds = self._kinds[name]
        if kinds == {bool}:
            return pyarrow.bool_()
        if kinds == {int}:
            return pyarrow.int64()
        return pyarrow.float64() if kinds <= {int, float} else pyarrow.string()


def unit_geometries(units: Sequence[Mapping[str, Any]], grids: Sequence[tuple[Any, ...]]) -> list[bytes | None]:
    """Locate units as WKB in longitude and latitude: by the outline of their pixels, or by their own geometry.

    Args:
        grids: CRS, transform (JSON), width and height of the result of each, as far as they are known.
    """
    import shapely

    outlines = _outlines([_grid(*grid_values) for grid_values in grids])
    geometries = [outline or _geometry(unit) for outline, unit in zip(outlines, units, strict=True)]
    return [None if wkb is None else bytes(wkb) for wkb in shapely.to_wkb(geometries)] if geometries else []


def _outlines(grids: Sequence[Grid | None]) -> Sequence[Any]:
    from eechips.geo.footprints import footprints  # which loads pyproj: workers of queues write no manifest

    try:
        return list(footprints(grids))
    except UsageError:  # a CRS is unknown: of one of them
        return [outline for grid in grids for outline in _outlines([grid])] if len(grids) > 1 else [None]


def _grid(crs: str | None, transform: str | None, width: int | None, height: int | None) -> Grid | None:
    if crs is None or transform is None or not width or not height:
        return None
    try:
        return Grid(crs, tuple(json.loads(transform)), width, height)
    except (ValueError, TypeError):
        return None


def _geometry(unit: Mapping[str, Any]) -> Any:
    """Return the geometry that a unit has as GeoJSON, or as coordinates of a point."""
    import shapely
    import shapely.geometry

    value = unit.get("value")
    for fields in (unit, value if isinstance(value, Mapping) else {}):
        geometry, coordinates = fields.get("geometry"), fields.get("coordinates")
        try:
            if isinstance(geometry, Mapping):
                return shapely.geometry.shape(geometry)
            if isinstance(coordinates, Sequence) and len(coordinates) == 2:
                return shapely.Point(float(coordinates[0]), float(coordinates[1]))
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, shapely.errors.GEOSException):
            continue  # it is called so, and is none
    return None
