"""Read a band of a map named ``ID:BAND``, an image or the mosaic of a collection: its pixel grid, and its values under
points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ee
import numpy as np
import numpy.typing as npt

from eechips import datasets
from eechips.errors import UnknownDatasetError, UsageError
from eechips.geo.crs import project, unproject
from eechips.geo.ellipsoid import Floats
from eechips.geo.grid import Grid, service_crs
from eechips.geo.polygons import wrap_longitudes
from eechips.planning import asset_metadata, planning_requests
from eechips.planning.imagery.band_selection import TYPE_NAMES
from eechips.planning.imagery.image_filters import PropertyFilter

POINTS_PER_REQUEST = 2_000
"""Points in one request: each may be in a different tile that the server has to read."""


@dataclass(frozen=True, slots=True)
class MapName:
    """Name of a map: ``ESA/WorldCover/v200:Map``, or ``WORLDCOVER`` for a dataset with one band.

    Attributes:
        id: id of the dataset.
        band: name; None for the dataset's only band.
    """

    id: str
    band: str | None

    def __str__(self) -> str:
        return self.id if self.band is None else f"{self.id}:{self.band}"


def parse_map(option: str, text: str) -> MapName:
    """Parse the name of a map, ``ID:BAND``; a short name stands for the id.

    Raises:
        UsageError: if the text is not the name of a map.
        UnknownDatasetError: if the id is neither an alias nor looks like an asset id.
    """
    name, _, band = text.rpartition(":") if ":" in text else (text, "", "")
    name, band = name.strip(), band.strip()
    if not name or (":" in text and not band):
        raise UsageError(f"{option} {text!r} is not ID:BAND, such as ESA/WorldCover/v200:Map")
    known = datasets.find_dataset(name)
    if known is None and "/" not in name:
        raise UnknownDatasetError(f"{option}: there is no dataset called {name!r}{datasets.suggest_datasets(name)}")
    if known is not None:
        return MapName(known.id, band or (known.default_bands[0] if len(known.default_bands) == 1 else None))
    return MapName(name, band or None)


@dataclass(frozen=True, slots=True)
class MapBand:
    """A band of a map, and the pixel grid on which it is read.

    Attributes:
        dtype: numpy name of the type of its values.
        grid: native pixel grid of the first image in the region; its size is ignored.
        within: another map; pixels count only where it is valid and not zero. None for all pixels.
        tests: conditions that images of a collection have the band; empty if all have it.
        is_cast: whether the band's type differs between images, so that it is converted to ``dtype``.
    """

    name: MapName
    kind: datasets.Kind
    dtype: str
    grid: Grid
    within: MapBand | None = None
    tests: tuple[PropertyFilter, ...] = ()
    is_cast: bool = False

    def image(self) -> ee.Image:
        """Return the band as an image."""
        if self.kind == "image":
            selected: ee.Image = ee.Image(self.name.id).select([self.name.band])
        else:
            images = asset_metadata.filter_images(self.name.id, self.kind, tests=self.tests).select([self.name.band])
            if self.is_cast:
                kind = TYPE_NAMES.get(self.dtype, self.dtype)
                images = images.map(lambda image: image.cast({self.name.band: kind}, [self.name.band]))
            selected = images.sort("system:time_start").mosaic()
        return selected if self.within is None else selected.updateMask(self.within.image().neq(0))

    def centres(self, points: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], Floats]:
        """Return the pixels that points (n, 2) lie in: columns and rows, and their centres in degrees, (n, 2)."""
        a, b, c, d, e, f = self.grid.transform
        xy = project(self.grid.crs, points) - (c, f)
        pixels = np.floor(xy @ np.linalg.inv(np.array([[a, b], [d, e]])).T).astype(np.int64)
        return pixels, self.locate(pixels)

    def locate(self, pixels: npt.NDArray[np.int64]) -> Floats:
        """Return the centres of pixels (n, 2: column and row) in degrees, (n, 2), longitudes within -180 to 180."""
        a, b, c, d, e, f = self.grid.transform
        xy = (pixels + 0.5) @ np.array([[a, b], [d, e]]).T + (c, f)
        lonlat = unproject(self.grid.crs, xy)
        lonlat[:, 0] = wrap_longitudes(lonlat[:, 0])
        return lonlat

    def values(self, points: Sequence[tuple[float, float]]) -> list[float | None]:
        """Return the values of the pixels under points; None where they are masked or the map has no pixel."""
        cure = f"a map that is simpler than {self.name}, or a smaller region (`roi`)"
        return list(planning_requests.request_each(points, self._ask, size=POINTS_PER_REQUEST, cure=cure))

    def counts(self, points: Sequence[tuple[float, float]]) -> list[bool]:
        """Return for each point whether its pixel is valid and not zero."""
        return [value is not None and value != 0 for value in self.values(points)]

    def _ask(self, points: Sequence[tuple[float, float]]) -> list[float | None]:
        """Send one request."""

        def place(row: Any) -> Any:
            numbers = ee.List(row)
            return ee.Feature(ee.Geometry.Point(numbers.slice(0, 2)), {"n": numbers.get(2)})

        rows = ee.List([[lon, lat, n] for n, (lon, lat) in enumerate(points)])
        reduced = self.image().reduceRegions(
            collection=ee.FeatureCollection(rows.map(place)),
            reducer=ee.Reducer.first(),
            crs=service_crs(self.grid.crs),
            crsTransform=list(self.grid.transform),
        )
        pairs: Any = reduced.reduceColumns(ee.Reducer.toList(2), ["n", "first"]).get("list").getInfo()
        values: list[float | None] = [None] * len(points)
        for n, value in pairs:
            values[int(n)] = value
        return values


def fetch_map(option: str, name: MapName, region: ee.Geometry | None) -> MapBand:
    """Fetch the metadata of a map.

    Args:
        option: name of the option, for messages.
        region: in which the map will be read; None for anywhere.

    Raises:
        UnknownDatasetError: if the dataset or band does not exist.
        UsageError: if it has several bands and none is named, or no image in the region.
    """
    known = datasets.find_dataset(name.id)
    needed = () if name.band is None else (name.band,)
    about = asset_metadata.fetch_metadata(name.id, known.kind if known else None, region, needed=needed)
    if name.band is None and len(about.bands) > 1:
        there = ", ".join(band.name for band in about.bands[:12])
        raise UsageError(f"{option} {name.id}: say which band, as {name.id}:{about.bands[0].name}; there are {there}")
    band = about.select([name.band])[0] if name.band else about.bands[0]
    is_cast = band.name in dict(about.casts)
    return MapBand(MapName(about.id, band.name), about.kind, band.dtype, band.grid, tests=about.tests, is_cast=is_cast)


def is_class(value: float) -> bool:
    """Return whether a value may be a class: a whole number."""
    return math.isfinite(value) and float(value).is_integer()
