"""Find the first difference between two responses, within a tolerance of numbers: of values, of pixels, of tables by
rows; fields that may differ.
"""

from __future__ import annotations

import csv
import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import rasterio
from rasterio.errors import RasterioError

from eechips_local.recording.recording_archive import DAMAGES

RELATIVE = 1e-6
"""Greatest relative difference of equal numbers, unless another is given."""
ABSOLUTE = 1e-9
"""Greatest difference of equal numbers around zero."""
JPEG_LEVELS = 8
"""Greatest difference of equal values of JPEG pictures, whose compression differs between encoders."""

# Of assets and names: when and where they are stored, which says nothing of their values.
_IGNORED = frozenset({"etag", "name", "nextPageToken", "quota", "sizeBytes", "updateTime"})
_MOST_UNPACKED = 512 << 20
_READ_AS = {"complex_int16": "complex64"}  # GDAL's type, which numpy lacks
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class ValueDifference:
    """The first difference of two responses.

    Attributes:
        where: the field or the array.
        recorded: what the recording has there.
        local: what the local Earth Engine has there.
    """

    where: str
    recorded: str
    local: str


_UNREADABLE = (*DAMAGES, MemoryError, csv.Error, RasterioError, PIL.Image.DecompressionBombError)


class _UndecodableError(ValueError):
    """A response is not in its format."""


@dataclass(frozen=True, slots=True)
class _Pixels:
    """Arrays by band, and their grid."""

    bands: Mapping[str, npt.NDArray[Any]]
    grid: str = ""
    levels: int = 0


def find_difference(recorded: bytes, local: bytes, *, is_json: bool, tolerance: float) -> ValueDifference | None:
    """Return the first difference of two results; None if they are equal.

    Args:
        recorded: content of the recorded response.
        local: content of the local one.
        is_json: whether the recorded response is JSON.
        tolerance: greatest relative difference of equal numbers.
    """
    try:
        expected = _decode(recorded, is_json=is_json)
    except _UndecodableError as error:
        return ValueDifference("recorded response", f"not readable: {error}", "")
    try:
        actual = _decode(local, is_json=is_json)
    except _UndecodableError as error:
        return ValueDifference("local response", "", f"not readable: {error}")
    try:
        return _compare(expected, actual, "", tolerance)
    except RecursionError:
        return ValueDifference("value", "nested too deeply to be compared", "")


def _decode(content: bytes, *, is_json: bool) -> Any:
    """Decode a result: JSON, pixels, an archive, a table as rows, or text.

    Raises:
        _UndecodableError: if it is damaged.
    """
    try:
        if is_json:
            return json.loads(content)
        if content.startswith(b"\x93NUMPY"):
            array = np.load(io.BytesIO(content), allow_pickle=False)
            names = array.dtype.names
            return _Pixels({name: array[name] for name in names} if names else {"": array})
        if content.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
            return _read_tiff(content)
        if content.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8")):
            return _read_picture(content)
        if content.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return _read_archive(content)
        text = content.decode()
        if text.startswith(("{", "[")):
            return json.loads(text)
        if text.startswith("<"):
            return text
        return [[_parse_cell(cell) for cell in row] for row in csv.reader(io.StringIO(text))]
    except _UNREADABLE as error:
        raise _UndecodableError(str(error)[:200]) from error


def _parse_cell(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def _read_tiff(content: bytes) -> _Pixels:
    with rasterio.MemoryFile(content) as memory, memory.open(driver="GTiff") as file:
        sizes = [np.dtype(_READ_AS.get(name, name)).itemsize for name in file.dtypes]
        _check_size(file.width * file.height * sum(sizes))
        names = [file.descriptions[index] or str(index + 1) for index in range(file.count)]
        grid = f"{file.crs} {tuple(file.transform)[:6]} nodata {file.nodata}"
        return _Pixels(dict(zip(names, file.read(), strict=True)), grid)


def _check_size(size: int) -> None:
    if size > _MOST_UNPACKED:
        raise _UndecodableError(f"it has more than {_MOST_UNPACKED >> 20} MiB")


def _read_picture(content: bytes) -> _Pixels:
    with PIL.Image.open(io.BytesIO(content)) as picture:
        frames = {}
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            frames[f"frame {number}"] = np.asarray(picture.convert("RGBA"))
        return _Pixels(frames, levels=JPEG_LEVELS if picture.format == "JPEG" else 0)


def _read_archive(content: bytes) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        _check_size(sum(member.file_size for member in archive.infolist()))
        return {
            member.filename: _decode(archive.read(member), is_json=False)
            for member in sorted(archive.infolist(), key=lambda zip_member: zip_member.filename)
        }


def _compare(expected: Any, actual: Any, where: str, tolerance: float) -> ValueDifference | None:
    if isinstance(expected, _Pixels) and isinstance(actual, _Pixels):
        return _compare_pixels(expected, actual, where, tolerance)
    if isinstance(expected, dict) and isinstance(actual, dict):
        return _compare_fields(expected, actual, where, tolerance)
    if isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            return ValueDifference(where or "list", f"{len(expected):,} items", f"{len(actual):,} items")
        pairs = enumerate(zip(expected, actual, strict=True))
        differences = (_compare(one, other, f"{where}[{index}]", tolerance) for index, (one, other) in pairs)
        return next((difference for difference in differences if difference is not None), None)
    if _is_equal(expected, actual, tolerance):
        return None
    return ValueDifference(where or "value", _show(expected), _show(actual))


def _compare_fields(
    expected: dict[str, Any], actual: dict[str, Any], where: str, tolerance: float
) -> ValueDifference | None:
    for name in sorted((expected.keys() | actual.keys()) - (_IGNORED if not where or "[" in where else set())):
        path = f"{where}.{name}" if where else name
        if name not in expected or name not in actual:
            missing = "missing"
            return ValueDifference(path, _show(expected.get(name, missing)), _show(actual.get(name, missing)))
        difference = _compare(expected[name], actual[name], path, tolerance)
        if difference is not None:
            return difference
    return None


def _compare_pixels(expected: _Pixels, actual: _Pixels, where: str, tolerance: float) -> ValueDifference | None:
    name = f"{where} " if where else ""
    if list(expected.bands) != list(actual.bands):
        return ValueDifference(f"{name}bands", _show(list(expected.bands)), _show(list(actual.bands)))
    if expected.grid != actual.grid:
        return ValueDifference(f"{name}grid", expected.grid, actual.grid)
    for band, one in expected.bands.items():
        other = actual.bands[band]
        label = f"{name}band {band}" if band else f"{name}pixels"
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            return ValueDifference(label, f"{one.dtype} {one.shape}", f"{other.dtype} {other.shape}")
        if one.dtype.kind not in "biuf":
            if not np.array_equal(one, other):
                return ValueDifference(label, _show(one.tolist()), _show(other.tolist()))
            continue
        left, right = one.astype("float64"), other.astype("float64")
        limit = np.maximum(tolerance * np.minimum(np.abs(left), np.abs(right)), ABSOLUTE) + expected.levels
        with np.errstate(invalid="ignore"):  # a difference of infinities
            is_close = np.abs(left - right) <= limit
        different = ~((left == right) | (np.isnan(left) & np.isnan(right)) | is_close)
        if different.any():
            first = tuple(int(coordinate) for coordinate in np.argwhere(different)[0])
            label += f": {int(different.sum()):,} of {different.size:,} values, first at {list(first)}"
            return ValueDifference(label, f"{one[first]}", f"{other[first]}")
    return None


def _is_equal(expected: Any, actual: Any, tolerance: float) -> bool:
    if not _is_number(expected) or not _is_number(actual):
        return type(expected) is type(actual) and bool(expected == actual)
    is_nan = expected != expected and actual != actual
    return is_nan or expected == actual or math.isclose(expected, actual, rel_tol=tolerance, abs_tol=ABSOLUTE)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _show(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
