"""Keep the header of a remote GeoTIFF, so that its blocks are read without requests for the header.

A kept header belongs to one version of a file. Each request for blocks requires this version; if there is another one,
the header is read again.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eechips.archive.windows.locations import RasterLocation
from eechips.archive.windows.range_requests import OtherVersionError, is_supported, merge_ranges, read_range
from eechips.archive.windows.versions import RasterVersion
from eechips.client.http.http_messages import Timeouts
from eechips.errors import ValidationError
from eechips.formats.tiff_layout import (
    MOST_BYTES,
    IncompleteHeaderError,
    TiffLayout,
    UnsupportedTiffError,
    parse_layout,
)
from eechips.geo.grid import Window

_FIRST = 16 << 10  # bytes of the first request: most headers of cloud-optimised GeoTIFFs are smaller
_MOST_REQUESTS = 8  # for a header
_SPARE = 1 << 20  # bytes by which blocks may exceed twice their decoded size


@dataclass(frozen=True, slots=True)
class KeptHeader:
    """Header of a GeoTIFF.

    Attributes:
        layout: layout of its blocks, see :class:`~eechips.formats.tiff_layout.TiffLayout`.
        size: size of the file in bytes.
        alpha: number of the alpha band, which is read with every other band; None if there is none.
    """

    layout: bytes
    size: int
    version: RasterVersion
    alpha: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value for :meth:`from_json`."""
        packed = base64.b85encode(zlib.compress(self.layout, 9)).decode()
        return {"layout": packed, "size": self.size, "version": self.version.to_json(), "alpha": self.alpha}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> KeptHeader:
        """Read the value that ``to_json`` returned.

        Raises:
            ValidationError: if it is damaged, or too large.
        """
        try:
            unpacking = zlib.decompressobj()
            layout = unpacking.decompress(base64.b85decode(value["layout"]), MOST_BYTES)
            if not unpacking.eof:
                raise ValidationError(f"a kept header has more than {MOST_BYTES >> 20} MiB, or is truncated")
            return cls(layout, int(value["size"]), RasterVersion.from_json(value["version"]), value["alpha"])
        except (ValueError, KeyError, TypeError, zlib.error) as error:
            raise ValidationError(f"a kept header cannot be read: {error!r}") from error

    def empty(self) -> bytes:
        """Return a TIFF with the header, without blocks.

        Raises:
            ValidationError: if the header is damaged.
        """
        return self._parsed().small({})

    def fetch(
        self,
        location: RasterLocation,
        window: Window,
        bands: Sequence[int],
        most: int,
        timeouts: Timeouts,
        count: Callable[[int], object],
    ) -> bytes | None:
        """Fetch the blocks of a window; neighbouring ones by one request.

        Args:
            bands: numbers from 1.
            most: bytes of the decoded blocks, at most.
            count: called with the bytes of each response.

        Returns:
            A TIFF with these blocks. None if their compressed sizes are implausible.

        Raises:
            OtherVersionError: if the file was replaced.
            ValidationError: if the header is damaged.
            TransientError, PermanentError, ConfigurationError: if the file cannot be read.
        """
        layout = self._parsed()
        ranges = layout.ranges(window, [*bands, *([self.alpha] if self.alpha else [])])
        if sum(end - start for start, end in ranges) > 2 * most + _SPARE:
            return None
        blocks: dict[int, bytes] = {}
        for first, last in merge_ranges(ranges):
            data, _ = read_range(location, first, last, timeouts, self.version)
            count(len(data))
            for start, end in ranges:
                if first <= start and end <= last:
                    blocks[start] = data[start - first : end - first]
        return layout.small(blocks)

    def _parsed(self) -> TiffLayout:
        try:
            return parse_layout(self.layout, self.size)
        except (UnsupportedTiffError, IncompleteHeaderError) as error:
            raise ValidationError(f"a kept header cannot be read: {error}") from error


def fetch_header(location: RasterLocation, timeouts: Timeouts, count: Callable[[int], object]) -> KeptHeader | None:
    """Read the header of a file, usually by one request; ``count`` is called with the bytes of each response.

    Returns:
        None if it cannot be kept: the file is not a TIFF whose blocks can be read in parts, not on the web or in S3, or
        its server states no version.

    Raises:
        TransientError, PermanentError, ConfigurationError: if the file cannot be read.
    """
    if not is_supported(location):
        return None
    data, version = read_range(location, 0, _FIRST, timeouts)
    count(len(data))
    if version.size is None or (version.tag is None and version.modified is None):
        return None
    for _ in range(_MOST_REQUESTS):
        try:
            return KeptHeader(parse_layout(data, version.size).dumps(), version.size, version)
        except UnsupportedTiffError:
            return None
        except IncompleteHeaderError as error:
            end = min(version.size, max(error.end, 2 * len(data)))
            try:
                more, _ = read_range(location, len(data), end, timeouts, version)
            except OtherVersionError:
                return None
            count(len(more))
            data += more
    return None
