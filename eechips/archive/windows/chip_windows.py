"""Read chips around places from rasters whose pixels lie on one grid, such as the tiles of a dataset.

Rows may run from north to south, or from south to north, as in some of the public files of the satellite embeddings
(https://source.coop/tge-labs/aef). Chips always have the north at the top.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eechips.archive.windows.raster import Pixels, Raster, read_window
from eechips.archive.windows.window_size import MemoryBudget
from eechips.client.retry import RetryPolicy
from eechips.errors import RegionError, UsageError
from eechips.geo.grid import Grid, Window
from eechips.recipe import Unit
from eechips.text.formatting import format_bytes, format_count, parse_bytes


def plan_chip(
    rasters: Sequence[Raster],
    point: tuple[float, float],
    size: int | tuple[int, int],
    *,
    bands: Sequence[int] | None = None,
    max_memory: str | int = "2GB",
) -> Unit:
    """Plan a chip around a place: the window that ``eechips sample`` takes of an image with the rasters' pixels.

    Args:
        rasters: descriptions (:func:`eechips.archive.windows.describe`) of one or several rasters. The first one gives
            crs, pixel corners and bands; of the others, those that meet the chip are read where it has no data.
        point: longitude and latitude in degrees.
        size: edge in pixels, or width and height.
        bands: numbers from 1; None for all.
        max_memory: maximum memory of a worker in total, as for :func:`eechips.archive.windows.plan_windows`. Whole
            blocks are decoded: a chip of a raster that is one block needs memory for all of it.

    Returns:
        A unit for :func:`read_chip` and :func:`eechips.archive.windows.window_file`: a window of a north-up raster with
        the same pixels, with ``parts``, the windows of the rasters.

    Raises:
        UsageError: if the rasters' pixels do not coincide, no raster meets the chip, or its blocks exceed the memory.
        RegionError: if their crs has no coordinates at the place.
    """
    from eechips.geo.crs import project  # loads PROJ, which workers do not need

    first = rasters[0]
    x, y = project(first.grid.crs, [point])[0].tolist()
    if not (np.isfinite(x) and np.isfinite(y)):
        raise RegionError(f"{first.grid.crs} has no coordinates at {point[0]:g}, {point[1]:g}")
    grid = _north_up(first).snap_around(x, y, (size, size) if isinstance(size, int) else size)
    numbers = list(range(1, first.bands + 1) if bands is None else bands)
    memory = parse_bytes(max_memory)
    parts = [part for raster in rasters if (part := _part(raster, grid, numbers, memory)) is not None]
    if not parts:
        raise UsageError(f"no raster has pixels around {point[0]:g}, {point[1]:g}")
    return {
        "kind": "window",
        "coordinates": list(point),
        "col_off": 0,
        "row_off": 0,
        "width": grid.width,
        "height": grid.height,
        "bands": numbers,
        "raster": grid.to_json(),
        "parts": parts,
    }


def read_chip(unit: Unit, *, policy: RetryPolicy | None = None) -> Pixels:
    """Read the pixels of a chip, the north at the top.

    Args:
        unit: unit of :func:`plan_chip`.
        policy: policy of retries; None for the run's, or ``POLICY`` of :mod:`eechips.archive.windows.raster` outside of
            a run.

    Returns:
        Masked array (bands, rows, columns) of the rasters' dtype, masked where no raster has data.

    Raises:
        PermanentError, TransientError, ConfigurationError: as :func:`eechips.archive.windows.read_window`.
    """
    combined: Pixels | None = None
    for part in unit["parts"]:
        pixels = read_window(part, policy=policy)
        if part["is_south_up"]:
            pixels = pixels[:, ::-1]
        if combined is None:
            combined = pixels
            continue
        empty = np.ma.getmaskarray(combined)
        mask = empty & np.ma.getmaskarray(pixels)
        combined = np.ma.MaskedArray(np.where(empty, pixels.data, combined.data), mask, fill_value=combined.fill_value)
        if not mask.any():
            break
    assert combined is not None, "a chip has parts"
    return combined


def _north_up(raster: Raster) -> Grid:
    """Return the grid of a raster with its rows from north to south."""
    a, b, c, d, e, f = raster.grid.transform
    if b != 0 or d != 0:
        raise UsageError(f"{raster.href} is rotated: chips need pixels along the axes of the crs")
    if e < 0:
        return raster.grid
    return Grid(raster.grid.crs, (a, b, c, d, -e, f + e * raster.grid.height), raster.grid.width, raster.grid.height)


def _part(raster: Raster, grid: Grid, bands: Sequence[int], memory: int) -> dict[str, Any] | None:
    """Return the window of a raster with the pixels of a chip, which may extend beyond it; None if they do not meet."""
    own = _north_up(raster)
    column, row = own.pixel(grid.transform[2], grid.transform[5])
    is_aligned = column.denominator == row.denominator == 1 and own.resolution == grid.resolution
    if own.crs != grid.crs or not is_aligned:
        raise UsageError(f"the pixels of {raster.href} are not aligned with the pixels of the first raster")
    window = Window(int(column), int(row), grid.width, grid.height)
    if not (-window.width < window.column < own.width and -window.height < window.row < own.height):
        return None
    if max(bands) > raster.bands:
        raise UsageError(
            f"{raster.href} has no band {max(bands)}: it has {format_count(raster.bands, 'band')}, numbered from 1"
        )
    _check_memory(raster, window, bands, memory)
    is_south_up = raster.grid.transform[4] > 0
    version = {} if raster.version is None else {"version": raster.version.to_json()}
    return {
        "href": raster.href,
        "col_off": window.column,
        "row_off": own.height - window.row - window.height if is_south_up else window.row,
        "width": window.width,
        "height": window.height,
        "bands": list(bands),
        "raster": raster.grid.to_json(),
        "cache": _cache(raster, window, bands),
        "is_south_up": is_south_up,
        **version,
        **({"others": list(raster.others)} if raster.others else {}),
        **({"header": raster.header.to_json()} if raster.header else {}),
    }


def _decoded_pixels(raster: Raster, window: Window) -> int:
    """Return the pixels of the blocks that a window may touch."""
    blocks = raster.blocks
    columns = min(window.width // blocks.block_width + 2, blocks.columns)
    rows = min(window.height // blocks.block_height + 2, blocks.rows)
    return columns * rows * blocks.pixels


def _cache(raster: Raster, window: Window, bands: Sequence[int]) -> int:
    """Return the bytes of the decoded blocks that a window may touch."""
    return _decoded_pixels(raster, window) * raster.stored(bands)


def _check_memory(raster: Raster, window: Window, bands: Sequence[int], memory: int) -> None:
    """Check that a window needs at most ``memory`` bytes, before a worker is killed for it."""
    dtype = np.result_type(*(raster.dtypes[number - 1] for number in bands)).name
    budget = MemoryBudget.of(raster.stored(bands), dtype, len(bands), dtype, len(bands))
    need = budget.required_memory(window.width * window.height, decoded=_decoded_pixels(raster, window))
    if need > memory:
        blocks = f"{raster.blocks.block_width:,}x{raster.blocks.block_height:,}"
        raise UsageError(
            f"max_memory={format_bytes(memory)} is too little for a chip of {window.width:,}x{window.height:,} pixels"
            f" of {raster.href}, whose blocks of {blocks} pixels cannot be read in parts: it needs"
            f" {format_bytes(need)}. Allow as much, or convert the raster to tiles (gdal_translate -of COG)"
        )
