"""Describe the file that a catalogue announces (size, checksum, media type, shape, bands, CRS), and compare a
downloaded file with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips.archive.downloads.integrity import (
    VAGUE_TYPES,
    check_end,
    check_kind,
    is_known_suffix,
    kind_of,
    normal_type,
)
from eechips.errors import UsageError, ValidationError
from eechips.formats import FileMetadata
from eechips.formats.raster import import_rasterio
from eechips.geo.crs import parse_crs
from eechips.geo.untrusted_rasters import open_raster
from eechips.processes.warning_filters import ignore_warning
from eechips.text.formatting import parse_count

# Code: algorithm and digest size in bytes (https://github.com/multiformats/multicodec/blob/master/table.csv).
_MULTIHASHES = {
    0x11: ("sha1", 20),
    0x12: ("sha256", 32),
    0x13: ("sha512", 64),
    0x14: ("sha3_512", 64),
    0x15: ("sha3_384", 48),
    0x16: ("sha3_256", 32),
    0x17: ("sha3_224", 28),
    0x20: ("sha384", 48),
    0xD5: ("md5", 16),
    0x1013: ("sha224", 28),
    0x1014: ("sha512_224", 28),
    0x1015: ("sha512_256", 32),
    **{0xB200 + size: (f"blake2b-{size}", size) for size in range(1, 65)},
    **{0xB240 + size: (f"blake2s-{size}", size) for size in range(1, 33)},
}
_MD5 = re.compile(r'"([0-9a-f]{32})"')
DRIVERS = {
    "image/tiff": "GTiff",
    "image/geotiff": "GTiff",
    "image/x-geotiff": "GTiff",
    "application/geotiff": "GTiff",
    "image/jpx": "JP2OpenJPEG",
    "image/x.geotiff": "GTiff",
    "image/vnd.stac.geotiff": "GTiff",
    "image/jp2": "JP2OpenJPEG",
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/jpg": "JPEG",
}
_SUFFIXES = {
    "tif": "GTiff",
    "tiff": "GTiff",
    "jp2": "JP2OpenJPEG",
    "png": "PNG",
    "jpg": "JPEG",
    "jpeg": "JPEG",
    "img": "HFA",
}
"""Formats by suffix; the first suffix of a format is the default for files without one."""
_IMAGES = ("GTiff", "JP2OpenJPEG")
"""Formats that can become assets of the local Earth Engine unchanged."""
_UNPLACED = ("image/png", "image/jpeg", "image/jpg")
"""Formats without a CRS in the header: previews of other assets."""
_PICTURES = frozenset({"thumbnail", "overview"})
_READERS = ("GTiff", "JP2OpenJPEG", "JP2KAK", "JP2ECW", "PNG", "JPEG", "WEBP", "GIF", "HFA", "NITF")
"""GDAL drivers allowed for downloads: none of them follows references to other files."""

_EMPTY = FileMetadata()


class MisdescribedError(ValidationError):
    """A file is whole, but its header is not as the catalogue describes it.

    Args:
        text: what differs.
        metadata: what the header states.
    """

    def __init__(self, text: str, metadata: FileMetadata = _EMPTY) -> None:
        super().__init__(text)
        self.metadata = metadata


@dataclass(frozen=True, slots=True)
class Checksum:
    """An expected digest.

    Attributes:
        algorithm: name as in :func:`eechips.archive.downloads.integrity.create_digest`.
        digest: hexadecimal, lower case.
    """

    algorithm: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedFile:
    """Properties of a file that its catalogue states; None for unstated ones.

    Attributes:
        size: bytes.
        checksum: multihash of the file extension, hexadecimal.
        shape: rows and columns.
        crs: code, such as EPSG:32613.
    """

    size: int | None = None
    checksum: str | None = None
    media_type: str | None = None
    suffix: str = ""
    shape: tuple[int, int] | None = None
    bands: int | None = None
    crs: str | None = None

    @classmethod
    def of(cls, asset: Mapping[str, Any], properties: Mapping[str, Any], suffix: str) -> ExpectedFile:
        """Read the properties from an asset, and from its item where that speaks for all assets.

        The sources are https://github.com/stac-extensions/file, projection 1 and 2, raster, eo, and STAC 1.1's
        ``bands``.
        """

        roles, kind = asset.get("roles"), normal_type(asset.get("type"))
        # A preview of a scene need not lie on its grid.
        is_picture = isinstance(roles, list) and not _PICTURES.isdisjoint(map(str, roles))
        places = (asset,) if is_picture or kind in _UNPLACED else (asset, properties)

        def find(*names: str) -> Any:
            """Return the first stated value; null states that there is none."""
            return next((place[name] for place in places for name in names if name in place), None)

        bands = next((asset[n] for n in ("bands", "raster:bands", "eo:bands") if asset.get(n)), None)
        checksum = asset.get("file:checksum") or asset.get("checksum:multihash")
        return cls(
            size=_count(asset.get("file:size")),
            checksum=str(checksum) if checksum else None,
            media_type=str(asset["type"]) if asset.get("type") else None,
            suffix=suffix,
            shape=_shape(find("proj:shape")),
            bands=len(bands) if isinstance(bands, list) else None,
            crs=_code(find("proj:code", "proj:epsg")),
        )

    @property
    def known_checksum(self) -> Checksum | None:
        """The checksum, if its algorithm is supported."""
        return None if self.checksum is None else parse_multihash(self.checksum)

    @property
    def is_checksum_unknown(self) -> bool:
        """Return whether there is a checksum of an unsupported algorithm."""
        return self.checksum is not None and self.known_checksum is None

    @property
    def driver(self) -> str | None:
        """GDAL's driver for the media type, or else for the suffix."""
        kind = normal_type(self.media_type)
        has_type = kind not in VAGUE_TYPES and not kind.startswith("image/")  # image types have many names
        return DRIVERS.get(kind) or (None if has_type else _SUFFIXES.get(self.suffix))

    @property
    def local_suffix(self) -> str:
        """Suffix of the local file: that of the URL, or else the default of the format; may be empty."""
        return self.suffix or next((name for name, driver in _SUFFIXES.items() if driver == self.driver), "")

    @property
    def is_image(self) -> bool:
        """Return whether the local Earth Engine can serve the file: GeoTIFF, JPEG 2000 or an unknown format."""
        if self.driver is not None:
            return self.driver in _IMAGES
        return normal_type(self.media_type) in VAGUE_TYPES and not is_known_suffix(self.suffix)

    @property
    def is_gzip(self) -> bool:
        """Return whether the file itself is a gzip file."""
        return kind_of(self.media_type, self.suffix) == "gz"

    @property
    def is_raster(self) -> bool:
        """Return whether GDAL must be able to open the file."""
        return self.driver is not None

    def to_json(self) -> dict[str, Any]:
        """Return the stated properties as a JSON object."""
        values = {name: getattr(self, name) for name in self.__slots__}
        properties = {name: value for name, value in values.items() if value not in (None, "")}
        return properties | ({"shape": list(self.shape)} if self.shape else {})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ExpectedFile:
        """Read the object that :meth:`to_json` returned."""
        shape = value.get("shape")
        return cls(**{**value, "shape": None if shape is None else (shape[0], shape[1])})


def parse_multihash(text: str) -> Checksum | None:
    """Parse a multihash in hexadecimal (https://multiformats.io/multihash/).

    Returns:
        None if it is malformed or its algorithm is unsupported.
    """
    digits = text.strip()
    if len(digits) % 2:  # a multibase prefix for hexadecimal (https://github.com/multiformats/multibase)
        digits = digits.removeprefix("f").removeprefix("F")
    try:
        data = bytes.fromhex(digits)
        code, rest = _varint(data)
        length, digest = _varint(rest)
    except (ValueError, IndexError):
        return None
    known = _MULTIHASHES.get(code)
    if known is None or known[1] != length or len(digest) != length:
        return None
    if "_" in known[0] and known[0] not in hashlib.algorithms_available:  # some builds of OpenSSL lack it
        return None
    return Checksum(known[0], digest.hex())


def md5_from_headers(headers: Mapping[str, str]) -> str | None:
    """Return the MD5 of a file from its ETag, hexadecimal, if the ETag is one.

    The ETag of S3 is the MD5 of objects that were uploaded in one part and are not encrypted with a key of KMS or of
    the customer (https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html). Other stores document nothing.
    """
    match = _MD5.fullmatch(headers.get("ETag") or "")
    is_s3 = "x-amz-request-id" in headers or headers.get("Server") == "AmazonS3"
    is_other = (headers.get("x-amz-server-side-encryption") or "AES256") != "AES256"
    is_other = is_other or "x-amz-server-side-encryption-customer-algorithm" in headers
    return match[1] if match and is_s3 and not is_other else None


def inspect(path: Path, expected: ExpectedFile) -> FileMetadata:
    """Compare the header and the end of a file with the expected properties. No pixels are read.

    Returns:
        Metadata of the raster; empty for other files.

    Raises:
        MisdescribedError: if it is a raster of another size, other bands or another CRS.
        ValidationError: if the file differs otherwise.
    """
    check_kind(path, expected.media_type, expected.suffix, may_be_empty=expected.size == 0)
    if not expected.is_raster:
        return _EMPTY
    metadata, driver, has_alpha = _header_of(path)
    wanted = expected.driver
    is_jp2 = driver.startswith("JP2") and (wanted or "").startswith("JP2")
    if wanted not in (None, driver) and not is_jp2:
        raise ValidationError(f"the format is {driver} instead of {wanted}")
    if expected.shape is not None and (metadata.height, metadata.width) != expected.shape:
        rows, columns = expected.shape
        size = f"{metadata.width}x{metadata.height}"
        raise MisdescribedError(f"the raster has {size} pixels instead of {columns}x{rows}", metadata)
    count = len(metadata.bands or ())
    if expected.bands is not None and expected.bands not in (count, count - has_alpha):
        raise MisdescribedError(f"the raster has {count} bands instead of {expected.bands}", metadata)
    is_unplaced = metadata.crs is None and driver in ("PNG", "JPEG")
    if expected.crs is not None and not is_unplaced and not _is_crs(metadata.crs, expected.crs):
        raise MisdescribedError(f"the CRS is {metadata.crs} instead of {expected.crs}", metadata)
    return metadata


def _header_of(path: Path) -> tuple[FileMetadata, str, bool]:
    """Return metadata from a file's header, its GDAL driver, and whether the last band is an alpha band."""
    import_rasterio()
    from rasterio.enums import ColorInterp
    from rasterio.errors import RasterioIOError

    with contextlib.ExitStack() as stack:
        try:
            dataset = stack.enter_context(open_raster(path, _READERS))
        except RasterioIOError as error:
            raise ValidationError(f"GDAL cannot open the file: {str(error).replace(str(path), 'the file')}") from None
        # Radar scenes have ground control points instead of a grid.
        crs = dataset.crs or dataset.gcps[1]
        metadata = FileMetadata(
            width=dataset.width,
            height=dataset.height,
            bands=tuple(d or f"b{n}" for n, d in enumerate(dataset.descriptions, start=1)),
            dtype=dataset.dtypes[0] if dataset.dtypes else None,
            crs=None if crs is None else crs.to_string(),
            transform=tuple(dataset.transform)[:6],
        )
        if dataset.driver == "GTiff":
            check_end(path, "tif")
        elif dataset.driver.startswith("JP2"):
            check_end(path, "jp2")
        has_alpha = dataset.count > 1 and dataset.colorinterp[-1] == ColorInterp.alpha
        return metadata, str(dataset.driver), has_alpha


def _is_crs(actual: str | None, wanted: str) -> bool:
    """Return whether two CRS are equal for pyproj, or in projection, parameters and datum: headers vary the names.

    A vertical datum moves no pixel: the Planetary Computer declares EPSG:5498, NAD83 and heights, for files of 3DEP in
    NAD83 (https://github.com/gjoseph92/stackstac/issues/147).
    """
    if actual is None:
        return False
    if actual == wanted:
        return True
    try:
        here, there = parse_crs(actual).to_2d(), parse_crs(wanted).to_2d()
    except UsageError:
        return True  # PROJ does not know the catalogue's CRS
    if here.equals(there, ignore_axis_order=True):
        return True
    ignore_warning(UserWarning, "You will likely lose important projection information")  # dropping names is intended
    return bool(here.to_dict() and here.to_dict() == there.to_dict())


def _count(value: Any) -> int | None:
    """Return a number of bytes; None for other values."""
    if isinstance(value, str):
        value = parse_count(value.strip())
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return int(value) if value >= 0 and value == int(value) else None


def _shape(value: Any) -> tuple[int, int] | None:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return None
    rows, columns = map(_count, value)
    return None if not rows or not columns else (rows, columns)


def _code(value: Any) -> str | None:
    """Return a code such as EPSG:32613; None for other values."""
    number = _count(value)
    if number is not None:
        return f"EPSG:{number}" if number else None
    return value if isinstance(value, str) and value.strip() else None


def _varint(data: bytes) -> tuple[int, bytes]:
    """Read an unsigned variable-length integer, and return it with the following bytes."""
    value = shift = 0
    for index in range(9):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, data[index + 1 :]
        shift += 7
    raise ValueError
