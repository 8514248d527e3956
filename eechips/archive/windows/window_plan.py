"""Plan the windows of a raster as units."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from eechips.archive.windows.raster import Raster, describe
from eechips.archive.windows.window_size import MemoryBudget, min_window_pixels, tile
from eechips.client.retry import RetryPolicy
from eechips.errors import ConfigurationError, RequestError, TransientError, UsageError
from eechips.recipe import Unit
from eechips.text.formatting import format_bytes, format_count, parse_bytes

_log = logging.getLogger(__name__)


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
    if most < min_window_pixels(raster.blocks, halo):
        size = f"{raster.blocks.block_width:,}x{raster.blocks.block_height:,}"
        around = f" with {halo:,} pixels around it" if halo else ""
        need = format_bytes(budget.required_memory(min_window_pixels(raster.blocks, halo)))
        raise UsageError(
            f"max_memory={max_memory} is too little for one block of {href}, {size} pixels{around}, which cannot be"
            f" read in parts: it needs {need}. Allow as much, or convert the raster to tiles (gdal_translate -of COG)"
        )
    windows = list(tile(raster.blocks, most, halo))
    _log.info("Windows: %s of %sx%s pixels at most", f"{len(windows):,}", windows[0].width, windows[0].height)
    shared: dict[str, Any] = {"raster": raster.grid.to_json()}
    if raster.version is not None:
        shared["version"] = raster.version.to_json()
    if halo:
        shared["halo"] = halo
    if raster.others:
        shared["others"] = list(raster.others)
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


def _check_bands(raster: Raster, numbers: Sequence[int]) -> None:
    wrong = [number for number in numbers if not 1 <= number <= raster.bands]
    if wrong or not numbers:
        which = f"no band {wrong[0]}" if wrong else "several bands, but none was chosen"
        raise UsageError(f"{raster.href} has {which}: it has {format_count(raster.bands, 'band')}, numbered from 1")
