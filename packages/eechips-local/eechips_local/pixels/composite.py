"""Compute the pixels of ``ImageCollection.mosaic`` and ``reduce``: which images reach a grid, in which order they are
read, arrays of unlike shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.asset_model import Bounds, PixelWindow
from eechips_local.geometry.longitude_boxes import lonlat_bounds, on_circle
from eechips_local.geometry.map_projection import WGS84
from eechips_local.pixels.grids.pixel_grid import PixelGrid, apply, transformer
from eechips_local.pixels.image_windows import (
    PIXEL_BYTES,
    part_under,
    reach_of,
    read_grouped,
    read_grouped_apart,
    stacked_tiles,
    windows_of,
)
from eechips_local.pixels.lazy_image import Image, Pixels, Render
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.ragged_arrays import concatenated

Members = Callable[[Bounds | None], Iterator[Image]]
"""The images whose footprint meets bounds (None: all), in order, all with the bands of the first of the collection."""

Reduction = Callable[[npt.NDArray[Any], npt.NDArray[np.float64]], list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]]
"""From values and weights of shape (inputs, images, height, width) to values and masks, one pair per output."""

# Bytes of stacked values that a reduction holds at a time.
_STACK = 256 << 20
_AHEAD = 16  # images whose pixels are fetched while others are read


def images_under(members: Members, grid: PixelGrid, render: Render) -> list[Image]:
    """Return the images that may have pixels on a grid, in order."""
    bounds: Bounds | None = render.note(("lonlat", grid), lambda: lonlat_bounds(grid))
    bounds = None if bounds is None else on_circle(reach_of(bounds))
    images: list[Image] = render.note(("members", members, grid), lambda: list(members(bounds)))
    return images


@dataclass(frozen=True, slots=True, eq=False)
class MosaicRaster:
    """The last image that has a valid pixel there: ``ImageCollection.mosaic``."""

    members: Members

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Read from the top, until nothing is left to fill; of each image only where it has pixels, if any are left."""
        done: list[Pixels | None] = [None] * len(bands)
        images = images_under(self.members, grid, render)[::-1]
        left: _LeftPixels | None = None  # the first image often shows all that is wanted
        begun = 1
        for position, image in enumerate(images):
            if position == 1:
                left = _LeftPixels(grid, done)
            lacking = list(range(len(bands))) if left is None else left.bands_reached_by(image)
            if left is not None:
                if left.is_empty:
                    break
                if not lacking:
                    continue
                end = min(2 * position, position + _AHEAD, len(images))
                ahead = [(images[n], left.bands_reached_by(images[n])) for n in range(max(begun, position), end)]
                begun = max(begun, end)
                render.prefetch([other.bands[bands[i]] for other, some in ahead for i in some], grid)
            window = part_under(image, grid)
            chosen = [image.bands[bands[i]] for i in lacking]
            if window is None:
                read = render.read(chosen, grid)
                laid = [underlay(done[i], pixels) for i, pixels in zip(lacking, read, strict=True)]
            else:
                part = grid.window(window.column, window.row, window.width, window.height)
                # A small part of a wide view is pasted at once, not remembered: there may be thousands of them.
                read = Render(render.budget, render.check_time).read(chosen, part)
                laid = [_underlay_part(done[i], p, window, grid) for i, p in zip(lacking, read, strict=True)]
            for i, pixels in zip(lacking, laid, strict=True):
                done[i] = pixels
            if left is not None:
                left.update(done, lacking)
        empty = Pixels(np.zeros(grid.shape, dtype=np.uint8), np.zeros(grid.shape, dtype=bool))
        return [pixels or empty for pixels in done]


def _slices(window: PixelWindow) -> tuple[slice, slice]:
    return slice(window.row, window.row + window.height), slice(window.column, window.column + window.width)


def _underlay_part(top: Pixels | None, below: Pixels, window: PixelWindow, grid: PixelGrid) -> Pixels:
    """Put pixels of a part of a grid under others of the whole grid (None: under nothing), where those are masked."""
    if not below.valid.any():
        return Pixels(np.zeros(grid.shape, below.values.dtype), np.zeros(grid.shape, bool)) if top is None else top
    part = _slices(window)
    if top is None or not top.valid.any():
        values = np.zeros((*grid.shape, *below.values.shape[2:]), dtype=below.values.dtype)
        mask = np.zeros(grid.shape, dtype=below.mask.dtype)
        values[part], mask[part] = below.values, below.mask
        return Pixels(values, mask)
    if top.values.shape[2:] != below.values.shape[2:]:
        raise _unlike(top.values.shape[2:], below.values.shape[2:])
    laid = underlay(Pixels(top.values[part], top.mask[part]), below)
    values = top.values.astype(np.result_type(top.values, below.values))
    mask = top.mask.astype(np.result_type(top.mask, below.mask))
    values[part], mask[part] = laid.values, laid.mask
    return Pixels(values, mask)


class _LeftPixels:
    """The pixels that no image has filled yet, and which images can.

    Args:
        grid: where pixels are.
        done: pixels of each band after the first image.
    """

    def __init__(self, grid: PixelGrid, done: Sequence[Pixels | None]) -> None:
        open_pixels = [~pixels.valid.ravel() for pixels in done if pixels is not None]
        self._indices = np.flatnonzero(np.any(open_pixels, axis=0)) if open_pixels else np.zeros(0, dtype=np.intp)
        rows, columns = np.divmod(self._indices, max(grid.width, 1))
        x, y = apply(grid.transform, columns + 0.5, rows + 0.5)
        self._lon, self._lat = transformer(grid.crs, "EPSG:4326").transform(x, y)
        self._open = [np.zeros(0, dtype=bool)] * len(done)
        self.update(done, range(len(done)))

    def update(self, done: Sequence[Pixels | None], changed: Iterable[int]) -> None:
        """Note which pixels of some bands are left."""
        for band in changed:
            pixels = done[band]
            if pixels is not None:
                self._open[band] = ~pixels.valid.ravel()[self._indices]

    @property
    def is_empty(self) -> bool:
        """Whether all pixels of all bands are filled."""
        return not any(some.any() for some in self._open)

    def bands_reached_by(self, image: Image) -> list[int]:
        """Return the bands of which an image can fill a pixel; pixels without a place on the globe count as reached."""
        within = np.ones(len(self._indices), dtype=bool)
        if image.footprint is not None and not image.footprint.unbounded:
            west, south, east, north = _pixel_bounds(image, image.footprint.bounds)
            with np.errstate(invalid="ignore"):
                is_outside = (self._lat < south) | (self._lat > north) | ((self._lon - west) % 360.0 > east - west)
            within = ~is_outside | ~np.isfinite(self._lon)
        return [band for band, some in enumerate(self._open) if (some & within).any()]


def _pixel_bounds(image: Image, footprint: Bounds) -> Bounds:
    """Return bounds in degrees of all pixels of an image: of pixels in degrees, one more than its footprint's."""
    projection = image.bands[0].projection if image.bands else None
    if projection is None or projection.crs != WGS84.crs:
        return reach_of(footprint)
    west, south, east, north = footprint
    edge = max(abs(projection.transform.a), abs(projection.transform.e))
    return west - edge, south - edge, east + edge + (360.0 if east < west else 0.0), north + edge


def underlay(top: Pixels | None, below: Pixels) -> Pixels:
    """Put pixels under others (None: under nothing), where those are masked."""
    if top is None:
        return below
    take = below.valid & ~top.valid
    if not take.any():
        return top
    if not top.valid.any():
        return below
    if top.values.shape[2:] != below.values.shape[2:]:
        raise _unlike(top.values.shape[2:], below.values.shape[2:])
    dtype = np.result_type(top.values, below.values)
    masks = np.result_type(top.mask, below.mask)
    values = np.where(_fit(take, below.values), below.values, top.values).astype(dtype, copy=False)
    return Pixels(values, np.where(take, below.mask, top.mask).astype(masks, copy=False))


def _fit(mask: npt.NDArray[Any], values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Add axes to a mask, so that it goes with array pixels."""
    return mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim))


def _unlike(first: tuple[int, ...], second: tuple[int, ...]) -> InvalidError:
    return InvalidError(f"Array shapes must match; found {list(first)} and {list(second)}.")


def _of_one_shape(layers: Sequence[Pixels]) -> list[npt.NDArray[Any]]:
    """Return the values of layers, whose arrays must have one shape; what is masked everywhere takes that of the
    others.

    Raises:
        InvalidError: if they differ.
    """
    shape = layers[0].values.shape[2:]
    if all(pixels.values.shape[2:] == shape for pixels in layers):
        return [pixels.values for pixels in layers]
    shapes = sorted({pixels.values.shape[2:] for pixels in layers if pixels.valid.any()})
    if len(shapes) > 1:
        raise _unlike(shapes[0], shapes[1])
    shape = shapes[0] if shapes else shape
    return [
        p.values if p.values.shape[2:] == shape else np.zeros((*p.values.shape[:2], *shape), p.values.dtype)
        for p in layers
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """A reduction over the images at each pixel: ``ImageCollection.reduce`` and its shorthands.

    Attributes:
        members: the images.
        inputs: positions of the bands that go into each call of the reduction, one tuple a call.
        reduction: gives ``outputs`` bands per call.
        outputs: bands per call.
        needs_all: whether the reduction is called with all images under the grid, also those that are masked there.
    """

    members: Members
    inputs: tuple[tuple[int, ...], ...]
    reduction: Reduction
    outputs: int
    needs_all: bool = False

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Read the inputs of all calls together, then stack and reduce them, some rows at a time where it is much."""
        images = images_under(self.members, grid, render)
        calls = sorted({b // self.outputs for b in bands})
        inputs = sorted({band for call in calls for band in self.inputs[call]})
        stack = [[image.bands[band] for band in inputs] for image in images]
        per_row = max(1, len(images) * max((len(self.inputs[call]) for call in calls), default=1) * grid.width * 16)
        rows = max(1, min(grid.height, _STACK // per_row))
        windows = windows_of(images, inputs, grid) if rows < grid.height and not self.needs_all else None
        if windows is not None:
            tiles = [
                (tile, self._reduce(calls, inputs, layers, grid.window(tile.column, tile.row, tile.width, tile.height)))
                for tile, layers in stacked_tiles(stack, windows, grid, render)
            ]
            reduced = _tiled(tiles)
        elif rows >= grid.height:
            layers = read_grouped(stack, lambda order: list(render.read_each([stack[n] for n in order], grid)))
            reduced = self._reduce(calls, inputs, layers, grid)
        elif len(images) * len(inputs) * grid.width * grid.height * PIXEL_BYTES <= render.budget // 2:
            layers = read_grouped_apart(stack, [grid] * len(stack), render)
            reduced = self._reduce(calls, inputs, layers, grid, rows)
        else:
            parts = [
                grid.window(0, row, grid.width, min(rows, grid.height - row)) for row in range(0, grid.height, rows)
            ]
            reduced = _joined(
                [self._reduce(calls, inputs, list(Render().read_each(stack, part)), part) for part in parts]
            )
        return [reduced[b // self.outputs][b % self.outputs] for b in bands]

    def _reduce(
        self,
        calls: Sequence[int],
        inputs: Sequence[int],
        layers: Sequence[Sequence[Pixels]],
        grid: PixelGrid,
        rows: int | None = None,
    ) -> dict[int, list[Pixels]]:
        """Reduce the inputs of images, some rows at a time."""
        positions = {band: position for position, band in enumerate(inputs)}
        rows = rows or max(grid.height, 1)
        parts = []
        for row in range(0, max(grid.height, 1), rows):
            part = grid.window(0, row, grid.width, min(rows, grid.height - row))
            taken = [[Pixels(p.values[row : row + rows], p.mask[row : row + rows]) for p in layer] for layer in layers]
            parts.append(
                {
                    call: self._reduce_rows(
                        [[layer[positions[b]] for b in self.inputs[call]] for layer in taken], call, part
                    )
                    for call in calls
                }
            )
        return _joined(parts)

    def _reduce_rows(self, layers: Sequence[Sequence[Pixels]], call: int, grid: PixelGrid) -> list[Pixels]:
        count = len(self.inputs[call])
        if not layers:
            values = np.zeros((count, 0, *grid.shape))
            weights = np.zeros((count, 0, *grid.shape))
        else:
            alike = _of_one_shape([pixels for layer in layers for pixels in layer])
            values = np.stack([np.stack(alike[i::count]) for i in range(count)])
            weights = np.stack([np.stack([layer[i].mask for layer in layers]) for i in range(count)]).astype(np.float64)
        return [Pixels(v, m) for v, m in self.reduction(values, weights)]


def _tiled(tiles: Sequence[tuple[PixelWindow, dict[int, list[Pixels]]]]) -> dict[int, list[Pixels]]:
    """Return results of tiles that come row by row, put together."""
    rows = [list(row) for _, row in groupby(tiles, key=lambda tile: tile[0].row)]
    return _joined([_joined([reduced for _, reduced in row], axis=1) for row in rows])


def _joined(parts: Sequence[dict[int, list[Pixels]]], axis: int = 0) -> dict[int, list[Pixels]]:
    """Return results of parts of a grid, one below the other, or to the right of it along axis 1."""
    if len(parts) == 1:
        return parts[0]
    return {
        call: [concatenated(column, axis) for column in zip(*(part[call] for part in parts), strict=True)]
        for call in parts[0]
    }
