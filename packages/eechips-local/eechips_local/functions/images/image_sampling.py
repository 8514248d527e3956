"""Pixels as features: ``Image.sample``, ``stratifiedSample``, ``sampleRegions``, ``sampleRectangle``: which pixels are
drawn, and how many there may be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count, tee
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from eechips_local.evaluation.context import Context
from eechips_local.functions.images.image_region import check_tile_scale, lattice_of, region_of
from eechips_local.functions.registration import function
from eechips_local.geometry.map_projection import WGS84, Projection, transform_points
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.grids.region_pixels import PixelRegion, RegionPixels, chunks, cover_tiles, covers, region_on
from eechips_local.pixels.grids.sampled_pixels import Indices, SampledBand, gather
from eechips_local.pixels.lazy_image import Image, Render
from eechips_local.pixels.types import type_text
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError
from eechips_local.values.element_properties import geometry_of
from eechips_local.values.randomness import Words, random_words, uniform
from eechips_local.values.values import Array, Collection, Feature, Geometry, Value

_UNLIMITED = 2**62
# Features that one sample may make: more would not fit into the memory of a request.
_MOST_FEATURES = 5_000_000
# Regions of more pixels are sampled by drawing places, not by looking at each of their pixels.
_FEW_PIXELS = 1 << 20
# Places drawn at a time, and batches without a new pixel after which every pixel is looked at.
_DRAWN, _MOST_MISSES = 4096, 64
# https://developers.google.com/earth-engine/apidocs/ee-image-samplerectangle
_MOST_RECTANGLE = 262_144


@dataclass(frozen=True, slots=True, eq=False)
class Picked:
    """Pixels of a lattice that were taken from an image.

    Attributes:
        columns: shape (n,).
        rows: likewise.
        words: a random number of each pixel, by which pixels are chosen.
        bands: what each band holds there.
    """

    columns: Indices
    rows: Indices
    words: Words
    bands: tuple[SampledBand, ...]

    def __len__(self) -> int:
        return len(self.columns)

    def take(self, chosen: npt.NDArray[Any]) -> Picked:
        """Return some of the pixels."""
        bands = tuple(SampledBand(band.values[chosen], band.mask[chosen]) for band in self.bands)
        return Picked(self.columns[chosen], self.rows[chosen], self.words[chosen], bands)

    def without_nulls(self) -> Picked:
        """Return the pixels that no band masks."""
        return self.take(np.logical_and.reduce([band.mask > 0 for band in self.bands])) if self.bands else self

    @staticmethod
    def joined(parts: Sequence[Picked]) -> Picked:
        """Return pixels of several blocks."""
        return Picked(
            np.concatenate([p.columns for p in parts]),
            np.concatenate([p.rows for p in parts]),
            np.concatenate([p.words for p in parts]),
            tuple(
                SampledBand(np.concatenate([b.values for b in bands]), np.concatenate([b.mask for b in bands]))
                for bands in zip(*(p.bands for p in parts), strict=True)
            ),
        )


def _centres(cover: RegionPixels, seed: int) -> tuple[Indices, Indices, Words]:
    """Return the pixels of a cover whose centres lie in the region, with their random numbers."""
    columns, rows = cover.columns[cover.centre], cover.rows[cover.centre]
    return columns, rows, random_words(seed, rows, columns)


def features_of(image: Image, picked: Picked, projection: Projection, *, geometries: bool) -> Iterator[Feature]:
    """Yield a feature for each pixel, with a property for each band that is valid there; indices count from 0."""
    points = _lonlat(picked.columns, picked.rows, projection) if geometries else None
    for position, band_values in enumerate(_rows(image, picked.bands, len(picked))):
        geometry = None if points is None else Geometry(shapely.Point(points[position]), geodesic=False)
        yield Feature(geometry, {"system:index": str(position), **band_values})


def _lonlat(columns: Indices, rows: Indices, projection: Projection) -> npt.NDArray[np.float64]:
    """Return longitude and latitude of the centres of pixels."""
    return transform_points(np.column_stack([columns + 0.5, rows + 0.5]), projection, WGS84)


def _rows(image: Image, bands: Sequence[SampledBand], length: int) -> Iterator[dict[str, Value]]:
    """Yield values of the bands that are valid at each pixel, by name."""
    plain = [
        [Array(value) for value in band.values] if band.values.ndim > 1 else band.values.tolist() for band in bands
    ]
    valid = [(band.mask > 0).tolist() for band in bands]
    names = [band.name for band in image.bands]
    for position in range(length):
        yield {
            name: values[position] for name, values, there in zip(names, plain, valid, strict=True) if there[position]
        }


def _class_band(image: Image, name: str | None) -> int:
    """Return the position of the band of classes, the first by default."""
    names = image.band_names
    if not names:
        raise InvalidError("Image has no bands.")
    if name is not None and name not in names:
        raise InvalidError(f"Band pattern '{name}' did not match any bands. Available bands: [{', '.join(names)}]")
    which = 0 if name is None else names.index(name)
    if image.bands[which].type.precision != "int":
        raise InvalidError("The class band must be integer typed.")
    return which


@function("Image.stratifiedSample")
def stratified_sample(
    context: Context, image: Image, numPoints: int, classBand: str | None, region: Geometry | None,
    scale: float | None, projection: Projection | None, seed: int, classValues: list[int] | None,
    classPoints: list[int] | None, dropNulls: bool, tileScale: float, geometries: bool,
) -> Collection:  # fmt: skip
    """Return random pixels of each value of a band; all of them where there are fewer than requested.

    Each pixel has a random number of its own, from the seed and its place, and those with the least are taken: what is
    drawn does not depend on how the region is cut into blocks. Classes come in ascending order.
    """
    check_tile_scale(tileScale)
    wanted = _class_sizes(classValues, classPoints)
    which = _class_band(image, classBand)
    lattice = lattice_of(image, scale, projection, None, _UNLIMITED)
    area = region_on(region_of(image, region), lattice.projection)

    @cache
    def chosen() -> Picked | None:
        kept: Picked | None = None
        for _, _, _, cover in cover_tiles(context, area):
            columns, rows, words = _centres(cover, seed)
            if not len(columns):
                continue
            picked = Picked(
                columns, rows, words, tuple(gather(context, image.bands, lattice.projection, columns, rows))
            )
            picked = picked.without_nulls() if dropNulls else picked.take(picked.bands[which].mask > 0)
            kept = _fewest(picked if kept is None else Picked.joined([kept, picked]), which, numPoints, wanted)
            _check_size(len(kept))
        return kept

    def elements() -> Iterator[Feature]:
        picked = chosen()
        return iter(()) if picked is None else features_of(image, picked, lattice.projection, geometries=geometries)

    return _sampled(image, elements)


def _sampled(
    image: Image, elements: Callable[[], Iterator[Feature]], columns: Mapping[str, str] | None = None
) -> Collection:
    """Return pixels as a collection that knows the order of the bands, by which classifiers are trained.

    Args:
        image: whose pixels they are.
        elements: makes them.
        columns: types of the columns, if these are not those of the bands.
    """
    order = {"band_order": [band.name for band in image.bands]}
    if columns is None:  # as recorded: Float<-32768.0, 32767.0> of a mean of ALOS's heights
        columns = {band.name: type_text(band.type) for band in image.bands}
    return Collection("Feature", lambda _: elements(), properties=order, columns=columns)


def _check_size(length: int) -> None:
    if length > _MOST_FEATURES:
        raise MemoryLimitError()


def _class_sizes(values: Sequence[int] | None, points: Sequence[int] | None) -> Mapping[int, int]:
    if (values is None) != (points is None) or len(values or ()) != len(points or ()):
        raise InvalidError("The lists classValues and classPoints must be of the same size.")
    return dict(zip(values or (), points or (), strict=True))


def _fewest(picked: Picked, which: int, number: int, wanted: Mapping[int, int]) -> Picked:
    """Return the pixels of each class with the least random numbers, in the order of class and number."""
    classes = picked.bands[which].values
    order = np.lexsort((picked.rows, picked.columns, picked.words, classes))
    ordered = classes[order]
    starts = np.flatnonzero(np.r_[len(ordered) > 0, ordered[1:] != ordered[:-1]])
    ends = np.r_[starts[1:], len(ordered)]
    chosen = [
        order[start : min(end, start + max(0, wanted.get(int(ordered[start]), number)))]
        for start, end in zip(starts, ends, strict=False)
    ]
    return picked.take(np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.intp))


@function("Image.sample")
def sample(
    context: Context,
    image: Image,
    region: Geometry | None,
    scale: float | None,
    projection: Projection | None,
    factor: float | None,
    numPixels: int | None,
    seed: int,
    dropNulls: bool,
    tileScale: float,
    geometries: bool,
) -> Collection:
    """Return the pixels whose centres lie in a region, all or a part taken at random.

    ``numPixels`` takes exactly so many of the region's pixels, before those with nulls are dropped.
    """
    check_tile_scale(tileScale)
    if factor is not None and numPixels is not None:
        raise InvalidError("Cannot specify both 'factor' and 'numPixels'.")
    if factor is not None and not 0 < factor <= 1:
        raise InvalidError(f"The factor must be within (0, 1]; found {factor}.")
    if numPixels is not None and numPixels < 0:
        raise InvalidError(f"The number of pixels must not be negative; found {numPixels}.")
    lattice = lattice_of(image, scale, projection, None, _UNLIMITED)
    area = region_on(region_of(image, region), lattice.projection)
    places = None
    if numPixels is not None and area.pixels > _FEW_PIXELS and 4 * numPixels < area.pixels:
        places = _drawn(context, area, seed, numPixels)
    columns, rows = places or _chosen(context, area, seed, factor, numPixels)

    @cache
    def picked() -> Picked:  # a classifier of them may be asked for the name of its band only
        taken = tuple(gather(context, image.bands, lattice.projection, columns, rows))
        pixels = Picked(columns, rows, np.zeros(len(columns), dtype=np.uint64), taken)
        return pixels.without_nulls() if dropNulls else pixels

    return _sampled(image, lambda: features_of(image, picked(), lattice.projection, geometries=geometries))


def _chosen(
    context: Context, area: PixelRegion, seed: int, factor: float | None, number: int | None
) -> tuple[Indices, Indices]:
    """Return pixels of a region, row by row within blocks: all, a part, or those with the least random numbers."""
    threshold = np.uint64(2**64 - 1 if factor is None else min(int(factor * 2**64), 2**64 - 1))
    parts: list[tuple[Indices, Indices, Words]] = [(np.zeros(0, dtype=np.int64),) * 2 + (random_words(seed)[:0],)]
    length = 0
    for _, _, _, cover in covers(context, area):
        columns, rows, words = _centres(cover, seed)
        kept = np.flatnonzero(words <= threshold)
        if number is not None and len(kept) > number:
            kept = np.sort(kept[np.argsort(words[kept], kind="stable")[:number]])
        parts.append((columns[kept], rows[kept], words[kept]))
        length += len(kept)
        if number is None:
            _check_size(length)
    columns, rows, words = (np.concatenate(column) for column in zip(*parts, strict=True))
    if number is not None and len(words) > number:
        kept = np.sort(np.argsort(words, kind="stable")[:number])
        columns, rows = columns[kept], rows[kept]
    return columns, rows


def _drawn(context: Context, area: PixelRegion, seed: int, number: int) -> tuple[Indices, Indices] | None:
    """Return different pixels of a large region, drawn one after the other; None where hardly a place drawn lies in
    it.
    """
    _check_size(number)
    shapely.prepare(area.shape)
    drawn_pixels: dict[tuple[int, int], None] = {}
    misses = 0
    for start in count(0, _DRAWN):
        if len(drawn_pixels) >= number:
            break
        context.check_time()
        numbers = uniform(random_words(seed, np.arange(start, start + _DRAWN)[:, None], np.arange(2)[None, :]))
        columns = area.column + (numbers[:, 0] * area.width).astype(np.int64)
        rows = area.row + (numbers[:, 1] * area.height).astype(np.int64)
        inside = shapely.contains_xy(area.shape, columns + 0.5, rows + 0.5)
        before = len(drawn_pixels)
        drawn_pixels.update(dict.fromkeys(zip(columns[inside].tolist(), rows[inside].tolist(), strict=True)))
        misses = 0 if len(drawn_pixels) > before else misses + 1
        if misses > _MOST_MISSES:
            return None
    chosen = np.array(list(drawn_pixels)[:number], dtype=np.int64).reshape(-1, 2)
    return chosen[:, 0], chosen[:, 1]


@function("Image.sampleRegions")
def sample_regions(
    context: Context,
    image: Image,
    collection: Collection,
    properties: list[str] | None,
    scale: float | None,
    projection: Projection | None,
    tileScale: float,
    geometries: bool,
) -> Collection:
    """Return a feature for each pixel whose centre lies in a region, and that no band masks, with the region's
    properties.
    """
    check_tile_scale(tileScale)
    if not image.bands:
        raise InvalidError("Invalid numInputs: 0.")
    lattice = lattice_of(image, scale, projection, None, _UNLIMITED)

    def elements() -> Iterator[Feature]:
        features, again = tee(collection)
        for chunk in chunks(context, (geometry_of(f) for f in again), lattice):
            covered = [_whole(context, item) for item in chunk]
            lengths = [len(columns) for columns, _ in covered]
            _check_size(sum(lengths))
            columns, rows = (np.concatenate(part) for part in zip(*covered, strict=True))
            taken = gather(context, image.bands, lattice.projection, columns, rows)
            end = 0
            for length in lengths:
                feature = next(features)
                some = slice(end, end + length)
                end += length
                bands = tuple(SampledBand(band.values[some], band.mask[some]) for band in taken)
                words = np.zeros(length, dtype=np.uint64)
                picked = Picked(columns[some], rows[some], words, bands).without_nulls()
                copied = _copied(feature.properties, properties)
                for sampled in features_of(image, picked, lattice.projection, geometries=geometries):
                    index = f"{feature.properties.get('system:index')}_{sampled.properties['system:index']}"
                    yield sampled.with_properties({**copied, **sampled.properties, "system:index": index})

    # As recorded: none of points without properties.
    columns_of_regions = collection.columns or {}
    own = {name: columns_of_regions[name] for name in _copied(columns_of_regions, properties)}
    return _sampled(image, elements, own)


def _whole(context: Context, item: PixelRegion | RegionPixels) -> tuple[Indices, Indices]:
    """Return the pixels whose centres lie in a region."""
    if isinstance(item, RegionPixels):
        return item.columns[item.centre], item.rows[item.centre]
    parts = [_whole(context, cover) for _, _, _, cover in covers(context, item)]
    columns, rows = (np.concatenate(part) for part in zip(*parts, strict=True))
    _check_size(len(columns))
    return columns, rows


def _copied(properties: Mapping[str, Value], names: Sequence[str] | None) -> dict[str, Value]:
    """Return some properties, or all but those of the system."""
    if names is None:
        return {name: value for name, value in properties.items() if not name.startswith("system:")}
    return {name: properties[name] for name in names if properties.get(name) is not None}


@function("Image.sampleRectangle")
def sample_rectangle(
    context: Context,
    image: Image,
    region: Geometry | None,
    properties: list[str] | None,
    defaultValue: float | None,
    defaultArrayValue: Array | None,
) -> Feature:
    """Return the pixels of each band under a region's bounding box in the band's own projection, as arrays (rows,
    columns).
    """
    feature_properties = _copied(image.properties, properties)
    for band in image.bands:
        grid = band.grid if region is None else _bounding_grid(region, band.projection)
        if grid is None:
            raise InvalidError("Unable to find the bounds of an unbounded image; specify a region.")
        if grid.width * grid.height > _MOST_RECTANGLE:
            raise InvalidError(
                f"Too many pixels in sample; must be <= {_MOST_RECTANGLE}. Got {grid.width * grid.height}."
            )
        pixels = Render(context.limits.memory).read([band], grid)[0]
        values = pixels.values
        if not pixels.valid.all():
            filler: Any = defaultValue if values.ndim == 2 else None
            if values.ndim > 2 and defaultArrayValue is not None:
                filler = defaultArrayValue.values
            if filler is None:
                raise InvalidError(
                    f"Band '{band.name}' has masked pixels or does not cover the region; specify a default value."
                )
            there = pixels.valid.reshape(pixels.valid.shape + (1,) * (values.ndim - 2))
            values = np.where(there, values, filler)
        feature_properties[band.name] = Array(np.asarray(values))
    index = image.properties.get("system:index")
    if index is not None:
        feature_properties["system:index"] = index
    return Feature(region if region is not None else image.footprint, feature_properties)


def _bounding_grid(region: Geometry, projection: Projection) -> PixelGrid:
    area = region_on(region, projection)
    left, top, right, bottom = area.shape.bounds if not area.shape.is_empty else (0.0, 0.0, 0.0, 0.0)
    # Edges on the border between two pixels, up to rounding, take nothing of the farther one.
    column, row = int(np.floor(left + 1e-6)), int(np.floor(top + 1e-6))
    width, height = (
        max(int(np.ceil(right - 1e-6)), column + 1) - column,
        max(int(np.ceil(bottom - 1e-6)), row + 1) - row,
    )
    return PixelGrid(projection.crs, projection.transform, 0, 0).window(column, row, width, height)
