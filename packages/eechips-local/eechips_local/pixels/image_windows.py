"""Read many images, each where its footprint reaches a grid, and stack their pixels in tiles of the grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np

from eechips_local.evaluation.asset_model import Bounds, PixelWindow
from eechips_local.geometry.map_projection import Projection
from eechips_local.geometry.projection_seam import WHOLE, seam_of
from eechips_local.pixels.grids.pixel_grid import PixelGrid, apply, transformer
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, Render

PIXEL_BYTES = 5
"""Bytes of a pixel and its mask that are held until they are stacked."""

_AHEAD = 16  # images whose pixels are fetched while others are read
_FOOTPRINT_ERROR = 0.02  # degrees of latitude
_OBJECT = 500  # bytes of the objects around the pixels of a band
_LEAST_EDGE, _MOST_EDGE = 8, 64


def reach_of(bounds: Bounds) -> Bounds:
    """Return bounds in degrees, widened by the distance at which pixels may lie outside of their image's footprint.

    The edges of a footprint and of its pixels are straight in different projections. For an image 185 km wide at 60
    degrees of latitude, they are up to a kilometre apart.
    """
    west, south, east, north = bounds
    across = _FOOTPRINT_ERROR / max(math.cos(math.radians(max(abs(south), abs(north)))), 0.01)
    low, high = max(south - _FOOTPRINT_ERROR, -90.0), min(north + _FOOTPRINT_ERROR, 90.0)
    return west - across, low, east + across + (360.0 if east < west else 0.0), high


def part_under(image: Image, grid: PixelGrid) -> PixelWindow | None:
    """Return the part of a grid that an image's footprint can reach, or None where that is most of it or unknown."""
    if image.footprint is None or image.footprint.unbounded:
        return None
    west, south, east, north = reach_of(image.footprint.bounds)
    seam, reach = seam_of(grid.crs), grid.bounds
    if east - west > WHOLE / 2.0:
        return None
    if seam is not None and not (seam.west < west and east < seam.west + WHOLE and seam.shows(reach[0], reach[2])):
        return None
    bounds = transformer("EPSG:4326", grid.crs).transform_bounds(west, south, east, north, densify_pts=5)
    if not np.isfinite(bounds).all() or bounds[0] > bounds[2]:
        return None
    columns, rows = apply(~grid.transform, np.array(bounds)[[0, 2, 0, 2]], np.array(bounds)[[1, 1, 3, 3]])
    left, right = max(0, math.floor(columns.min()) - 1), min(grid.width, math.ceil(columns.max()) + 1)
    top, bottom = max(0, math.floor(rows.min()) - 1), min(grid.height, math.ceil(rows.max()) + 1)
    width, height = max(right - left, 1), max(bottom - top, 1)
    if width * height * 4 > grid.width * grid.height:
        return None
    return PixelWindow(min(left, grid.width - 1), min(top, grid.height - 1), width, height)


def windows_of(images: Sequence[Image], inputs: Sequence[int], grid: PixelGrid) -> list[PixelWindow] | None:
    """Return the parts of a grid that images can reach; None unless these are few of all pixels, and no band an array.

    Args:
        images: images of a stack.
        inputs: positions of the bands that are stacked.
        grid: grid of the result.
    """
    if not images or any(images[0].bands[band].type.dimensions for band in inputs):
        return None
    whole = PixelWindow(0, 0, grid.width, grid.height)
    known: dict[int, PixelWindow] = {}  # images of a place share their footprint
    windows = []
    for image in images:
        key = id(None if image.footprint is None else image.footprint.shape)
        if key not in known:
            known[key] = part_under(image, grid) or whole
        windows.append(known[key])
    area = sum(window.width * window.height for window in windows)
    return windows if 2 * area <= len(windows) * grid.width * grid.height else None


def stacked_tiles(
    stack: Sequence[Sequence[ImageBand]], windows: Sequence[PixelWindow], grid: PixelGrid, render: Render
) -> Iterator[tuple[PixelWindow, list[list[Pixels]]]]:
    """Yield tiles of a grid, row by row, and the pixels of the images that reach each, in the images' order.

    Every image is read once, on its window, or once in each strip of the grid where all would hold too much memory.

    Args:
        stack: bands of each image, all scalar.
        windows: part of the grid that each image can reach.
        grid: grid of the result.
        render: limits.
    """
    pixels = sum(window.width * window.height for window in windows)
    held = len(stack[0]) * (pixels * PIXEL_BYTES + len(windows) * _OBJECT)
    edge = round(math.sqrt(pixels / len(windows)))
    edge = min(max(edge, _LEAST_EDGE), _MOST_EDGE)
    strips = min(math.ceil(held / max(render.budget // 2, 1)), math.ceil(grid.height / edge))
    height = math.ceil(grid.height / strips / edge) * edge
    for top in range(0, grid.height, height):
        strip = PixelWindow(0, top, grid.width, min(height, grid.height - top))
        met = [(n, part) for n, window in enumerate(windows) if (part := _common(window, strip)) is not None]
        grids = [grid.window(part.column, part.row, part.width, part.height) for _, part in met]
        layers = read_grouped_apart([stack[n] for n, _ in met], grids, render)
        yield from _tiles(strip, edge, [part for _, part in met], layers)


def _tiles(
    strip: PixelWindow, edge: int, windows: Sequence[PixelWindow], layers: Sequence[Sequence[Pixels]]
) -> Iterator[tuple[PixelWindow, list[list[Pixels]]]]:
    """Yield the tiles of a strip with the pixels of images that were read on their windows."""
    columns, rows, widths, heights = np.array([(w.column, w.row, w.width, w.height) for w in windows]).reshape(-1, 4).T
    for top in range(strip.row, strip.row + strip.height, edge):
        for left in range(0, strip.width, edge):
            tile = PixelWindow(left, top, min(edge, strip.width - left), min(edge, strip.row + strip.height - top))
            across = (columns < tile.column + tile.width) & (columns + widths > tile.column)
            down = (rows < tile.row + tile.height) & (rows + heights > tile.row)
            some = np.flatnonzero(across & down).tolist()
            yield tile, [[_laid(pixels, windows[n], tile) for pixels in layers[n]] for n in some]


def _common(window: PixelWindow, other: PixelWindow) -> PixelWindow | None:
    """Return what two windows share, or None."""
    left, top = max(window.column, other.column), max(window.row, other.row)
    width = min(window.column + window.width, other.column + other.width) - left
    height = min(window.row + window.height, other.row + other.height) - top
    return PixelWindow(left, top, width, height) if width > 0 and height > 0 else None


def _laid(pixels: Pixels, window: PixelWindow, tile: PixelWindow) -> Pixels:
    """Return the pixels of a window on the grid of a tile that it meets, masked outside the window."""
    part = _common(window, tile)
    assert part is not None
    rows = slice(part.row - window.row, part.row - window.row + part.height)
    columns = slice(part.column - window.column, part.column - window.column + part.width)
    values, mask = pixels.values[rows, columns], pixels.mask[rows, columns]
    if part == tile:
        return Pixels(values, mask)
    whole = np.zeros((tile.height, tile.width), values.dtype), np.zeros((tile.height, tile.width), mask.dtype)
    place = (
        slice(part.row - tile.row, part.row - tile.row + part.height),
        slice(part.column - tile.column, part.column - tile.column + part.width),
    )
    whole[0][place], whole[1][place] = values, mask
    return Pixels(*whole)


def read_grouped(
    stack: Sequence[Sequence[ImageBand]], read: Callable[[Sequence[int]], list[list[Pixels]]]
) -> list[list[Pixels]]:
    """Read many images, grouped by projection; return their pixels in the images' order.

    Images of a place on many dates share where pixels lie, and what is kept of the place.

    Args:
        stack: bands of each image.
        read: reads images by their positions in the stack, in that order.
    """
    groups: dict[Projection | None, list[int]] = {}
    for position, bands in enumerate(stack):
        groups.setdefault(_projection(bands), []).append(position)
    order = [position for group in groups.values() for position in group]
    layers = dict(zip(order, read(order), strict=True))
    return [layers[position] for position in range(len(stack))]


def _projection(bands: Sequence[ImageBand]) -> Projection | None:
    return bands[0].projection if bands else None


def read_grouped_apart(
    stack: Sequence[Sequence[ImageBand]], grids: Sequence[PixelGrid], render: Render
) -> list[list[Pixels]]:
    """Read many images as :func:`read_grouped`, each on its grid, and hold no more than the bands themselves."""
    return read_grouped(stack, lambda order: _read_apart([stack[n] for n in order], [grids[n] for n in order], render))


def _read_apart(stack: Sequence[Sequence[ImageBand]], grids: Sequence[PixelGrid], render: Render) -> list[list[Pixels]]:
    """Read many images, and keep no more of each than the bands themselves, and where the pixels of the last lie.

    Args:
        stack: bands of each image.
        grids: grid of each image.
        render: limits, and what is fetched already.
    """
    layers = []
    own = Render(render.budget, render.check_time)
    for position, bands in enumerate(stack):
        if position % _AHEAD == 0:
            ahead = slice(position, position + 2 * _AHEAD)
            for grid, some in groupby(zip(grids[ahead], stack[ahead], strict=True), key=itemgetter(0)):
                render.prefetch([band for _, others in some for band in others], grid)
        is_alike = position > 0 and _projection(bands) == _projection(stack[position - 1])
        own = own.emptied("location" if is_alike else None)
        layers.append(own.read(bands, grids[position]))
    return layers
