"""Compute ``FeatureCollection.reduceToImage``: which pixels a feature meets, features without a number, and the
reduction at each pixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from eechips_local.evaluation.asset_model import Bounds
from eechips_local.evaluation.type_conversion import type_name
from eechips_local.geometry.longitude_boxes import globe_box, lonlat_bounds
from eechips_local.pixels.grids.area_fractions import in_pixels
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Pixels, Render
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.reducers import Output, Reducer, ReducerSample, scattered
from eechips_local.values.element_properties import Element, geometry_of, property_of
from eechips_local.values.ordering import plain
from eechips_local.values.values import Collection, Feature, Filter

# Collections of up to this many features are indexed once; larger ones are filtered for each grid.
_INDEXED = 2048
# Edges of features may lie so far from where they should, in pixels.
_EDGE_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class _FeatureIndex:
    """Features with the values of some properties, and where they lie."""

    features: list[Feature]
    tree: shapely.STRtree

    def under(self, bounds: Bounds) -> list[Feature]:
        positions = np.sort(self.tree.query(globe_box(bounds), predicate="intersects"))
        return [self.features[i] for i in positions]


def within_bounds(bounds: Bounds) -> Filter:
    """Return features whose geometry may meet bounds."""
    box = globe_box(bounds)

    def matches(element: Element) -> bool:
        geometry = geometry_of(element)
        return geometry is not None and (geometry.unbounded or bool(geometry.on_globe.intersects(box)))

    return Filter(matches, lambda query: query if query.bounds is not None else replace(query, bounds=bounds))


@dataclass(frozen=True, eq=False)
class Rasterized:
    """``Collection.reduceToImage``: a reducer over properties of the features that meet each pixel.

    Attributes:
        collection: collection of features.
        properties: one for each input of the reducer.
        reducer: with numbers as outputs.
    """

    collection: Collection
    properties: tuple[str, ...]
    reducer: Reducer

    @cached_property
    def _index(self) -> _FeatureIndex | None:
        outlined_features = map(outlined, islice(self.collection, _INDEXED + 1))
        features = [f for f in outlined_features if f.geometry is not None]
        if len(features) > _INDEXED:
            return None
        shapes = [shapely.box(*f.geometry.on_globe.bounds) if f.geometry else None for f in features]
        return _FeatureIndex(features, shapely.STRtree(shapes))

    def _features(self, grid: PixelGrid, render: Render) -> list[Feature]:
        bounds: Bounds | None = render.note(("lonlat", grid), lambda: lonlat_bounds(grid))
        if self._index is not None:
            return self._index.under(bounds) if bounds is not None else self._index.features
        chosen = self.collection if bounds is None else self.collection.filtered(within_bounds(bounds))
        return [f for f in map(outlined, chosen) if f.geometry is not None]

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Burn every feature into the grid, then reduces what came together at each pixel."""
        pixels, owners, rows = self._pairs(grid, render)
        size = grid.width * grid.height
        parts: list[list[tuple[npt.NDArray[np.intp], Output]]] = [[] for _ in self.reducer.names]
        for chosen, table in stacked(pixels, owners):
            inside = table >= 0
            values = rows[:, table] if rows.size else np.zeros((len(self.properties), *table.shape))
            reductions = self.reducer.apply(ReducerSample(values, inside.astype(np.float64), inside))
            for part, output in zip(parts, reductions, strict=True):
                part.append((chosen, output))
        outputs = [scattered(size, part) for part in parts]
        return [
            Pixels(
                outputs[b].values.reshape(*grid.shape, *outputs[b].values.shape[1:]),
                outputs[b].valid.reshape(grid.shape),
            )
            for b in bands
        ]

    def _pairs(
        self, grid: PixelGrid, render: Render
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float64]]:
        """Return pixels and the features that meet them, feature by feature, and each feature's values."""
        pixels: list[npt.NDArray[np.intp]] = []
        owners: list[npt.NDArray[np.intp]] = []
        rows: list[list[float]] = []
        for feature in self._features(grid, render):
            values = [number_of(feature, name) for name in self.properties]
            if feature.geometry is None or any(v is None for v in values):
                continue
            met = touched(in_pixels(feature.geometry, grid, _EDGE_TOLERANCE), grid)
            if len(met):
                pixels.append(met)
                owners.append(np.full(len(met), len(rows), dtype=np.intp))
                rows.append([v for v in values if v is not None])
        if not rows:
            return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp), np.zeros((len(self.properties), 0))
        return np.concatenate(pixels), np.concatenate(owners), np.asarray(rows, dtype=np.float64).T


def outlined(element: Element) -> Feature:
    """Return a feature as it is, an image as its outline."""
    return element if isinstance(element, Feature) else Feature(geometry_of(element), element.properties)


def number_of(feature: Feature, name: str) -> float | None:
    """Return the number that a property of a feature is, or null.

    Raises:
        InvalidError: if it is anything else.
    """
    value = plain(property_of(feature, name))
    if value is None or isinstance(value, (int, float)):
        return value
    raise InvalidError(f"Property '{name}' must be a number; found an object of type {type_name(value)}.")


def touched(shape: BaseGeometry, grid: PixelGrid) -> npt.NDArray[np.intp]:
    """Return flat indices of the pixels that a shape in pixel coordinates meets."""
    if shape.is_empty:
        return np.zeros(0, dtype=np.intp)
    west, north, east, south = shape.bounds
    left, right = max(0, math.floor(west)), min(grid.width, math.floor(east) + 1)
    top, bottom = max(0, math.floor(north)), min(grid.height, math.floor(south) + 1)
    if left >= right or top >= bottom:
        return np.zeros(0, dtype=np.intp)
    burnt = rasterize(
        [(shape, 1)], out_shape=(bottom - top, right - left), transform=Affine.translation(left, top),
        all_touched=True, dtype=np.uint8,
    )  # fmt: skip
    y, x = np.nonzero(burnt)
    flat_indices: npt.NDArray[np.intp] = (y + top) * grid.width + (x + left)
    return flat_indices


def stacked(
    pixels: npt.NDArray[np.intp], owners: npt.NDArray[np.intp]
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """Yield pixels with like numbers of features together: their indices, and their features (-1: none), (n, pixels).

    Each table is at most half empty, however uneven the numbers are.
    """
    if not len(pixels):
        return
    order = np.argsort(pixels, kind="stable")
    pixels, owners = pixels[order], owners[order]
    chosen, first, counts = np.unique(pixels, return_index=True, return_counts=True)
    height = 2 ** np.ceil(np.log2(counts)).astype(np.intp)
    for depth in np.unique(height):
        some = np.flatnonzero(height == depth)
        layer = np.arange(depth)[:, None]
        present = layer < counts[some]
        table = np.where(present, owners[np.minimum(first[some] + layer, len(owners) - 1)], -1)
        yield chosen[some], table
