"""Write PNG files: for small chips a library's preparations take longer than the writing.

The format is that of https://www.w3.org/TR/png-3/: 8 bits a channel, rows filtered by the difference to the row above.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Colour types by number of channels: grey, grey with alpha, red green blue, those with alpha (section 11.2.1).
_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}
_UP = 2
# Half the time of level 6; differences between rows are mostly noise, in which longer searches find little.
_LEVEL = 1


def write(channels: Sequence[npt.NDArray[np.uint8]]) -> bytes:
    """Return a PNG file.

    Args:
        channels: 1 to 4 arrays of shape (height, width): grey or red, green, blue; alpha last where there are 2 or 4.
    """
    height, width = channels[0].shape
    count = len(channels)
    pixels = np.empty((height, width, count), dtype=np.uint8)
    for index, channel in enumerate(channels):
        pixels[..., index] = channel
    rows = pixels.reshape(height, width * count)
    filtered = np.empty((height, 1 + width * count), dtype=np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[count], 0, 0, 0)
    return b"".join(
        (
            _SIGNATURE,
            *_chunk(b"IHDR", header),
            *_chunk(b"IDAT", zlib.compress(filtered.data, _LEVEL)),
            *_chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
