"""Write PNG and animated GIF files: compression, transparency, palettes of 255 colours.

PNG follows https://www.w3.org/TR/png-3/: 8 bits a channel, rows filtered by the difference to the row above. It is
written without a library, whose preparations take longer than writing a small chip. GIF follows
https://www.w3.org/Graphics/GIF/spec-gif89a.txt: at most 256 colours in each frame.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from zlib_ng import zlib_ng

from eechips_local.protocol.request_errors import InvalidError

if TYPE_CHECKING:
    from PIL.Image import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Colour types by number of channels: grey, grey with alpha, red green blue, those with alpha (section 11.2.1).
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_UP = 2
_LEVEL = 1
_WINDOW_BITS, _MEMORY = 15, 9
_MOST_EQUAL = 0.5
"""Share of bytes that equal the one before, up to which runs are too short to matter."""


def write_png(channels: Sequence[npt.NDArray[np.uint8]]) -> bytes:
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
    # Differences between rows are mostly noise, in which searches find little but runs, and in photographs not even
    # these: their codes alone take 60% of the time of a search for runs, and 3% more bytes.
    strategy = zlib_ng.Z_HUFFMAN_ONLY if _is_noise(filtered) else zlib_ng.Z_RLE
    packer = zlib_ng.compressobj(_LEVEL, zlib_ng.DEFLATED, _WINDOW_BITS, _MEMORY, strategy)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[count], 0, 0, 0)
    return b"".join(
        (
            _SIGNATURE,
            *_chunk(b"IHDR", header),
            *_chunk(b"IDAT", packer.compress(filtered.data) + packer.flush()),
            *_chunk(b"IEND", b""),
        )
    )


def _is_noise(filtered: npt.NDArray[np.uint8]) -> bool:
    """Return whether rows of differences have few equal neighbours, as every eighth row tells."""
    some = filtered[::8]
    return bool(np.count_nonzero(some[:, 1:] == some[:, :-1]) < _MOST_EQUAL * some.size)


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib_ng.crc32(data, zlib_ng.crc32(kind)))


# The last colour of each palette is that of pixels that are masked.
_PALETTE_SIZE = 255

Frame = npt.NDArray[np.uint8]
"""Red, green, blue and opacity: shape (height, width, 4)."""

_ENDLESSLY = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
"""The extension of GIF by which an animation begins again."""


def write_gif(frames: Sequence[Frame], frames_per_second: float) -> bytes:
    """Return an animation that repeats endlessly.

    A frame of up to 255 colours keeps them; of more, as many are chosen as suit it (median cut). Frames that are the
    same as the one before stay frames of their own: clients count them.

    Args:
        frames: frames of one size.
        frames_per_second: is kept to a hundredth of a second for each frame.

    Raises:
        InvalidError: if Pillow is not there.
    """
    try:
        from PIL import GifImagePlugin
    except ModuleNotFoundError as error:
        raise InvalidError("Animations need Pillow where the local Earth Engine runs: pip install pillow") from error
    height, width = frames[0].shape[:2]
    buffer = io.BytesIO()
    buffer.write(b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + _ENDLESSLY)
    for frame in frames:  # ``Image.save`` would join equal ones
        for block in GifImagePlugin.getdata(
            _paletted(frame), duration=round(1000.0 / frames_per_second), disposal=2, transparency=_PALETTE_SIZE,
            include_color_table=True,
        ):  # fmt: skip
            buffer.write(block)
    buffer.write(b";")
    return buffer.getvalue()


def _paletted(frame: Frame) -> Image:
    from PIL import Image

    height, width = frame.shape[:2]
    red, green, blue = (frame[..., channel].astype(np.uint32) for channel in range(3))
    codes = red << 16 | green << 8 | blue  # numbers are sorted a hundred times as fast as rows of three
    known = np.unique(codes)
    if len(known) <= _PALETTE_SIZE:
        indices = np.searchsorted(known, codes).astype(np.uint8)
        colours = np.stack([known >> 16, known >> 8 & 255, known & 255], axis=1).astype(np.uint8)
    else:
        chosen = Image.fromarray(np.ascontiguousarray(frame[..., :3])).quantize(
            _PALETTE_SIZE, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
        )
        colours = np.array(chosen.getpalette(), dtype=np.uint8).reshape(-1, 3)[:_PALETTE_SIZE]
        indices = np.array(chosen)
    indices[frame[..., 3] < 128] = _PALETTE_SIZE
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[: len(colours)] = colours
    image = Image.frombytes("P", (width, height), indices.tobytes())
    image.putpalette(palette.tobytes())
    return image
