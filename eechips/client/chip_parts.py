"""Split chips that are too large for one request, by the service's limits of bytes, sides and bands, and remember which
sizes it accepts.

No request is sent here: :mod:`eechips.client.fetcher` requests the windows of a chip. Tables are divided by
:mod:`eechips.client.table_rows`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from eechips.client.chip_parameters import Method, request_format
from eechips.errors import TooLargeError
from eechips.formats import CHIP_FORMATS
from eechips.geo.grid import Grid, Window, antimeridian_columns, wrap_longitude
from eechips.recipe import Chip

MIN_SIDE = 16
"""Shortest side of a part in pixels. A request that fails at this size fails at any."""

MAX_SPLITS = 6
"""Maximum number of times that a part is split. A rejection takes minutes if the computation timed out."""

_MOST_BYTES = 1 << 31  # of a chip, uncompressed: every worker joins one in memory at the same time

_PATIENCE = 16  # requests of a size that worked before a greater one is tried
_ADVICE = "fewer bands or a coarser scale"
_RGB = 3  # bands of what ``ee.Image.visualize`` makes


@dataclass(frozen=True, slots=True)
class PixelLimits:
    """Limits of one request for pixels.

    Attributes:
        bytes: uncompressed; see :meth:`eechips.geo.grid.Window.estimate_bytes`.
        side: pixels.
        bands: the mask band included; None where no limit is documented.
    """

    bytes: int
    side: int
    bands: int | None


PIXEL_LIMITS: Mapping[Method, PixelLimits] = {
    "url": PixelLimits(33_554_432, 10_000, None),
    "pixels": PixelLimits(50_331_648, 32_768, 1_024),
}
"""By URL: https://developers.google.com/earth-engine/apidocs/ee-image-getdownloadurl. By computePixels:
https://developers.google.com/earth-engine/reference/rest/v1/projects.image/computePixels. Both read 2026-11."""


def size_class(chip: Chip) -> Hashable:
    """Return the key of chips that take the service equal effort for the same number of pixels."""
    return (chip.format, chip.bands, chip.dtype, bool(chip.visualization))


def check_bands(chip: Chip, limits: PixelLimits) -> None:
    """Raise TooLargeError if a chip has more bands than one request may have; splitting its pixels does not help."""
    bands = len(chip.bands or ()) + (not chip.is_picture)
    if limits.bands is not None and bands > limits.bands:
        raise TooLargeError(
            f"{bands} bands, the mask's included, where computePixels takes {limits.bands}: take fewer, or `method` url"
        )


def check_memory(chip: Chip, whole: Window) -> None:
    """Raise TooLargeError if a chip is too large for the memory of a worker."""
    size = _least_bytes(chip, whole)
    if size > _MOST_BYTES:
        raise TooLargeError(
            f"{whole.width:,}x{whole.height:,} pixels are at least {size / 1e9:,.1f} GB, more than a file may have:"
            " fetch several chips, or choose a coarser scale"
        )


def unsplittable_error(error: TooLargeError, what: str) -> TooLargeError:
    """Make the error of a request that cannot be split further; ``what`` names its size (``16x16 pixels are``)."""
    batch = "" if error.batch == "never" else ", or a batch task (`export_to`)"
    return error.extended(f"Even {what} too much. What helps: {error.advice or _ADVICE}{batch}.")


def fits(chip: Chip, window: Window, limits: PixelLimits, most_pixels: int | None) -> bool:
    """Return whether a window of a chip fits into one request, as far as that is known before sending it.

    Args:
        most_pixels: greatest number of pixels that worked for such chips before; None if nothing was too large yet.
    """
    if max(window.width, window.height) > limits.side or _least_bytes(chip, window) > limits.bytes:
        return False
    return most_pixels is None or window.pixels <= most_pixels


def split_window(window: Window, is_fit: Callable[[Window], bool]) -> Iterator[Window]:
    """Yield quarters of a window, recursively, until each fits or is too small to split; they tile the window."""
    parts = (window,) if is_fit(window) else window.split(MIN_SIDE)
    if len(parts) == 1:
        yield window
        return
    for part in parts:
        yield from split_window(part, is_fit)


def count_requests(chip: Chip, limits: PixelLimits) -> int:
    """Count the requests for pixels that a chip takes by the documented limits; 1 if its size is unknown."""
    if chip.size is None:
        return 1
    windows = [Window(0, 0, *chip.size)] if chip.grid is None else earth_windows(chip.grid)
    return sum(1 for whole in windows for _ in split_window(whole, lambda window: fits(chip, window, limits, None)))


def earth_windows(grid: Grid) -> list[Window]:
    """Return the parts of a grid on either side of the antimeridian; the whole of most grids.

    The service has pixels in degrees from -180 to 180 only.
    """
    edges = (0, *antimeridian_columns(grid), grid.width)
    return [Window(start, 0, end - start, grid.height) for start, end in pairwise(edges)]


def lies_beyond(grid: Grid) -> bool:
    """Return whether a part of a grid in degrees lies beyond -180 to 180, so that it is requested by itself."""
    windows = earth_windows(grid)
    return len(windows) > 1 or wrap_longitude(grid) != grid


def part_request(chip: Chip, grid: Grid, window: Window) -> Chip:
    """Return the request for a window of a chip.

    Parts have the ``part_format`` of the chip's format: those of a JPEG are PNGs, so that it is compressed only once.

    Args:
        chip: the whole.
        grid: its pixels.
        window: some of them. Its transform is computed from the whole's: parts lie where the whole has them, to the
            rounding of one multiplication and one addition; those in degrees beyond 180, 360 degrees west of there.
    """
    return replace(
        chip,
        grid=wrap_longitude(grid.window(window.column, window.row, window.width, window.height)),
        region=None,
        dimensions=None,
        scale=None,
        crs=None,
        format=CHIP_FORMATS.get(chip.format).part_format,
    )


def _least_bytes(chip: Chip, window: Window) -> int:
    """Return the least number of bytes of a window: unknown bands and types count as small as possible."""
    if chip.is_picture:
        bands = _RGB if chip.visualization else len(chip.bands or ("?",))
        return window.estimate_bytes(bands, "uint8")
    dtype = chip.dtype or "uint8"
    mask = "uint8" if request_format(chip) == "npy" else dtype
    return window.estimate_bytes(len(chip.bands or ("?",)), dtype) + window.estimate_bytes(1, mask)


@dataclass(slots=True)
class _Known:
    size: int
    patience: int = _PATIENCE
    successes: int = 0


class RequestSizes:
    """Sizes of requests that the service accepted where larger ones were rejected, for later units.

    Units differ, so a size is not final: after some successes it doubles, and if that is rejected, twice as many
    successes are necessary before the next attempt. The number of rejections grows with the logarithm of the requests.
    Threads may share it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Hashable, _Known] = {}

    def most(self, kind: Hashable) -> int | None:
        """Return the size to begin with for a kind of request; None if none was rejected."""
        with self._lock:
            known = self._known.get(kind)
            return known.size if known else None

    def note(self, kind: Hashable, size: int, requests: int = 1, *, was_rejected: bool = False) -> None:
        """Remember a size that worked after a larger one was rejected, or count requests that worked at a known size.

        Args:
            size: what a request had at most.
            requests: number of requests that worked.
            was_rejected: whether a larger one was rejected before.
        """
        with self._lock:
            if was_rejected:
                known = self._known.setdefault(kind, _Known(size))
                # Of several threads that tried too much at the same time only the first finds a greater size here.
                known.patience *= 2 if known.size > size else 1
                known.size, known.successes = size, 0
            elif kind in self._known:
                known = self._known[kind]
                known.successes += requests
                if known.successes >= known.patience:
                    known.size, known.successes = 2 * known.size, 0
