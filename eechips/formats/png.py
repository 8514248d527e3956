"""Receive, assemble and validate PNG pictures: 8 bits, grey or colour; masked pixels are transparent; count the share
of valid pixels; refuse those that unpack to gigabytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from zlib_ng import zlib_ng as zlib  # inflating takes most of the time of a check

from eechips.errors import ValidationError
from eechips.formats.chip_format import MAX_DECODED_BYTES, ChipFormat, EncodedFile, Expectation, FileMetadata
from eechips.formats.raster import decoding, encode_picture, import_rasterio, paste_parts
from eechips.geo.grid import Part

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Colour type → channels (https://www.w3.org/TR/png-3/#11IHDR); palette images count as colour.
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PALETTE = 3
_OPAQUE = 255
_LAST_FILTER = 4  # https://www.w3.org/TR/png-3/#9Filter-types
_HEADER = struct.Struct(">IIBBBBB")
CHANNEL_NAMES = {1: ("gray",), 3: ("red", "green", "blue")}


@dataclass(frozen=True, slots=True)
class _Header:
    width: int
    height: int
    depth: int
    colour: int
    interlace: int

    @property
    def channels(self) -> int:
        return _CHANNELS[self.colour]

    @property
    def has_alpha(self) -> bool:
        return self.colour in (4, 6)

    def scanline_bytes(self) -> int:
        """Compute the bytes of all filtered scanlines together, one filter byte each."""
        return self.height * (1 + (self.width * self.channels * self.depth + 7) // 8)


def receive(data: bytes, expectation: Expectation) -> EncodedFile:
    """Check a PNG from Earth Engine, which is saved unchanged."""
    return EncodedFile(data, "png", validate(data, expectation))


def assemble(parts: Sequence[Part[EncodedFile]], expectation: Expectation) -> EncodedFile:
    """Assemble one PNG from its parts, with unchanged pixels."""
    colours, alpha = merge(parts)
    data = encode(colours, alpha)
    return EncodedFile(data, "png", validate(data, expectation))


def merge(parts: Sequence[Part[EncodedFile]]) -> tuple[Any, Any | None]:
    """Decode the parts of a picture, which are PNGs, and join their pixels.

    Returns:
        Colours, (bands, rows, columns), 1 band or 3; and alpha, (rows, columns), of the same type, 0 for transparent
        and the maximum for opaque pixels. None instead of alpha if all pixels are opaque.

    Raises:
        ValidationError: if they are not parts of one picture.
    """
    pieces = [(part.window, *decode(part.content.data)) for part in parts]
    colours = paste_parts([Part(window, piece) for window, piece, _ in pieces])
    if all(alpha is None for _, _, alpha in pieces):
        return colours, None
    return colours, paste_parts(
        [Part(w, np.full(c.shape[1:], np.iinfo(c.dtype).max, c.dtype) if a is None else a) for w, c, a in pieces]
    )


def encode(colours: Any, alpha: Any | None) -> bytes:
    """Encode a PNG.

    Args:
        colours: (bands, rows, columns), uint8 or uint16, 1 band or 3.
        alpha: (rows, columns), of the same type; None if every pixel is opaque.
    """
    bands = colours if alpha is None else np.concatenate([colours, alpha[None]])
    return encode_picture(bands, "PNG", has_alpha=alpha is not None)


def decode(data: bytes) -> tuple[Any, Any | None]:
    """Decode colours, (bands, rows, columns), and alpha or None; palettes are resolved.

    Raises:
        ValidationError: if it does not decode.
    """
    import_rasterio()
    from rasterio.enums import ColorInterp

    with decoding(data, "PNG") as source:
        bands = source.read()
        if source.colorinterp[0] == ColorInterp.palette:
            palette = np.zeros((256, 4), "uint8")
            for index, colour in source.colormap(1).items():
                palette[index] = colour
            bands = np.moveaxis(palette[bands[0]], -1, 0)
            return bands[:3], None if (bands[3] == _OPAQUE).all() else bands[3]
        if len(bands) in (2, 4):
            return bands[:-1], bands[-1]
        opaque = source.dataset_mask() != 0
    return bands, None if opaque.all() else np.where(opaque, np.iinfo(bands.dtype).max, 0).astype(bands.dtype)


def validate(data: bytes, expectation: Expectation) -> FileMetadata:
    """Check a PNG, and return its metadata.

    GDAL's PNG driver accepts truncated files. Therefore this function checks the checksum of every chunk, the end mark,
    and the length of the inflated pixels.
    """
    header, packed, has_transparency = _read(data)
    expectation.check_size(header.width, header.height)
    if not header.interlace:
        _check_pixels(header, packed)
    colours = 3 if header.colour == _PALETTE else header.channels - header.has_alpha
    if expectation.bands is not None and len(expectation.bands) != colours and colours != 3:
        expectation.check_bands(colours)
    needs_decoding = header.has_alpha or has_transparency or header.interlace
    return FileMetadata(
        width=header.width,
        height=header.height,
        bands=expectation.bands if len(expectation.bands or ()) == colours else CHANNEL_NAMES[colours],
        dtype="uint8" if header.depth <= 8 else "uint16",
        valid_fraction=_valid_fraction(data) if needs_decoding else 1.0,
    )


def _read(data: bytes) -> tuple[_Header, bytes | memoryview, bool]:
    """Return header, compressed pixels, and whether a tRNS chunk declares transparent colours."""
    header: _Header | None = None
    packed: list[memoryview] = []
    has_transparency = False
    for kind, content in _chunks(data):
        if kind == b"IHDR":
            if len(content) != _HEADER.size:
                raise ValidationError("not a PNG: impossible header")
            width, height, depth, colour, _, _, interlace = _HEADER.unpack(content)
            if colour not in _CHANNELS or not width or not height:
                raise ValidationError("not a PNG: impossible header")
            header = _Header(width, height, depth, colour, interlace)
        elif kind == b"IDAT":
            packed.append(content)
        elif kind == b"tRNS":
            has_transparency = True
    if header is None or not packed:
        raise ValidationError("not a PNG: no header or no pixels")
    return header, packed[0] if len(packed) == 1 else b"".join(packed), has_transparency


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    if not data.startswith(SIGNATURE):
        raise ValidationError(f"not a PNG: it begins with {data[:8]!r}")
    view = memoryview(data)
    position, kind = len(SIGNATURE), b""
    while position < len(data):
        if position + 12 > len(data):
            raise ValidationError(f"truncated PNG: it ends inside a chunk, at byte {len(data)}")
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 12 + length
        if end > len(data):
            raise ValidationError(f"truncated PNG: {end - len(data)} bytes of a chunk are missing")
        kind, content = bytes(view[position + 4 : position + 8]), view[position + 8 : end - 4]
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(view[position + 4 : end - 4]) != checksum:
            raise ValidationError(f"damaged PNG: the checksum of chunk {kind!r} is wrong")
        yield kind, content
        position = end
        if kind == b"IEND":
            break
    if kind != b"IEND" or position != len(data):
        raise ValidationError("truncated PNG: no end mark, or something after it")


def _check_pixels(header: _Header, packed: bytes | memoryview) -> None:
    if header.scanline_bytes() > MAX_DECODED_BYTES:
        raise ValidationError(f"a PNG of {len(packed):,} bytes claims to have {header.scanline_bytes():,} of pixels")
    inflater = zlib.decompressobj()
    try:
        # One byte more than expected detects excess data, and bounds the memory.
        pixels = inflater.decompress(packed, header.scanline_bytes() + 1)
    except zlib.error as error:  # type: ignore[misc]  # its types have it as an instance
        raise ValidationError(f"damaged PNG: {error}") from None
    if len(pixels) != header.scanline_bytes():
        raise ValidationError(f"truncated PNG: {len(pixels)} of {header.scanline_bytes()} bytes of pixels")
    if max(pixels[:: len(pixels) // header.height]) > _LAST_FILTER:
        raise ValidationError("damaged PNG: a row has an unknown filter")


def _valid_fraction(data: bytes) -> float:
    with decoding(data, "PNG") as source:
        mask = source.dataset_mask()
    return float(np.count_nonzero(mask) / mask.size)


PNG = ChipFormat(
    name="png",
    suffixes=("png",),
    magic=(SIGNATURE,),
    media_type="image/png",
    is_picture=True,
    has_mask=True,
    request_format="png",
    part_format="png",
    gdal_driver="PNG",
    compression=0.6,
    receive=receive,
    assemble=assemble,
    validate=validate,
)
