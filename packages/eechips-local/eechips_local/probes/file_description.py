"""Describe files of the service: what their bytes say of data types, grids, masks and names."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from typing import Any

_START = 200  # characters of a text
_PNG_COLORS = {0: "grey", 2: "rgb", 3: "palette", 4: "grey with alpha", 6: "rgb with alpha"}


def describe_file(content: bytes) -> dict[str, Any]:
    """Return format, size and properties of a file, without its pixels."""
    described = {"bytes": len(content), "starts": content[:8].hex()}
    if content.startswith(b"\x93NUMPY"):
        return {**described, **_describe_array(content)}
    if content.startswith((b"II*\0", b"MM\0*", b"II+\0")):
        return {**described, **_describe_geotiff(content)}
    if content.startswith(b"\x89PNG"):
        return {**described, **_describe_png(content)}
    if content.startswith(b"\xff\xd8\xff"):
        return {**described, **_describe_jpeg(content)}
    if content.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = {name: _describe_member(archive, name) for name in sorted(archive.namelist())}
        return {"format": "zip", **described, "files": names}
    if content.startswith(b"GIF8"):
        width, height = struct.unpack("<HH", content[6:10])
        return {"format": "gif", **described, "size": [width, height]}
    return {"format": "text", **described, "text": content[:_START].decode("utf-8", "replace")}


def read_array(content: bytes) -> Any:
    """Return the structured NumPy array of a file."""
    import numpy as np

    return np.load(io.BytesIO(content), allow_pickle=False)


def _describe_member(archive: zipfile.ZipFile, name: str) -> Any:
    return describe_file(archive.read(name))


def _describe_array(content: bytes) -> dict[str, Any]:
    array = read_array(content)
    fields = {name: str(array.dtype[name]) for name in array.dtype.names} if array.dtype.names else str(array.dtype)
    return {"format": "npy", "version": content[6], "size": list(array.shape[::-1]), "bands": fields}


def _describe_geotiff(content: bytes) -> dict[str, Any]:
    import rasterio
    from rasterio.io import MemoryFile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with MemoryFile(content) as file, file.open() as source:
            return {
                "format": "tif",
                "size": [source.width, source.height],
                "types": list(source.dtypes),
                "crs": None if source.crs is None else source.crs.to_string(),
                "transform": list(source.transform)[:6],
                "nodata": None if source.nodata is None else str(source.nodata),
                "compression": None if source.compression is None else source.compression.value,
                "interleave": source.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE"),
                "blocks": [list(shape) for shape in source.block_shapes],
                "names": list(source.descriptions),
                "colors": [interpretation.name for interpretation in source.colorinterp],
                "masks": [[flag.name for flag in flags] for flags in source.mask_flag_enums],
                "tags": source.tags(),
                "overviews": source.overviews(1),
            }


def _describe_png(content: bytes) -> dict[str, Any]:
    width, height, depth, color = struct.unpack(">IIBB", content[16:26])
    chunks, position = [], 8
    while position + 8 <= len(content):
        length, name = struct.unpack(">I4s", content[position : position + 8])
        chunks.append(name.decode("latin-1"))
        position += 12 + length
    return {
        "format": "png", "size": [width, height], "depth": depth, "color": _PNG_COLORS.get(color, color),
        "chunks": list(dict.fromkeys(chunks)),
    }  # fmt: skip


def _describe_jpeg(content: bytes) -> dict[str, Any]:
    position = 2
    while position + 9 < len(content):
        marker, length = struct.unpack(">HH", content[position : position + 4])
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):  # start of frame: ITU-T T.81, B.2.2
            depth, height, width, bands = struct.unpack(">BHHB", content[position + 4 : position + 10])
            return {"format": "jpg", "size": [width, height], "depth": depth, "bands": bands}
        position += 2 + length
    return {"format": "jpg"}
