"""Make the expressions of the windows of a mosaic: one image, or a composite, in one type on one grid."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ee

from eechips.datasets import Kind
from eechips.formats import cog
from eechips.geo.grid import Grid
from eechips.planning import asset_metadata
from eechips.planning.band_selection import TYPE_NAMES, BandSelection
from eechips.planning.cloud_masks import CloudMask
from eechips.planning.image_filters import PropertyFilter
from eechips.recipe import canonical_json

# Reducers that return fractions for integers, and those that return a value of one of the images.
_FRACTIONAL = frozenset({"median", "mean", "stdDev"})
_SELECTING = frozenset({"mosaic", "first", "min", "max", "mode"})


@dataclass(frozen=True, slots=True)
class MosaicLayout:
    """The common description of the windows of a mosaic.

    Attributes:
        grid: grid of the whole.
        kind: kind of the dataset.
        bands: names, in the order of the output.
        dtype: data type of all bands.
        tests: conditions on properties of images.
        casts: bands whose types differ between images, and the numpy names of the types that hold them all.
    """

    grid: Grid
    kind: Kind
    bands: tuple[str, ...]
    dtype: str
    tests: tuple[PropertyFilter, ...] = ()
    casts: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> MosaicLayout:
        """Read the value of :meth:`to_json`."""
        bands = tuple(value["bands"])
        tests = tuple(PropertyFilter.from_json(json.loads(test)) for test in value["tests"])
        casts = tuple((name, dtype) for name, dtype in value.get("casts", ()))
        return cls(Grid.from_json(value["grid"]), value["kind"], bands, value["dtype"], tests, casts)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value for units; see :meth:`from_json`."""
        bands, tests = list(self.bands), [canonical_json(test.to_json()) for test in self.tests]
        own = {"grid": self.grid.to_json(), "kind": self.kind, "bands": bands, "dtype": self.dtype, "tests": tests}
        return own | ({"casts": [list(cast) for cast in self.casts]} if self.casts else {})


@dataclass(frozen=True, slots=True)
class TileComposite:
    """A composite of a collection for all windows: the fixed part of their templates.

    Attributes:
        dataset: id of the collection.
        start: first day of the images, inclusive; None for no bound.
        end: last day, exclusive.
        tests: conditions on their properties.
        mask: mask of clouds, applied to every image.
        reducer: one of :data:`eechips.jobs.imagery_options.MOSAIC_REDUCERS`.
        selection: the bands.
        dtype: data type of all bands.
        input_dtype: data type that the bands of each image are converted to before they are combined; None to keep
            their own.
    """

    dataset: str
    start: str | None
    end: str | None
    tests: tuple[PropertyFilter, ...]
    mask: CloudMask | None
    reducer: str
    selection: BandSelection
    dtype: str
    input_dtype: str | None = None

    def image(self, box: ee.Geometry) -> ee.Image:
        """Return the composite of the images that meet a box."""
        images = asset_metadata.filter_images(self.dataset, "collection", self.start, self.end, self.tests)
        images = images.filterBounds(box)
        images = images.sort("system:time_start", self.reducer != "first").map(self._selected)
        # A composite of no images has no bands, and selecting them would be an error. An image with the bands and no
        # valid pixel makes such a window empty instead. It comes last, since the service takes the types of the bands
        # from the first image, and refuses others that do not fit into them.
        bands = self.selection.names
        nothing = ee.Image.constant([0] * len(bands)).rename(list(bands)).updateMask(0)
        whole = images.merge(ee.ImageCollection([nothing]))
        if self.reducer in ("mosaic", "first"):
            return _cast(whole.mosaic(), bands, self.dtype)
        reducer = getattr(ee.Reducer, self.reducer)()
        return _cast(whole.reduce(reducer).rename(list(bands)), bands, self.dtype)

    def _selected(self, image: Any) -> Any:
        selected = self.selection.select(ee.Image(image), self.mask)
        return selected if self.input_dtype is None else _cast(selected, self.selection.names, self.input_dtype)


def select_image(dataset: str, selection: BandSelection, dtype: str, mask: CloudMask | None) -> ee.Image:
    """Return the bands of a single image in one type, without masked pixels."""
    return _cast(selection.select(ee.Image(dataset), mask), selection.names, dtype)


def compose_images(composite: TileComposite, box: Sequence[float]) -> ee.Image:
    """Return the composite of the images that meet a box: west, south, east and north."""
    return composite.image(ee.Geometry.Rectangle(list(box), None, False))


def _cast(image: ee.Image, bands: tuple[str, ...], dtype: str) -> ee.Image:
    """Convert all bands of an image to one type, as GeoTIFF requires."""
    cast: ee.Image = image.cast(dict.fromkeys(bands, TYPE_NAMES.get(dtype, dtype)), list(bands))
    return cast


def clip_image(image: ee.Image, place: Grid, polygons: Sequence[Any]) -> ee.Image:
    """Mask an image outside polygons.

    Args:
        image: to clip.
        place: grid whose CRS the polygons have.
        polygons: coordinates of a GeoJSON MultiPolygon.
    """
    clipped: ee.Image = image.clip(ee.Geometry.MultiPolygon(polygons, ee.Projection(place.crs), False))
    return clipped


def input_dtype(reducer: str, dtype: str | None) -> str | None:
    """Return the type that images are converted to before they are combined; None if they keep their own.

    The service combines images of one type only, so the type that the user asks for is the one of the images, unless
    that would round or clip what a reducer calculates with.
    """
    return dtype if dtype is not None and (dtype.startswith("float") or reducer in _SELECTING) else None


def reduced_dtype(reducer: str, kind: Kind, dtypes: Sequence[str]) -> str:
    """Return the common numpy type of the reduced bands."""
    if kind == "collection" and reducer in _FRACTIONAL:
        return cog.common_dtype([*dtypes, "float32"])
    if kind == "collection" and reducer in ("sum", "count"):
        return "float64" if reducer == "sum" else "int32"
    return cog.common_dtype(dtypes)
