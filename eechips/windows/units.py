"""Work units that are windows of a raster."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from eechips.client.retry import RetryPolicy
from eechips.errors import ConfigurationError, RequestError, TransientError, UsageError
from eechips.human import human_bytes
from eechips.recipe import Unit
from eechips.windows.blocks import tile
from eechips.windows.budget import Budget, parse_memory
from eechips.windows.raster import PLANNING, Raster, describe

_log = logging.getLogger(__name__)


def plan_windows(
    href: str,
    *,
    bands: Sequence[int] | None = None,
    dtype: str = "float32",
    results: int = 1,
    max_memory: str | int = "256MB",
    working: int | None = None,
    policy: RetryPolicy = PLANNING,
) -> Iterator[Unit]:
    """Plans windows of a raster: whole blocks, each in exactly one window. Only the raster's header is read.

    Args:
        href: a file, ``http(s)://``, ``s3://``, ``gs://``, ``az://``, or a path of GDAL's.
        bands: numbers from 1; None for all.
        dtype: numpy name of the type of what is made of a window.
        results: bands of what is made of a window.
        max_memory: of a worker, in all: ``256MB``.
        working: bytes of a pixel for what is computed; None for eight of every band that is read or made.
        policy: of retries.

    Yields:
        ``{"kind": "window", "href", "col_off", "row_off", "width", "height", "bands"}``, in row-major order, with
        ``raster``, the grid of the whole, and ``cache``, bytes for the blocks of the window.

    Raises:
        UsageError: if the raster or a band is not there, or not even one block fits into the memory.
        ConfigurationError: if the store cannot be reached, or refuses to give it.
    """
    raster = _described(href, policy)
    numbers = tuple(range(1, raster.bands + 1)) if bands is None else tuple(bands)
    _check_bands(raster, numbers)
    stored = raster.bands if raster.is_interleaved else len(numbers)
    budget = Budget.of(stored, raster.dtype, len(numbers), dtype, results, working)
    most = budget.most(parse_memory(max_memory))
    if most < raster.blocks.pixels:
        size = f"{raster.blocks.block_width:,}x{raster.blocks.block_height:,}"
        need = human_bytes(budget.least(raster.blocks.pixels))
        raise UsageError(
            f"max_memory {max_memory} is too little for one block of {href}, {size} pixels: that takes {need}"
        )
    windows = list(tile(raster.blocks, most))
    _log.info("Windows: %s of %sx%s pixels at most", f"{len(windows):,}", windows[0].width, windows[0].height)
    shared = raster.grid.to_json()
    for window in windows:
        yield {
            "kind": "window",
            "href": href,
            "col_off": window.column,
            "row_off": window.row,
            "width": window.width,
            "height": window.height,
            "bands": list(numbers),
            "raster": shared,
            "cache": budget.cache * most,
        }


def _described(href: str, policy: RetryPolicy) -> Raster:
    try:
        return describe(href, policy=policy)
    except TransientError as error:
        raise ConfigurationError(f"the raster cannot be read at present: {error}") from error
    except RequestError as error:
        raise UsageError(f"the raster cannot be read: {error}") from error


def _check_bands(raster: Raster, numbers: Sequence[int]) -> None:
    wrong = [number for number in numbers if not 1 <= number <= raster.bands]
    if wrong or not numbers:
        which = f"no band {wrong[0]}" if wrong else "bands to choose from, and none was chosen"
        raise UsageError(f"{raster.href} has {which}: it has {raster.bands}, numbered from 1")
