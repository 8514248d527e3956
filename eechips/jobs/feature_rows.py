"""Turn the features of a cell into columns: an index, the properties, and the geometry as WKB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
import shapely.geometry
from shapely.geometry.base import BaseGeometry

from eechips.formats.table import to_plain_value, unify_types
from eechips.planning.feature_cells import FeatureCell, anchors

INDEX, GEOMETRY, TABLE = "system:index", "geometry", "table"
"""Columns beside the properties: id of the feature, its geometry, and of an index of tables the id of its table."""
_GEO = ".geo"
_PREFIX = "property_"  # of a property that is called as one of the columns beside them


def column_of(name: str, *, has_table: bool) -> str:
    """Return the column of a property; different properties have different columns.

    Args:
        name: name of the property.
        has_table: whether there is a column of tables.
    """
    own = (GEOMETRY, TABLE) if has_table else (GEOMETRY,)
    bare = name
    while bare.startswith(_PREFIX):
        bare = bare.removeprefix(_PREFIX)
    return f"{_PREFIX}{name}" if bare in own else name


@dataclass(frozen=True, slots=True, eq=False)
class CellRows:
    """The features that belong to a cell, as columns.

    Attributes:
        cell: the cell; features of its neighbours are dropped.
        region: polygons; features outside are dropped.
        table: id of the table, which becomes a column; None for no column.
        columns: names and order of the properties; None for all, in order of appearance.
    """

    cell: FeatureCell
    region: BaseGeometry
    table: str | None = None
    columns: tuple[str, ...] | None = None

    def columns_of(self, rows: list[dict[str, Any]]) -> Mapping[str, Sequence[Any]]:
        """Return columns of the features that belong to the cell.

        Args:
            rows: properties, ``system:index`` and ``.geo`` of each feature. Parts of a cell that was divided may
                return the same feature twice.
        """
        rows = _without_repeated(rows)
        geometries = _shapes([row[_GEO] for row in rows])
        belongs = self.cell.contains(anchors(geometries, self.region))
        kept = [row for row, own in zip(rows, belongs.tolist(), strict=True) if own]
        names = self.columns
        if names is None:
            names = tuple(name for name in dict.fromkeys(n for row in kept for n in row) if name not in (INDEX, _GEO))
        columns: dict[str, Sequence[Any]] = {INDEX: [row[INDEX] for row in kept]}
        if self.table is not None:
            columns[TABLE] = [self.table] * len(kept)
        for name in names:
            if name in (INDEX, _GEO):
                continue
            columns[column_of(name, has_table=self.table is not None)] = unify_types(
                [to_plain_value(row.get(name)) for row in kept]
            )
        columns[GEOMETRY] = shapely.to_wkb(geometries[belongs]).tolist()
        return columns


def _without_repeated(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows without those that are equal to an earlier one."""
    seen: dict[Any, list[dict[str, Any]]] = {}
    distinct_rows = []
    for row in rows:
        alike = seen.setdefault(row[INDEX], [])
        if row not in alike:
            alike.append(row)
            distinct_rows.append(row)
    return distinct_rows


def _shapes(values: Sequence[Any]) -> npt.NDArray[np.object_]:
    """Return GeoJSON geometries as shapes, shape (n,); None for features without one."""
    shapes = np.full(len(values), None, dtype=object)
    is_point = np.array([value is not None and value["type"] == "Point" for value in values], dtype=bool)
    if is_point.any():
        points = [value["coordinates"][:2] for value, there in zip(values, is_point, strict=True) if there]
        shapes[is_point] = shapely.points(np.array(points, dtype=np.float64))
    for index in np.flatnonzero(~is_point).tolist():
        if values[index] is not None:
            shapes[index] = shapely.geometry.shape(values[index])
    return shapes
