"""Plan the windows of a raster as units, within ``max_memory``; plan and read chips around places from rasters on one
grid.

Rows may run from north to south, or from south to north, as in some of the public files of the satellite embeddings
(https://source.coop/tge-labs/aef). Chips always have the north at the top.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from eechips.archive.windows.raster import Pixels, Raster, describe, read_window
from eechips.archive.windows.window_size import BlockLayout, MemoryBudget, min_window_pixels, tile
from eechips.client.retry import RetryPolicy
from eechips.errors import ConfigurationError, RegionError, RequestError, TransientError, UsageError
from eechips.geo.grid import TURN, Grid, Window
from eechips.recipe import Unit
from eechips.text.formatting import format_bytes, format_count, parse_bytes

_log = logging.getLogger(__name__)
_SMALLER_BLOCKS = "convert the raster to small tiles (gdal_translate -of COG -co BLOCKSIZE=256)"
_MOST_OFFSET = 0.001  # pixels between grids that coincide


def plan_windows(
    href: str,
    *,
    bands: Sequence[int] | None = None,
    dtype: str = "float32",
    results: int = 1,
    max_memory: str | int = "256MB",
    working: int | None = None,
    halo: int = 0,
    policy: RetryPolicy | None = None,
) -> Iterator[Unit]:
    """Plan windows of a raster: whole blocks, each in exactly one window. Only the header of the raster is read.

    The plan holds the version of the raster (ETag, or size and time of the last change). Windows of another version are
    not read: a raster that is replaced during a run needs another plan.

    Args:
        href: a file, ``http(s)://``, ``s3://``, ``gs://``, ``az://``, or a path of GDAL.
        bands: numbers from 1; None for all.
        dtype: numpy name of the result's dtype.
        results: number of bands of the result.
        max_memory: maximum memory of a worker in total, including some 144 MB for Python and its libraries: ``256MB``.
        working: bytes of a pixel for the computation; None for eight for each input and output band.
        halo: pixels around a window that are read with it, for computations on neighbours, such as a filter of 3 x 3
            pixels (1) or a slope (1). Blocks at the edges of windows are then read for each window that needs them.
        policy: policy of retries; None for the run's.

    Yields:
        ``{"kind": "window", "href", "col_off", "row_off", "width", "height", "bands"}``, in row-major order, with
        ``raster``, the grid of the whole, ``version`` of the file, and ``cache``, bytes for the blocks of the window.

    Raises:
        UsageError: if the raster or a band does not exist, the URL contains a secret, one block exceeds the memory, or
            the halo is negative.
        ConfigurationError: if the store does not respond, or denies access.
    """
    if not isinstance(halo, int) or halo < 0:
        raise UsageError(f"halo must be a number of pixels, not {halo}")
    raster = _described(href, policy)
    numbers = tuple(range(1, raster.bands + 1)) if bands is None else tuple(bands)
    _check_bands(raster, numbers)
    budget = MemoryBudget.of(raster.stored(numbers), _dtype_of(raster, numbers), len(numbers), dtype, results, working)
    if halo:  # at the edges of the raster, the pixels are copied into a larger array
        budget = replace(budget, working=budget.working + budget.read + budget.bands)
    most = budget.max_pixels(parse_bytes(max_memory))
    if most < (fewest := min_window_pixels(raster.blocks, halo)):
        raise _too_little_memory(href, raster.blocks, halo, f"{max_memory}", budget.required_memory(fewest))
    windows = list(tile(raster.blocks, most, halo))
    _log.info("Windows: %s of %sx%s pixels at most", f"{len(windows):,}", windows[0].width, windows[0].height)
    shared = _shared_fields(raster) | ({"halo": halo} if halo else {})
    for window in windows:
        yield {
            "kind": "window",
            "href": href,
            "col_off": window.column,
            "row_off": window.row,
            "width": window.width,
            "height": window.height,
            "bands": list(numbers),
            **shared,
            "cache": budget.cache * most,
        }


def _described(href: str, policy: RetryPolicy | None) -> Raster:
    try:
        return describe(href, policy=policy)
    except TransientError as error:
        raise ConfigurationError(f"the raster cannot be read now: {error}") from error
    except RequestError as error:
        raise UsageError(f"the raster cannot be read: {error}") from error


def _dtype_of(raster: Raster, numbers: Sequence[int]) -> str:
    """Return the common dtype of some bands."""
    dtypes = dict.fromkeys(raster.dtypes[number - 1] for number in numbers)
    if len(dtypes) > 1:
        raise UsageError(f"{raster.href} has bands of several types, {' and '.join(dtypes)}: choose bands of one type")
    return next(iter(dtypes))


def _shared_fields(raster: Raster) -> dict[str, Any]:
    """Return what all windows of a raster have in common."""
    return {
        "raster": raster.grid.to_json(),
        **({} if raster.version is None else {"version": raster.version.to_json()}),
        **({"others": list(raster.others)} if raster.others else {}),
    }


def _too_little_memory(href: str, blocks: BlockLayout, halo: int, allowed: str, needed: int) -> UsageError:
    size = f"{blocks.block_width:,}x{blocks.block_height:,}"
    around = f" with {halo:,} pixels around it" if halo else ""
    return UsageError(
        f"max_memory={allowed} is too little for one block of {href}, {size} pixels{around}, which cannot be read in"
        f" parts: it needs {format_bytes(needed)}. Allow as much, or {_SMALLER_BLOCKS}"
    )


def _check_bands(raster: Raster, numbers: Sequence[int]) -> None:
    wrong = [number for number in numbers if not 1 <= number <= raster.bands]
    if wrong or not numbers:
        which = f"no band {wrong[0]}" if wrong else "several bands, but none was chosen"
        raise UsageError(f"{raster.href} has {which}: it has {format_count(raster.bands, 'band')}, numbered from 1")


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
    from eechips.geo.crs import parse_crs, project  # loads PROJ, which workers do not need

    first = rasters[0]
    x, y = project(first.grid.crs, [point])[0].tolist()
    if not (np.isfinite(x) and np.isfinite(y)):
        raise RegionError(f"{first.grid.crs} has no coordinates at {point[0]:g}, {point[1]:g}")
    if parse_crs(first.grid.crs).is_geographic:  # the raster may have longitudes of 0 to 360, or beyond 180
        west, _, east, _ = first.grid.bounds
        x += TURN * round(((west + east) / 2 - x) / TURN)
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
    """Return the grid of a raster with its rows from north to south, or refuse a rotated one."""
    _, b, _, d, _, _ = raster.grid.transform
    if b or d:
        raise UsageError(f"{raster.href} is rotated: chips need pixels along the axes of the crs")
    return raster.grid.north_up()


def _part(raster: Raster, grid: Grid, bands: Sequence[int], memory: int) -> dict[str, Any] | None:
    """Return the window of a raster with the pixels of a chip, which may extend beyond it; None if they do not meet."""
    own = _north_up(raster)
    corner = own.pixel(grid.transform[2], grid.transform[5])
    column, row = map(round, corner)
    offset = max(abs(corner[0] - column), abs(corner[1] - row))  # pixel sizes such as 0.01 degrees are no exact floats
    if own.crs != grid.crs or offset > _MOST_OFFSET or not np.allclose(own.resolution, grid.resolution, 1e-9, 0.0):
        raise UsageError(f"the pixels of {raster.href} are not aligned with the pixels of the first raster")
    window = Window(column, row, grid.width, grid.height)
    if not (-window.width < window.column < own.width and -window.height < window.row < own.height):
        return None
    if max(bands) > raster.bands:
        raise UsageError(
            f"{raster.href} has no band {max(bands)}: it has {format_count(raster.bands, 'band')}, numbered from 1"
        )
    _check_memory(raster, window, bands, memory)
    is_south_up = raster.grid.transform[4] > 0
    return {
        "href": raster.href,
        "col_off": window.column,
        "row_off": own.height - window.row - window.height if is_south_up else window.row,
        "width": window.width,
        "height": window.height,
        "bands": list(bands),
        **_shared_fields(raster),
        "cache": _decoded_pixels(raster, window) * raster.stored(bands),  # bytes
        "is_south_up": is_south_up,
        **({"header": raster.header.to_json()} if raster.header else {}),
    }


def _decoded_pixels(raster: Raster, window: Window) -> int:
    """Return the pixels of the blocks that a window may touch."""
    blocks = raster.blocks
    columns = min(window.width // blocks.block_width + 2, blocks.columns)
    rows = min(window.height // blocks.block_height + 2, blocks.rows)
    return columns * rows * blocks.pixels


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
            f" {format_bytes(need)}. Allow as much, or {_SMALLER_BLOCKS}"
        )
