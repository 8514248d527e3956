"""Ready pictures: what the light server answers with. Made once for each size; each unit's differ in a few bytes.

A picture depends on the unit, the format and the grid alone, so that whoever asked can tell what should have come.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import rasterio

MASK = "eechips_mask"


@dataclass(frozen=True)
class Asked:
    """What a request asks for.

    Attributes:
        unit: the point of the unit: "longitude,latitude".
        format: PNG, JPEG, NPY or GEO_TIFF.
        width: pixels.
        height: pixels.
        bands: names of the bands.
        crs: CRS of the grid, for GEO_TIFF.
        transform: transform of the grid, in rasterio's order, for GEO_TIFF.
    """

    unit: str
    format: str = "PNG"
    width: int = 256
    height: int = 256
    bands: tuple[str, ...] = ("R", "G", "B")
    crs: str = "EPSG:26913"
    transform: tuple[float, ...] = (1.0, 0.0, 500_000.0, 0.0, -1.0, 4_400_000.0)


def picture(asked: Asked) -> bytes:
    """The file that answers a request."""
    if asked.format in ("PNG", "AUTO_JPEG_PNG"):
        head, tail = _png(asked.width, asked.height, len(asked.bands))
        return head + _chunk(b"tEXt", b"unit\0" + asked.unit.encode()) + tail
    if asked.format == "NPY":
        head, pixels = _npy(asked.width, asked.height, asked.bands)
        return head + _mark(asked.unit, asked.bands) + pixels
    if asked.format == "GEO_TIFF":
        whole, first = _tiff(asked.width, asked.height, asked.bands, asked.crs, asked.transform)
        mark = _mark(asked.unit, asked.bands)
        return whole[:first] + mark + whole[first + len(mark) :]
    raise ValueError(f"no ready picture in the format {asked.format}")


def unit_of(png: bytes) -> str | None:
    """The unit that a PNG was made for; None for any other."""
    start = png.find(b"tEXtunit\0", 0, 200)
    if start < 0:
        return None
    (length,) = struct.unpack_from(">I", png, start - 4)
    return png[start + 9 : start + 4 + length].decode("ascii", "replace")


def _mark(unit: str, bands: tuple[str, ...]) -> bytes:
    """The first four pixels of a unit; all of them valid."""
    values = hashlib.sha256(unit.encode()).digest()
    return bytes(1 if name == MASK else values[4 * b + p] for p in range(4) for b, name in enumerate(bands))


def _pixels(width: int, height: int, bands: int) -> np.ndarray:
    """Noise upon blocks, which is as large as a photograph when it is compressed: (height, width, bands), uint8."""
    random = np.random.default_rng(0)
    blocks = random.integers(60, 180, (-(-height // 32), -(-width // 32), bands))
    coarse = np.kron(blocks, np.ones((32, 32, 1), dtype=int))[:height, :width]
    return (coarse + random.integers(-14, 15, coarse.shape)).astype("uint8")


@lru_cache(maxsize=16)
def _png(width: int, height: int, bands: int) -> tuple[bytes, bytes]:
    """A PNG, without the chunk that names the unit: what comes before it, and after it."""
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[bands], 0, 0, 0)
    rows = _pixels(width, height, bands).reshape(height, -1)
    scanlines = np.concatenate([np.zeros((height, 1), dtype="uint8"), rows], axis=1).tobytes()
    head = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header)
    return head, _chunk(b"IDAT", zlib.compress(scanlines, 6)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@lru_cache(maxsize=16)
def _npy(width: int, height: int, bands: tuple[str, ...]) -> tuple[bytes, bytes]:
    """A structured array, without its first four pixels: what comes before them, and after them."""
    pixels = _masked(width, height, bands)
    array = np.ascontiguousarray(pixels).view([(name, "u1") for name in bands])[:, :, 0]
    file = io.BytesIO()
    np.save(file, array)
    whole, size = file.getvalue(), pixels.size
    return whole[:-size], whole[-size + 4 * len(bands) :]


@lru_cache(maxsize=4096)
def _tiff(width: int, height: int, bands: tuple[str, ...], crs: str, transform: tuple[float, ...]) -> tuple[bytes, int]:
    """A GeoTIFF, and where its first pixel is. Not compressed, pixel by pixel, so that pixels can be put in."""
    profile = {"driver": "GTiff", "width": width, "height": height, "count": len(bands), "dtype": "uint8", "crs": crs}
    with rasterio.MemoryFile() as memory:
        with memory.open(transform=rasterio.Affine(*transform), interleave="pixel", **profile) as file:
            file.write(np.moveaxis(_masked(width, height, bands), 2, 0))
            file.descriptions = bands
        whole = bytes(memory.read())
    return whole, whole.index(_masked(width, height, bands)[0].tobytes())


@lru_cache(maxsize=16)
def _masked(width: int, height: int, bands: tuple[str, ...]) -> np.ndarray:
    pixels = _pixels(width, height, len(bands))
    pixels[:, :, [name == MASK for name in bands]] = 1
    return pixels
