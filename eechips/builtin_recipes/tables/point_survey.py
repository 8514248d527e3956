"""Summarise a dataset for ``eechips points``: the number of its images, and their pixel grids."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import ee
import numpy as np
import shapely

from eechips.geo.ellipsoid import Geometries
from eechips.geo.grid import Grid, nominal_scale
from eechips.planning import asset_metadata
from eechips.planning.areas import place_groups
from eechips.planning.imagery import inventory
from eechips.planning.imagery.expressions import box_around_all
from eechips.planning.imagery.inventory import SceneQuery

Mode = Literal["image", "each", "paired", "composite"]
"""The source of a row's values: a single image; each image; the image nearest to the row's date; a composite."""

DAY = 86_400_000.0
"""Milliseconds."""

_PROBES = 8  # places at which the images are counted
_MOST_SCENES = 5 * place_groups.MOST_IMAGES  # images whose grids are compared
_CLOSE = 1e-6  # of a pixel


@dataclass(frozen=True, kw_only=True)
class SourceSummary:
    """The properties of a dataset that determine the division of places into cells.

    Attributes:
        mode: source of a row's values.
        bands: names, in order.
        dtypes: numpy names of their types.
        groups: bands grouped by grid, in order.
        pixel: edge of the smallest pixels in metres.
        grid: grid of the first band of the first image.
        images: maximum number of images at a place, from some of the places.
        is_tiled: whether images contain some of the places only.
        is_aligned: whether all images are known to have the same pixel grid, band by band.
        ranges: first and last day (exclusive) of the images of each request; None for no bound.
        per_day: images a day at a place, if rows have dates.
        per_place: days in the interval around each date.
        unit_fields: the part of each unit that says how images differ; see ``AssetMetadata.unit_fields``.
    """

    mode: Mode
    bands: tuple[str, ...]
    dtypes: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    pixel: float
    grid: Grid
    images: int = 1
    is_tiled: bool = False
    is_aligned: bool = False
    ranges: tuple[tuple[str | None, str | None], ...] = ((None, None),)
    per_day: float = 0.0
    per_place: float = 0.0
    unit_fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cost(self) -> place_groups.Cost:
        """Cost of a place in a request."""
        images = {
            "image": 1.0,
            "composite": float(self.images),
            "each": float(min(self.images, place_groups.MOST_IMAGES)),
            "paired": max(1.0, self.per_day * self.per_place),
        }[self.mode]
        values = len(self.bands) * (images if self.mode in ("each", "paired") else 1.0)
        return place_groups.Cost(
            values=values, images=images, tile=place_groups.TILE * self.pixel, per_day=self.per_day
        )

    def to_json(self) -> dict[str, Any]:
        """Return the part of each unit that describes the dataset."""
        return {
            "mode": self.mode,
            "bands": list(self.bands),
            "dtypes": list(self.dtypes),
            "groups": [list(group) for group in self.groups],
            "pixel": self.pixel,
            "is_tiled": self.is_tiled,
            "is_aligned": self.is_aligned,
            **self.unit_fields,
        }

    @property
    def shared(self) -> Grid | None:
        """The grid in whose pixels points have equal values in every image and band; None if unknown."""
        return self.grid if self.is_aligned and len(self.groups) == 1 else None


def summarize_source(bands: Sequence[asset_metadata.Band], mode: Mode) -> SourceSummary:
    """Summarise a dataset without a request."""
    return SourceSummary(
        mode=mode,
        bands=tuple(band.name for band in bands),
        dtypes=tuple(band.dtype for band in bands),
        groups=_groups(bands),
        pixel=min(nominal_scale(band.grid) for band in bands),
        grid=bands[0].grid,
        is_aligned=mode == "image",
    )


def count_images(
    summary: SourceSummary,
    queries: Sequence[SceneQuery],
    places: Geometries,
    days: tuple[str | None, str | None],
    reach: float,
) -> SourceSummary:
    """Add the number of a collection's images, and whether they share a pixel grid, with two or more requests.

    Args:
        queries: images of the collection, on these days and with the needed bands: one for each group of bands, with
            the stored band whose pixel grid it has.
        places: geometries in longitude and latitude, shape (n,).
        days: first and last day (exclusive) of the images; None for no bound.
        reach: maximum time between an image and a place's date, in milliseconds; None if places have no dates.
    """
    probes = places[np.unique(np.linspace(0, len(places) - 1, _PROBES).astype(int))]
    at = shapely.get_coordinates(shapely.centroid(probes)).tolist()
    images = queries[0].collection
    nearby = images.filterBounds(ee.Geometry.MultiPoint(at))
    asked = [
        *(images.filterBounds(ee.Geometry.Point(xy)).size() for xy in at),
        nearby.size(),
        nearby.aggregate_min("system:time_start"),
        nearby.aggregate_max("system:time_start"),
    ]
    answer: Any = ee.List(asked).getInfo()
    *counts, union, earliest, latest = answer
    summary = replace(summary, images=max(1, *counts), is_tiled=union > max(counts))
    if earliest is not None and summary.mode == "paired":
        covered = max(1.0, (latest - earliest) / DAY)
        summary = replace(summary, per_day=max(counts) / covered, per_place=2 * reach / DAY)
    if earliest is not None and summary.mode == "each" and summary.images > place_groups.MOST_IMAGES:
        summary = replace(summary, ranges=_ranges(summary.images, earliest, latest, days))
    return summary if union > _MOST_SCENES else replace(summary, is_aligned=_are_aligned(queries, places))


def _are_aligned(queries: Sequence[SceneQuery], places: Geometries) -> bool:
    """Return whether all images of each query that meet the box around all places share a pixel grid."""
    box = box_around_all(places)  # without one, more images do no harm
    scenes = []
    for query in queries:
        there = query.collection if box is None else query.collection.filterBounds(box)
        scenes.append(inventory.list_scenes(replace(query, collection=there.limit(_MOST_SCENES + 1))))
    return all(some and len(some) <= _MOST_SCENES and share_pixels(scene.grid for scene in some) for some in scenes)


def share_pixels(grids: Iterable[Grid]) -> bool:
    """Return whether the pixels of grids coincide exactly where the grids overlap."""
    first: Grid | None = None
    for grid in grids:
        first = first or grid
        a, b, c, d, e, f = first.transform
        other = grid.transform
        if grid.crs != first.crs or (a, b, d, e) != (other[0], other[1], other[3], other[4]):
            return False
        x, y, determinant = other[2] - c, other[5] - f, a * e - b * d
        column, row = (e * x - b * y) / determinant, (a * y - d * x) / determinant
        if abs(column - round(column)) > _CLOSE or abs(row - round(row)) > _CLOSE:
            return False
    return True


def day_of(moment: float) -> str:
    """Return the day (UTC) of a moment in milliseconds, YYYY-MM-DD."""
    return str(np.datetime64(int(moment), "ms").astype("datetime64[D]"))


def _groups(bands: Sequence[asset_metadata.Band]) -> tuple[tuple[str, ...], ...]:
    """Return the names of the bands, grouped by pixel grid."""
    groups: list[tuple[Grid, list[str]]] = []
    for band in bands:
        for grid, names in groups:
            if share_pixels((grid, band.grid)):
                names.append(band.name)
                break
        else:
            groups.append((band.grid, [band.name]))
    return tuple(tuple(names) for _, names in groups)


def _ranges(
    images: int, earliest: float, latest: float, days: tuple[str | None, str | None]
) -> tuple[tuple[str | None, str | None], ...]:
    """Divide days into ranges with about as many images each as a request may have rows."""
    start, end = days
    moments = np.linspace(earliest, latest + DAY, math.ceil(images / place_groups.MOST_IMAGES) + 1)[1:-1]
    inside = (start or asset_metadata.FIRST_DAY), (end or asset_metadata.LAST_DAY)
    edges = sorted({edge for edge in map(day_of, moments) if inside[0] < edge < inside[1]})
    return tuple(zip([start, *edges], [*edges, end], strict=True))
