"""Describe the region that images are clipped to as a part of a template."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import ee
import shapely

from eechips.planning.region_overlaps import region_polygon
from eechips.planning.regions import AssetRegion, Region, planar_geometry
from eechips.planning.separate_regions import SeparateRegions
from eechips.recipe import Unit


@dataclass(frozen=True, slots=True)
class ClipArea:
    """A region as part of a template: hashable, and converted to a geometry without a request.

    Attributes:
        wkt: the polygons of a box or a file.
        table: asset, field and value of features on the server.
    """

    wkt: str | None = None
    table: tuple[str, str, str] | None = None

    @classmethod
    def of(cls, region: Region, unit: Unit | None = None) -> ClipArea:
        """Return the area of a region.

        Args:
            region: the region, or several.
            unit: which of several regions it is.
        """
        if isinstance(region, SeparateRegions) and unit is not None:
            return cls(wkt=shapely.to_wkt(region.polygon_of(unit["region"]), rounding_precision=-1))
        if isinstance(region, AssetRegion):
            return cls(table=(region.asset, region.field, region.value))
        return cls(wkt=shapely.to_wkt(region_polygon(region), rounding_precision=-1))

    def geometry(self) -> ee.Geometry:
        """Return the geometry on the server."""
        if self.table is None:
            return planar_geometry(shapely.from_wkt(self.wkt))
        asset, name, value = self.table
        same = [ee.Filter.eq(name, value)]
        with contextlib.suppress(ValueError):  # the column may contain numbers or text
            same.append(ee.Filter.eq(name, float(value)))
        geometry: ee.Geometry = ee.FeatureCollection(asset).filter(ee.Filter.Or(*same)).geometry()
        return geometry


def region_content(region: Region) -> dict[str, Any]:
    """Return the parameters of a region that results clipped to it depend on: of a file its content, wherever it is."""
    parameters = region.parameters
    return {name: parameters[name] for name in parameters if f"{name}_sha256" not in parameters}
