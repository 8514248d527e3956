"""List the places of a sample, drawn in strata, in regular rows or given by the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.geo.polygons import region_centre
from eechips.planning.areas.separate_regions import SeparateRegions
from eechips.planning.imagery.periods import format_moment
from eechips.planning.place_tables import Places, json_columns
from eechips.planning.sampling.samplers import MinDistance
from eechips.planning.sampling.stratified_draw import Key, Point, PointFilter, StratifiedDraw


@dataclass(frozen=True, slots=True)
class SamplePlace:
    """A place to take a chip at.

    Attributes:
        point: longitude and latitude in degrees.
        fields: further fields of its unit.
    """

    point: Point
    fields: Mapping[str, Any] = field(default_factory=dict)


class Strategy(Protocol):
    """Choose the places of a sample."""

    def choose_places(self) -> list[SamplePlace]:
        """Return the places of the plan, in their order."""

    def replacement(self, unit: Mapping[str, Any], number: int) -> SamplePlace | None:
        """Return the n-th replacement of a unit's place; None if there is none.

        See :class:`~eechips.recipe.protocol.SupportsReplacement`.
        """


@dataclass(frozen=True)
class RandomStrategy:
    """Draw places at random in strata.

    Attributes:
        fields: further fields of the units of each stratum.
        key_field: name of the field that identifies the stratum; None if there is only one stratum.
    """

    draws: StratifiedDraw
    fields: Mapping[Key, Mapping[str, Any]]
    key_field: str | None = None

    def choose_places(self) -> list[SamplePlace]:
        """Return the places, one of each stratum in turn."""
        return [SamplePlace(point, self.fields[key]) for key, point in self.draws.interleaved()]

    def replacement(self, unit: Mapping[str, Any], number: int) -> SamplePlace | None:
        """Return a further point of the same stratum."""
        key: Key = next(iter(self.fields)) if self.key_field is None else unit[self.key_field]
        longitude, latitude = unit["coordinates"]
        point = self.draws.replacement(key, (longitude, latitude), number)
        return None if point is None else SamplePlace(point, self.fields[key])


@dataclass(frozen=True)
class FixedStrategy:
    """Use fixed places: in regular rows, or listed by the user.

    Attributes:
        point_filter: selects places; None for all.
        min_distance: drops places too near to an earlier one; None for no minimum distance.
    """

    listed: Sequence[SamplePlace]
    point_filter: PointFilter | None = None
    min_distance: MinDistance | None = None

    def choose_places(self) -> list[SamplePlace]:
        """Return the places that pass the filter and are far enough from earlier ones."""
        kept_places = list(self.listed)
        if self.point_filter is not None:
            counts = self.point_filter([place.point for place in kept_places])
            kept_places = [place for place, is_kept in zip(kept_places, counts, strict=True) if is_kept]
        if self.min_distance is not None and kept_places:
            radii = self.min_distance.radii(np.array([place.point for place in kept_places])).tolist()
            kept_places = [
                place
                for place, radius in zip(kept_places, radii, strict=True)
                if self.min_distance.add(place.point, radius)
            ]
        return kept_places

    def replacement(self, unit: Mapping[str, Any], number: int) -> SamplePlace | None:
        """Return None: fixed places have no replacements."""
        return None


def region_places(regions: SeparateRegions, *, is_clipped: bool) -> list[SamplePlace]:
    """Return the middle of the bounds of each region, with the fields of units that describe it."""
    return [
        SamplePlace(region_centre(regions.polygon_of(region)), regions.unit_fields(region, is_clipped=is_clipped))
        for region in regions.zones.ids
    ]


def places_within(places: Sequence[SamplePlace], region: BaseGeometry) -> list[SamplePlace]:
    """Return the places that lie in a region."""
    points = np.array([place.point for place in places]).reshape(-1, 2)
    shapely.prepare(region)
    return [place for place, is_in in zip(places, shapely.intersects_xy(region, *points.T), strict=True) if is_in]


def listed_places(places: Places, date_field: str | None, date_format: str | None = None) -> list[SamplePlace]:
    """Return the places of a file; columns become the units' ``properties``, and dates their ``label_date``."""
    points = shapely.get_coordinates(places.geometries).tolist()
    columns = json_columns(places.table)
    moments = places.moments(date_field, date_format).tolist() if date_field is not None else None
    listed = []
    for number, (lon, lat) in enumerate(points):
        fields: dict[str, Any] = {"properties": {name: values[number] for name, values in columns.items()}}
        if moments is not None:
            fields["label_date"] = format_moment(moments[number])
        listed.append(SamplePlace((lon, lat), fields))
    return listed
