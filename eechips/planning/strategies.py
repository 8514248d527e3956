"""Choose the places of a sample: strategies that list sites, and may replace them."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.planning.date_matching import format_moment
from eechips.planning.min_distance import MinDistance
from eechips.planning.places import Places
from eechips.planning.region_overlaps import region_centre
from eechips.planning.separate_regions import SeparateRegions
from eechips.planning.stratified_draw import Key, Point, PointFilter, StratifiedDraw


@dataclass(frozen=True, slots=True)
class SampleSite:
    """A place to take a chip at.

    Attributes:
        point: longitude and latitude in degrees.
        fields: further fields of its unit.
    """

    point: Point
    fields: Mapping[str, Any] = field(default_factory=dict)


class Strategy(Protocol):
    """Choose the places of a sample."""

    def sites(self) -> list[SampleSite]:
        """Return the places of the plan, in their order."""

    def replacement(self, unit: Mapping[str, Any], number: int) -> SampleSite | None:
        """Return the n-th replacement of a unit's place; None if there is none.

        See :class:`~eechips.recipe.protocol.SupportsReplacement`.
        """


@dataclass(frozen=True)
class RandomStrategy:
    """Draw places at random in strata.

    Attributes:
        draws: the draw.
        fields: further fields of the units of each stratum.
        key_field: name of the field that identifies the stratum; None if there is only one stratum.
    """

    draws: StratifiedDraw
    fields: Mapping[Key, Mapping[str, Any]]
    key_field: str | None = None

    def sites(self) -> list[SampleSite]:
        """Return the places, one of each stratum in turn."""
        return [SampleSite(point, self.fields[key]) for key, point in self.draws.interleaved()]

    def replacement(self, unit: Mapping[str, Any], number: int) -> SampleSite | None:
        """Return a further point of the same stratum."""
        key: Key = next(iter(self.fields)) if self.key_field is None else unit[self.key_field]
        longitude, latitude = unit["coordinates"]
        point = self.draws.replacement(key, (longitude, latitude), number)
        return None if point is None else SampleSite(point, self.fields[key])


@dataclass(frozen=True)
class FixedStrategy:
    """Use fixed places: in regular rows, or listed by the user.

    Attributes:
        listed: all places.
        point_filter: selects places; None for all.
        min_distance: drops places too near to an earlier one; None for no minimum distance.
    """

    listed: Sequence[SampleSite]
    point_filter: PointFilter | None = None
    min_distance: MinDistance | None = None

    def sites(self) -> list[SampleSite]:
        """Return the places that pass the filter and are far enough from earlier ones."""
        kept_sites = list(self.listed)
        if self.point_filter is not None:
            counts = self.point_filter([site.point for site in kept_sites])
            kept_sites = [site for site, is_kept in zip(kept_sites, counts, strict=True) if is_kept]
        if self.min_distance is not None and kept_sites:
            radii = self.min_distance.radii(np.array([site.point for site in kept_sites])).tolist()
            kept_sites = [
                site
                for site, radius in zip(kept_sites, radii, strict=True)
                if self.min_distance.add(site.point, radius)
            ]
        return kept_sites

    def replacement(self, unit: Mapping[str, Any], number: int) -> SampleSite | None:
        """Return None: fixed places have no replacements."""
        return None


def region_sites(regions: SeparateRegions, *, is_clipped: bool) -> list[SampleSite]:
    """Return the middle of the bounds of each region, with the fields of units that describe it."""
    return [
        SampleSite(region_centre(regions.polygon_of(region)), regions.unit_fields(region, is_clipped=is_clipped))
        for region in regions.zones.ids
    ]


def sites_within(sites: Sequence[SampleSite], region: BaseGeometry) -> list[SampleSite]:
    """Return the places that lie in a region."""
    points = np.array([site.point for site in sites]).reshape(-1, 2)
    shapely.prepare(region)
    return [site for site, is_in in zip(sites, shapely.intersects_xy(region, *points.T), strict=True) if is_in]


def listed_sites(places: Places, date_field: str | None, date_format: str | None = None) -> list[SampleSite]:
    """Return the places of a file; columns become the units' ``properties``, and dates their ``label_date``."""
    points = shapely.get_coordinates(places.geometries).tolist()
    columns = json_columns(places.table)
    moments = places.moments(date_field, date_format).tolist() if date_field is not None else None
    sites = []
    for number, (lon, lat) in enumerate(points):
        fields: dict[str, Any] = {"properties": {name: values[number] for name, values in columns.items()}}
        if moments is not None:
            fields["label_date"] = format_moment(moments[number])
        sites.append(SampleSite((lon, lat), fields))
    return sites


def json_columns(table: Any) -> dict[str, list[Any]]:
    """Return the columns of an Arrow table as JSON values."""
    return {name: [_json(value) for value in table.column(name).to_pylist()] for name in table.column_names}


def _json(value: Any) -> Any:
    """Return a value of a table as JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, list):
        return [_json(member) for member in value]
    if isinstance(value, dict):
        return {str(name): _json(member) for name, member in value.items()}
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
