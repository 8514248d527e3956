"""Make the expressions of chips as templates: a mosaic of a dataset's images around a place (which is on top, where it
is masked), one image, or a period.

Numbers and texts that differ between chips are values of the template; see
:class:`eechips.recipe.results.Template`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ee
import shapely

from eechips.datasets import Kind
from eechips.geo.crs import unproject
from eechips.geo.ellipsoid import Geometries
from eechips.geo.grid import Grid, nominal_scale, service_crs
from eechips.planning import asset_metadata
from eechips.planning.areas.region_overlaps import ClipArea
from eechips.planning.imagery.band_selection import TYPE_NAMES, BandSelection, convert_bands
from eechips.planning.imagery.image_filters import PropertyFilter
from eechips.planning.imagery.image_masking import CloudMask
from eechips.planning.imagery.image_reducers import is_fractional, make_reducer
from eechips.planning.imagery.periods import DateMatch
from eechips.recipe.results import Template

_INSET = 0.25  # of a pixel: margin of the interior of a grid, which excludes neighbouring pixels
_GAP = "eechips_gap"  # a property that images have while they are sorted


@dataclass(frozen=True, slots=True)
class LayerImages:
    """The images of a dataset that all chips of a sample show: the fixed part of their templates.

    Attributes:
        dataset: asset id.
        start: first day, inclusive; None for no bound.
        end: last day, exclusive; None for no bound.
        mask: mask of clouds, applied to every image; None for none.
        dtype: numpy name of the type to which all bands are converted; None to keep their types.
        types: numpy names of the types of the bands, for an image without a valid pixel; empty if unknown.
        area: pixels of a chip outside it are masked; None to keep all.
    """

    dataset: str
    kind: Kind
    start: str | None
    end: str | None
    selection: BandSelection
    mask: CloudMask | None = None
    dtype: str | None = None
    types: tuple[str, ...] = ()
    tests: tuple[PropertyFilter, ...] = ()
    area: ClipArea | None = None

    @property
    def bands(self) -> tuple[str, ...]:
        """The names of the bands, in the order of the output."""
        return self.selection.names

    @property
    def has_stored_pixels(self) -> bool:
        """Return whether the bands are stored bands of the dataset, neither computed, masked nor converted."""
        return self.mask is None and self.dtype is None and self.selection.is_stored

    def mosaic(self, images: ee.ImageCollection, *others: ee.Image) -> ee.Image:
        """Return a mosaic of images, the last on top.

        Masked pixels show the next image below. The band types are those of the first image.

        Args:
            *others: images with the same bands, placed above all of ``images``.
        """
        # Select bands first: the service rejects mosaics of images whose bands differ, as between some years.
        images = images.select(list(self.bands)) if self.has_stored_pixels else images.map(self.select)
        if others:
            images = images.merge(ee.ImageCollection(list(others)))
        return images.mosaic()

    def over(self, box: ee.Geometry) -> ee.ImageCollection:
        """Return the images that meet a box, by time."""
        images = asset_metadata.filter_images(self.dataset, self.kind, self.start, self.end, self.tests)
        ordered: ee.ImageCollection = images.filterBounds(box).sort("system:time_start")
        return ordered

    def near(self, box: ee.Geometry, moment: str, first: str, last: str) -> ee.ImageCollection:
        """Return the images that meet a box from ``first`` to ``last``, the nearest to ``moment`` last."""
        return sort_nearest_first(self.over(box).filterDate(first, last), ee.Date(moment).millis(), ascending=False)

    def select(self, image: ee.Image) -> ee.Image:
        """Return the bands of an image of the dataset, in order, with the cloud mask applied."""
        return convert_bands(self.selection.select(image, self.mask), self.dtype)

    def clip(self, image: ee.Image) -> ee.Image:
        """Mask the image of a chip outside :attr:`area`."""
        return image if self.area is None else image.clip(self.area.geometry())

    def nothing(self) -> ee.Image:
        """Return an image with the bands and no valid pixel.

        A mosaic of no images has no bands, so that selecting them fails; with this image the chip is empty instead.
        It comes last in a mosaic, since the first image determines the types of the bands.
        """
        names = list(self.bands)
        none: ee.Image = ee.Image.constant([0] * len(names)).rename(names).updateMask(0)
        if self.types:
            types = [TYPE_NAMES.get(dtype, dtype) for dtype in self.types]
            none = none.cast(dict(zip(names, types, strict=True)), names)
        return convert_bands(none, self.dtype)


def sort_nearest_first(images: ee.ImageCollection, moment: Any, *, ascending: bool = True) -> ee.ImageCollection:
    """Sort images by the distance of ``system:time_start`` to a moment in milliseconds; earlier first if equal."""

    def measured(image: Any) -> Any:
        later = ee.Number(image.get("system:time_start")).subtract(moment)
        return image.set(_GAP, later.abs().multiply(2).add(later.gt(0)))

    ordered: ee.ImageCollection = images.map(measured).sort(_GAP, ascending)
    return ordered


def chip_image(
    images: LayerImages,
    grid: Grid,
    coordinates: Sequence[float],
    *,
    source: str | None = None,
    date_match: DateMatch | None = None,
    is_thumb: bool = False,
    has_image: bool = False,
) -> Template:
    """Make the template of a chip's image.

    Args:
        coordinates: coordinates of its place, longitude and latitude in degrees.
        source: id of the image on top; None for the latest, or for the nearest to the date.
        date_match: date and interval of the images; None for all images, the latest on top.
        is_thumb: whether the chip is requested by bounds in degrees, not by its pixel grid.
        has_image: whether an image of the dataset is known to be at the place.
    """
    if images.kind == "image":
        return Template(_stored, (images,), passes_values=True)
    if is_thumb and date_match is None:
        return Template(_shown, (images, has_image), {"corners": list(grid.bounds)}, passes_values=True)
    values: dict[str, Any] = {"coordinates": list(coordinates), "reach": chip_reach(grid)}
    if date_match is not None:
        values |= {"moment": date_match.moment, "first": date_match.first, "last": date_match.last}
    if source is not None:
        values["source"] = source
    return Template(_shown_around, (images, has_image or source is not None), values, place_of, passes_values=True)


def _stored(images: LayerImages) -> ee.Image:
    """Return the dataset itself."""
    image: ee.Image = ee.Image(images.dataset)
    return images.clip(image if images.has_stored_pixels else images.select(image))


def _shown(images: LayerImages, has_image: bool, corners: Sequence[float]) -> ee.Image:
    """Return the mosaic of images that meet a rectangle of degrees."""
    collection = images.over(ee.Geometry.Rectangle(list(corners), None, False))
    return images.mosaic(collection, *_no_pixels(images, has_image))


def _shown_around(
    images: LayerImages,
    has_image: bool,
    coordinates: Sequence[float],
    reach: float,
    source: str | None = None,
    **near: str,
) -> ee.Image:
    """Return the mosaic of images around a point, with the image whose grid the chip has on top.

    A chip on a native grid thus shows unchanged pixels of one acquisition, and resampled pixels of other images only
    beyond its edge.
    """
    box = box_around(coordinates, reach)
    mosaic = images.mosaic(images.near(box, **near) if near else images.over(box), *_no_pixels(images, has_image))
    if source is not None:
        mosaic = ee.ImageCollection([mosaic, images.select(ee.Image(source))]).mosaic()
    return images.clip(mosaic)


def _no_pixels(images: LayerImages, has_image: bool) -> list[ee.Image]:
    """Return the image without a valid pixel, unless a mosaic has bands without it."""
    return [] if has_image else [images.nothing()]


def place_of(grid: Grid) -> dict[str, Any]:
    """Return the centre of a grid, longitude and latitude in degrees, and its reach, as values of a template."""
    ((longitude, latitude),) = unproject(grid.crs, [grid.xy(grid.width / 2, grid.height / 2)])
    return {"coordinates": [float(longitude), float(latitude)], "reach": chip_reach(grid)}


def chip_reach(grid: Grid) -> float:
    """Return a distance in metres from a chip's place that no pixel of the chip exceeds.

    This is the longer side of the chip, not half its diagonal, since projections stretch distances.
    """
    return nominal_scale(grid) * max(grid.width, grid.height)


def box_around(coordinates: Sequence[float], reach: float) -> ee.Geometry:
    """Return a box around a place."""
    box: ee.Geometry = ee.Geometry.Point(list(coordinates)).buffer(reach).bounds()
    return box


def box_around_all(shapes: Geometries) -> ee.Geometry | None:
    """Return the box of longitudes and latitudes around geometries; None if they may cross 180 degrees."""
    west, south, east, north = shapely.total_bounds(shapes).tolist()
    if east - west > 180.0:
        return None
    if west == east or south == north:
        west, south, east, north = west - 1e-6, south - 1e-6, east + 1e-6, north + 1e-6
    box: ee.Geometry = ee.Geometry.Rectangle([west, south, east, north], None, False)
    return box


def grid_interior(grid: Grid) -> ee.Geometry:
    """Return the rectangle of :func:`corners_inside` for the server."""
    rectangle: ee.Geometry = ee.Geometry.Polygon(corners_inside(grid), ee.Projection(service_crs(grid.crs)), False)
    return rectangle


def corners_inside(grid: Grid) -> list[list[list[float]]]:
    """Return a ring that contains the centre of every pixel of a grid, and touches no pixel outside it.

    Returns:
        A polygon of one ring, in the coordinates of the grid's CRS.
    """
    right, bottom = grid.width - _INSET, grid.height - _INSET
    corners = [grid.xy(_INSET, _INSET), grid.xy(right, _INSET), grid.xy(right, bottom), grid.xy(_INSET, bottom)]
    return [[list(corner) for corner in corners]]


def single_image(images: LayerImages, source: str) -> Template:
    """Make the template of a frame that shows one image, by its id, alone: masked outside its footprint."""
    return Template(_single, (images,), {"source": source}, passes_values=True)


def period_image(
    images: LayerImages, grid: Grid, coordinates: Sequence[float], reducer: str, first: str, last: str
) -> Template:
    """Make the template of a frame that reduces the images of a period to one.

    Args:
        coordinates: coordinates of its place, longitude and latitude in degrees.
        reducer: reducer of the values of a pixel, or ``mosaic``: the latest.
        first: start of the period, inclusive, ISO 8601.
        last: end of the period, exclusive, ISO 8601.
    """
    undated = replace(images, start=None, end=None)
    values = {"coordinates": list(coordinates), "reach": chip_reach(grid), "first": first, "last": last}
    return Template(_period, (undated, reducer), values, place_of, passes_values=True)


def missing_image(images: LayerImages) -> Template:
    """Make the template of a frame without a valid pixel, with the types of the bands."""
    return Template(LayerImages.nothing, (images,), passes_values=True)


def _single(images: LayerImages, source: str) -> ee.Image:
    return images.clip(images.select(ee.Image(source)))


def _period(
    images: LayerImages, reducer: str, coordinates: Sequence[float], reach: float, first: str, last: str
) -> ee.Image:
    """Return the images of a period reduced to one; masked where there is none."""
    there = images.over(box_around(coordinates, reach)).filterDate(first, last)
    if reducer == "mosaic":
        return images.clip(images.mosaic(there, images.nothing()))
    # A reduction of no images has no bands: the masked image gives it bands, and adds no value.
    every = there.map(images.select).merge(ee.ImageCollection([images.nothing()]))
    reduced: ee.Image = every.reduce(make_reducer(reducer)).rename(list(images.bands))
    if reducer == "count":
        reduced = reduced.unmask(0).toUint16()
    elif is_fractional(reducer):
        reduced = reduced.toFloat()
    return images.clip(reduced)
