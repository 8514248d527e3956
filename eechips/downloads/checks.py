"""Whether a file is what was promised: size, checksum, and what GDAL finds in its header."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips.crs import parse_crs
from eechips.errors import UsageError, ValidationError
from eechips.writers import Facts

# https://github.com/multiformats/multicodec/blob/master/table.csv: code, name in hashlib, bytes.
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
}
_MD5 = re.compile(r'"([0-9a-f]{32})"')
_DRIVERS = {
    "image/tiff": "GTiff",
    "image/vnd.stac.geotiff": "GTiff",
    "image/jp2": "JP2OpenJPEG",
    "image/png": "PNG",
    "image/jpeg": "JPEG",
}
_RASTERS = frozenset({"tif", "tiff", "jp2", "png", "jpg", "jpeg", "img", "vrt"})


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a digest must be.

    Attributes:
        algorithm: of hashlib.
        digest: hexadecimal, lower case.
    """

    algorithm: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a catalogue says of a file; None where it says nothing.

    Attributes:
        size: bytes.
        checksum: multihash, hexadecimal, of the file extension.
        media_type: as the asset has it.
        suffix: of the address.
        shape: rows and columns.
        bands: count.
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
    def of(cls, asset: Mapping[str, Any], properties: Mapping[str, Any], suffix: str) -> Promise:
        """What an asset says, and its item where that speaks for all assets.

        https://github.com/stac-extensions/file, projection 1 and 2, raster, eo; STAC 1.1's ``bands``.

        Args:
            asset: as JSON.
            properties: of the item.
            suffix: of the address.
        """

        def find(*names: str) -> Any:
            return next((place[n] for place in (asset, properties) for n in names if place.get(n) is not None), None)

        shape, code = find("proj:shape"), find("proj:code", "proj:epsg")
        bands = next((asset[n] for n in ("bands", "raster:bands", "eo:bands") if asset.get(n)), None)
        return cls(
            size=asset.get("file:size"),
            checksum=asset.get("file:checksum") or asset.get("checksum:multihash"),
            media_type=asset.get("type"),
            suffix=suffix,
            shape=(int(shape[0]), int(shape[1])) if isinstance(shape, list) and len(shape) == 2 else None,
            bands=len(bands) if isinstance(bands, list) else None,
            crs=f"EPSG:{code}" if isinstance(code, int) else code,
        )

    @property
    def wanted(self) -> Checksum | None:
        """The checksum, if there is one of a kind that can be computed."""
        return None if self.checksum is None else parse_multihash(self.checksum)

    @property
    def driver(self) -> str | None:
        """GDAL's name of the format that the media type stands for."""
        return None if self.media_type is None else _DRIVERS.get(self.media_type.partition(";")[0].strip().lower())

    @property
    def is_raster(self) -> bool:
        """Whether it must be one that GDAL opens."""
        return self.driver is not None or (self.media_type is None and self.suffix in _RASTERS)

    def to_json(self) -> dict[str, Any]:
        """What of it is said."""
        values = {name: getattr(self, name) for name in self.__slots__}
        found = {name: value for name, value in values.items() if value not in (None, "")}
        return found | ({"shape": list(self.shape)} if self.shape else {})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Promise:
        """What :meth:`to_json` wrote."""
        shape = value.get("shape")
        return cls(**{**value, "shape": None if shape is None else (shape[0], shape[1])})


def parse_multihash(text: str) -> Checksum | None:
    """The checksum that a multihash is (https://multiformats.io/multihash/), in hexadecimal.

    Returns:
        None if it is malformed, or of an algorithm that hashlib does not have.
    """
    try:
        data = bytes.fromhex(text.strip())
        code, rest = _varint(data)
        length, digest = _varint(rest)
    except (ValueError, IndexError):
        return None
    known = _MULTIHASHES.get(code)
    if known is None or known[1] != length or len(digest) != length:
        return None
    return Checksum(known[0], digest.hex())


def md5_of(headers: Mapping[str, str]) -> str | None:
    """The MD5 of a file that a store tells, hexadecimal, if its ETag is one.

    That is so in S3 for what was uploaded in one piece and is not encrypted with a key of KMS or of the customer
    (https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html), and elsewhere nobody knows.
    """
    found = _MD5.fullmatch(headers.get("ETag") or "")
    is_s3 = "x-amz-request-id" in headers or headers.get("Server") == "AmazonS3"
    is_other = (headers.get("x-amz-server-side-encryption") or "AES256") != "AES256"
    is_other = is_other or "x-amz-server-side-encryption-customer-algorithm" in headers
    return found[1] if found and is_s3 and not is_other else None


def inspect(path: Path, promise: Promise) -> Facts:
    """What GDAL finds in the header of a file, compared with what was promised. No pixel is read.

    Returns:
        Nothing for what is no raster.

    Raises:
        ValidationError: if it is something else.
    """
    import rasterio
    from rasterio.errors import RasterioIOError

    if not promise.is_raster:
        return Facts()
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        try:
            dataset = rasterio.open(path)
        except RasterioIOError as error:
            raise ValidationError(f"GDAL cannot open it: {str(error).replace(str(path), 'the file')}") from None
        with dataset:
            facts = Facts(
                width=dataset.width,
                height=dataset.height,
                bands=tuple(d or f"b{n}" for n, d in enumerate(dataset.descriptions, start=1)),
                dtype=dataset.dtypes[0] if dataset.dtypes else None,
                crs=None if dataset.crs is None else dataset.crs.to_string(),
                transform=tuple(dataset.transform)[:6],
            )
            driver = dataset.driver
    if promise.driver is not None and not _is_format(driver, promise.driver):
        raise ValidationError(f"it is {driver}, and should be {promise.driver}")
    if promise.shape is not None and (facts.height, facts.width) != promise.shape:
        rows, columns = promise.shape
        raise ValidationError(f"it has {facts.width}x{facts.height} pixels, and should have {columns}x{rows}")
    if promise.bands is not None and len(facts.bands or ()) != promise.bands:
        raise ValidationError(f"it has {len(facts.bands or ())} bands, and should have {promise.bands}")
    if promise.crs is not None and not _is_crs(facts.crs, promise.crs):
        raise ValidationError(f"its CRS is {facts.crs}, and should be {promise.crs}")
    return facts


def _is_format(found: str, wanted: str) -> bool:
    return found == wanted or (found.startswith("JP2") and wanted.startswith("JP2"))


def _is_crs(found: str | None, wanted: str) -> bool:
    if found is None:
        return False
    if found == wanted:
        return True
    try:
        return bool(parse_crs(found).equals(parse_crs(wanted), ignore_axis_order=True))
    except UsageError:
        return True  # the catalogue's is no CRS that anybody knows


def _varint(data: bytes) -> tuple[int, bytes]:
    """An unsigned variable-length integer, and what follows."""
    value = shift = 0
    for index in range(9):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, data[index + 1 :]
        shift += 7
    raise ValueError
