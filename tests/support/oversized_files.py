"""Small files that unpack into large ones."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def zeros(size: int, block: int = 1 << 20) -> bytes:
    """So many zeros, deflated."""
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(block)) for _ in range(size // block)]
    return b"".join([*parts, packer.compress(bytes(size % block)), packer.flush()])


def png(width: int = 30_000, height: int = 30_000, unpacked: int = 64 << 20) -> bytes:
    """A PNG whose header claims gigabytes of pixels, and whose data unpack into some of them."""
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zeros(unpacked)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def tiff(edge: int = 60_000) -> bytes:
    """A GeoTIFF without a written block: 14 GB of zeros in some kilobytes."""
    import rasterio
    from affine import Affine
    from rasterio.io import MemoryFile

    profile = {"driver": "GTiff", "width": edge, "height": edge, "count": 4, "dtype": "uint8", "tiled": True}
    profile["transform"] = Affine(1.0, 0.0, 500_000.0, 0.0, -1.0, 4_000_000.0)
    with MemoryFile() as memory:
        with rasterio.Env(), memory.open(**profile, blockxsize=4096, blockysize=4096, SPARSE_OK=True):
            pass
        return bytes(memory.read())


def npy(shape: tuple[int, ...] = (1 << 20, 1 << 20)) -> bytes:
    """An array whose header claims a terabyte."""
    import numpy as np

    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + bytes(100)


def zipped(size: int = 1 << 30) -> bytes:
    """An archive whose member claims to be larger than any result."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.tif", bytes(16 << 20))
    data = buffer.getvalue()
    place = data.rindex(b"PK\x01\x02") + 24  # the uncompressed size in the central directory
    return data[:place] + struct.pack("<I", 4 * size - 1) + data[place + 4 :]


def parquet(rows: int) -> bytes:
    """Rows that are all null: some kilobytes, however many they are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    block = 1 << 24
    schema = pa.schema([(name, pa.float64()) for name in ("id", "split")])
    with pq.ParquetWriter(buffer, schema, compression="zstd") as writer:
        nulls = pa.nulls(block, pa.float64())
        for _ in range(rows // block):
            writer.write_table(pa.table([nulls, nulls], schema=schema), row_group_size=block)
    return buffer.getvalue()
