"""Fetch the pixels of stored images by ``getPixels``, which evaluates no expression.

A response of ``getPixels`` has no mask band: "Masked or missing data will be encoded as zeroes"
(https://developers.google.com/earth-engine/reference/rest/v1/projects.assets/getPixels), or as the value that a GeoTIFF
declares as nodata. It gives a chip's file only if no pixel has such a value, so that all are valid. Chips with a pixel
in doubt are requested again by ``computePixels``, with their mask.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from eechips.client.chip_parameters import file_format
from eechips.client.transport import Transport
from eechips.errors import ConfigurationError, PermanentError, ValidationError
from eechips.formats import CHIP_FORMATS
from eechips.formats.interface import UncertainMaskError
from eechips.recipe import Chip

T = TypeVar("T")

_MOST_SKIPPED = 31
"""Chips of a dataset that are computed at once, at most, before another request for stored pixels is tried."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredChip(Chip):
    """A chip whose response has the stored pixels of its asset, without a mask band."""


@dataclass(slots=True)
class _Tries:
    """Requests for the images of a dataset: those in succession that were of no use, and chips to skip after them."""

    failures: int = 0
    skips: int = 0

    def is_due(self) -> bool:
        """Return whether to try the next chip."""
        self.skips -= 1
        return self.skips < 0

    def settle(self, *, is_used: bool) -> None:
        """Record a request."""
        self.failures = 0 if is_used else self.failures + 1
        self.skips = min(2**self.failures // 2 - 1, _MOST_SKIPPED)


class StoredPixels:
    """Requests for stored pixels. Threads may share it.

    A chip in doubt costs two requests. After several in succession, the next 1, 3, 7, … chips of the dataset are
    computed at once.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._tries: dict[Hashable, _Tries] = {}
        self._lock = threading.Lock()

    def fetch(self, chip: Chip, accept: Callable[[Chip, bytes], T]) -> T | None:
        """Fetch a chip that shows an asset, if its response proves that all of its pixels are valid.

        Args:
            chip: with an exact grid.
            accept: as of :meth:`eechips.client.fetcher.Fetcher.chip`.

        Returns:
            The value that ``accept`` returned; None if the chip has to be computed, since the service refuses the
            request, or the response is of no use.

        Raises:
            RequestError: transient, or too large.
        """
        if chip.asset is None or chip.grid is None or CHIP_FORMATS.get(chip.format).decode is None:
            return None
        with self._lock:
            tries = self._tries.setdefault((chip.asset.rpartition("/")[0] or chip.asset, chip.bands), _Tries())
            if not tries.is_due():
                return None
        stored = StoredChip(
            image=chip.image, grid=chip.grid, format=chip.format, bands=chip.bands, dtype=chip.dtype, asset=chip.asset
        )

        def receive(body: bytes) -> T | None:
            try:
                return accept(stored, body)
            except (UncertainMaskError, ValidationError):
                return None

        request = self._transport.capture(lambda: _send(chip))
        # The error that concerns the user is that of the chip's own expression.
        try:
            content: T | None = self._transport.post(request, receive)
        except (PermanentError, ConfigurationError):
            content = None
        with self._lock:
            tries.settle(is_used=content is not None)
        return content


def _send(chip: Chip) -> None:
    """Send the request through the client."""
    import ee

    assert chip.grid is not None
    parameters: dict[str, Any] = {
        "assetId": chip.asset,
        "fileFormat": file_format(chip),
        "grid": chip.grid.to_pixel_grid(),
        **({} if chip.bands is None else {"bandIds": list(chip.bands)}),
    }
    ee.data.getPixels(parameters)
