"""Write GeoTIFFs whose headers GDAL has written: tiles or strips, compression, predictors, at most 4 GB.

A run writes many files of one kind: same size, bands, type and coordinate reference system. GDAL takes longer to open
and close a file of a few thousand pixels than to compress them. It therefore writes an empty file of each kind once.
Its header gets the transform of the file and the places of its blocks, which are compressed here.

Predictors: TIFF 6.0, section 14 (https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf), and Adobe Photoshop
TIFF Technical Note 3 (http://chriscox.org/TIFFTN3d1.pdf). Tags of the transform: OGC GeoTIFF 1.1, section 7.2
(https://docs.ogc.org/is/19-008r4/19-008r4.html).
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from zlib_ng import zlib_ng as zlib

from eechips.errors import ValidationError
from eechips.formats.raster import import_rasterio
from eechips.formats.tiff_layout import TiffImage, TiffLayout, encode_header, parse_layout

_MAX_STRIP = 512  # pixels a side: larger images are tiled for reading of windows
_TILE = 256
_MOST_BYTES = (1 << 32) - 1  # of a TIFF with offsets of 4 bytes
_KINDS = 64  # of files whose headers are kept
_PREDICTOR = 317
_PIXEL_SCALE, _TIE_POINT, _TRANSFORMATION = 33550, 33922, 34264
_DIFFERENCES, _FLOATS = 2, 3  # predictors
_NORTH_UP, _ROTATED = (2.0, 0.0, 3.0, 0.0, -2.0, 5.0), (2.0, 1.0, 3.0, 1.0, 2.0, 5.0)
"""Transforms of empty files: GDAL writes other tags for those that are not north up."""


@dataclass(frozen=True, slots=True)
class FileKind:
    """What files of equal headers have in common.

    Attributes:
        shape: bands, rows, columns.
        dtype: numpy name of the type.
        wkt: WKT of the coordinate reference system; empty if there is none.
        crs: rasterio CRS of this WKT, or None.
        names: names of the bands.
        nodata: value of masked pixels; None for none.
        has_mask: whether there is an internal mask.
        is_north_up: whether rows run east and columns south.
    """

    shape: tuple[int, int, int]
    dtype: str
    wkt: str
    crs: Any = field(compare=False)
    names: tuple[str, ...]
    nodata: float | None
    has_mask: bool
    is_north_up: bool


@functools.lru_cache(maxsize=_KINDS)
def writer_of(kind: FileKind) -> GeotiffWriter:
    """Return the writer of a kind of file. GDAL writes the header with the first call."""
    import_rasterio()
    import rasterio
    from rasterio.io import MemoryFile

    count, height, width = kind.shape
    is_tiled = max(width, height) > _MAX_STRIP
    blocks = {"blockxsize": _TILE, "blockysize": _TILE} if is_tiled else {"blockysize": height}
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "count": count,
        "dtype": kind.dtype,
        "crs": kind.crs,
        "transform": Affine(*(_NORTH_UP if kind.is_north_up else _ROTATED)),
        "nodata": kind.nodata,
        "interleave": "band",
        "compress": "deflate",
        "predictor": {"f": _FLOATS, "c": 1}.get(np.dtype(kind.dtype).kind, _DIFFERENCES),
        "tiled": is_tiled,
        "endianness": "little",
        "sparse_ok": True,
        "bigtiff": "no",
        "alpha": "NO",  # GDAL takes the fourth of four bands of bytes for opacity, as the infrared of NAIP is not
        **blocks,
    }
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), MemoryFile() as memory:
        with memory.open(**profile) as target:
            if kind.has_mask:
                target.write_mask(False)
            target.descriptions = kind.names
        header = memory.read()
    return GeotiffWriter(parse_layout(header, len(header)))


class GeotiffWriter:
    """Writer of the files of a kind, from the layout of an empty one. Threads may share it."""

    def __init__(self, layout: TiffLayout) -> None:
        self._images = layout.images
        self._head, self._places = encode_header(layout, is_big=False)

    def write(self, pixels: Any, mask: Any, transform: tuple[float, ...]) -> bytes:
        """Return a file.

        Args:
            pixels: (bands, rows, columns), of the shape and type of the kind.
            mask: (rows, columns), true where valid; None if files of this kind have none.
            transform: pixel corners to coordinates, (a, b, c, d, e, f).

        Raises:
            ValidationError: if the file is larger than a TIFF can be.
        """
        head = bytearray(self._head)
        self._set_transform(head, transform)
        blocks = []
        end = len(head)
        for number, image in enumerate(self._images):
            of_image = [zlib.compress(block) for block in _blocks(image, pixels if not number else mask[None])]
            sizes = np.array([len(block) for block in of_image], np.int64)
            offsets = end + np.cumsum(sizes) - sizes
            end += int(sizes.sum())
            if end > _MOST_BYTES:
                raise ValidationError("the file would be larger than 4 GB: ask for several chips, or a coarser scale")
            for tag, values in zip(image.block_tags, (offsets, sizes), strict=True):
                place = self._places[number, tag]
                head[place : place + 4 * len(values)] = values.astype("<u4").tobytes()
            blocks += of_image
        return b"".join([head, *blocks])

    def _set_transform(self, head: bytearray, transform: tuple[float, ...]) -> None:
        a, b, c, d, e, f = transform
        if (0, _TRANSFORMATION) in self._places:
            rows = (a, b, 0.0, c, d, e, 0.0, f)
            struct.pack_into("<8d", head, self._places[0, _TRANSFORMATION], *rows)
        else:
            struct.pack_into("<2d", head, self._places[0, _PIXEL_SCALE], a, -e)
            struct.pack_into("<2d", head, self._places[0, _TIE_POINT] + 24, c, f)


def _blocks(image: TiffImage, bands: Any) -> Iterator[bytes]:
    """Yield the blocks of an image before compression, band by band and row by row."""
    predictor_tag = image.tags.get(_PREDICTOR)
    predictor = 1 if predictor_tag is None else int.from_bytes(predictor_tag.data[:2], "little")
    is_mask = bands.dtype == np.bool_
    for band in bands:
        for row in range(0, image.height, image.block_height):
            for column in range(0, image.width, image.block_width):
                block = band[row : row + image.block_height, column : column + image.block_width]
                if image.is_tiled and block.shape != (image.block_height, image.block_width):
                    missing = (image.block_height - block.shape[0], image.block_width - block.shape[1])
                    block = np.pad(block, [(0, padding) for padding in missing])
                yield np.packbits(block, axis=1).tobytes() if is_mask else _predict(block, predictor)


def _predict(block: npt.NDArray[Any], predictor: int) -> bytes:
    """Return the bytes of a block after a predictor, which replaces values by their differences along rows."""
    little = np.ascontiguousarray(block, block.dtype.newbyteorder("<"))
    values: npt.NDArray[Any]
    if predictor == _DIFFERENCES:
        values = little.view(f"<u{little.itemsize}")
    elif predictor == _FLOATS:
        rows, columns = little.shape
        # The most significant bytes of all values of a row come first.
        parts = little.view(np.uint8).reshape(rows, columns, little.itemsize)[:, :, ::-1].transpose(0, 2, 1)
        values = parts.reshape(rows, columns * little.itemsize)
    else:
        return little.tobytes()
    differences = values.copy()
    differences[:, 1:] -= values[:, :-1]
    return differences.tobytes()
