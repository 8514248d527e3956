"""Serve tables of polygons that are computed on first use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import shapely

from eechips_local.demo import synthetic_label
from eechips_local.evaluation.asset_model import FeatureRow, Query
from eechips_local.geometry.longitude_boxes import box_meets

Rows = tuple[FeatureRow, ...]


@dataclass(frozen=True, slots=True)
class DemoTable:
    """A ``TableAsset``.

    Attributes:
        id: the full Earth Engine id.
        columns: Earth Engine types of the columns.
        draw: a module-level function that draws all rows, cached, in the order of their indices.
        title: as in the catalogue.
    """

    id: str
    columns: Mapping[str, str]
    draw: Callable[[], Rows]
    title: str

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the table."""
        return synthetic_label.marked({"title": self.title})

    def rows(self, query: Query) -> Iterator[FeatureRow]:
        """See ``TableAsset.rows``. Rows have no date, so a query for a time finds none."""
        if query.start is not None or query.end is not None:
            return
        for row in self.draw():
            if all(_value(row, name) == value for name, value in query.equals.items()) and (
                query.bounds is None or (row.geometry is not None and box_meets(row.geometry.bounds, query.bounds))
            ):
                yield row


def _value(row: FeatureRow, name: str) -> Any:
    return row.index if name == "system:index" else row.properties.get(name)


def index_of(number: int) -> str:
    """``system:index`` of ingested tables: 20 hexadecimal digits that count up."""
    return f"{number:020x}"


def measures(geometry: shapely.Geometry) -> tuple[float, float]:
    """Return the area in square degrees and perimeter in degrees, as shapefiles store them."""
    return round(float(geometry.area), 9), round(float(geometry.length), 9)
