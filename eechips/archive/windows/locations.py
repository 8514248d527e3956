"""Parse the location of a raster for GDAL and fsspec: schemes, allowed formats, files beside it; refuse URLs with a
signature or a password.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import url2pathname

from eechips.errors import UsageError
from eechips.web.urls import PASSWORD, file_suffix, is_signed

_STORES = {
    "s3": "/vsis3/", "s3a": "/vsis3/", "gs": "/vsigs/", "gcs": "/vsigs/",
    "az": "/vsiaz/", "abfs": "/vsiaz/", "abfss": "/vsiaz/", "oss": "/vsioss/",
}  # fmt: skip
_SCHEMES = {"/vsis3/": "s3", "/vsigs/": "gs", "/vsiaz/": "az"}
_CURL = "/vsicurl/"
_ARCHIVES = ("/vsizip/", "/vsitar/", "/vsi7z/", "/vsirar/", "/vsigzip/")
_RAW = (".img", ".dat", ".raw", ".bin", ".bil", ".bip", ".bsq", ".flt")
_SINGLE = (".tif", ".tiff", *_RAW, ".png", ".jpg", ".jpeg", ".jp2", ".webp", ".gif", ".bmp")
_ALONE = (
    "GTiff", "JP2OpenJPEG", "PNG", "JPEG", "WEBP", "GIF", "BIGGIF", "BMP", "ENVI", "EHdr", "GenBin", "HFA", "ISCE",
    "ROI_PAC",
)  # fmt: skip
"""GDAL's names of the formats in :data:`_SINGLE`. Content of another one, such as VRT or WMS, names other files."""
_FOLDERS = (*_ALONE, "Zarr")
"""GDAL's names of formats at addresses without a suffix: Zarr is a folder."""
_SYNTAX = re.compile(r"\w{2,}:")
"""Beginning of GDAL's name of a subdataset, unless a file has that name."""
_WEB = re.compile(r"https?://", re.IGNORECASE)
_ANY_WEB = re.compile(r"(?:https?|ftp)://", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_INSIDE = re.compile(r"""/vsi|\w+:["']?/vsi""")
"""Paths of GDAL, also within other syntax: ``NETCDF:"/vsis3/…":name``."""


@dataclass(frozen=True, slots=True)
class RasterLocation:
    """Location of a raster.

    Attributes:
        path: for GDAL: ``/vsis3/bucket/key``.
        scheme: ``s3``, ``gs``, ``az``, ``http``; ``file`` for local files; empty for paths that only GDAL knows.
        address: for other packages: ``bucket/key`` in a store, a URL, or the path of a file.
        account: account of Azure, where the URL names it.
    """

    path: str
    scheme: str
    address: str
    account: str | None = None

    @property
    def is_near(self) -> bool:
        """Return whether a search for files beside the raster needs no request: on a disk, or in an archive."""
        return self.scheme == "file" or self.path.startswith(_ARCHIVES)

    @property
    def name(self) -> str:
        """Name of the file, without its folder."""
        return self.address.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """Suffix of the name, with the dot, if the format is a single file that may have others beside it.

        Empty for other formats, and for paths that only GDAL knows.
        """
        endings = filter(self.path.lower().endswith, _SINGLE)
        return next(endings, "") if self.scheme else ""

    @property
    def drivers(self) -> tuple[str, ...] | None:
        """GDAL's names of the formats that the content may have, by the name; None for all.

        The content of a file named ``.tif`` may come from a stranger, and could be a list of other files.
        """
        name = self.path.lower()
        is_syntax = not self.scheme or (_SYNTAX.match(name) and not os.path.exists(self.path))  # noqa: PTH110 - of long names, too
        if name.startswith("/vsimem/") or (not name.startswith("/vsi") and is_syntax):
            return None
        if name.endswith(_SINGLE):
            return _ALONE
        if self.is_near:
            return None
        suffix = file_suffix(self.address)
        return (_ALONE if f".{suffix}" in _SINGLE else None) if suffix else _FOLDERS

    @property
    def masks(self) -> tuple[RasterLocation, ...]:
        """Places of a mask beside a remote raster, as GDAL looks for one on a disk."""
        suffixes = () if self.is_near or not self.suffix else (".msk", ".MSK")
        return tuple(self._beside(self.address + suffix) for suffix in suffixes)

    @property
    def others(self) -> tuple[RasterLocation, ...]:
        """Files that may lie beside a remote raster: metadata, and the header of raw pixels."""
        if self.is_near or not self.suffix:
            return ()
        stem = self.address[: -len(self.suffix)]
        headers = (f"{stem}.hdr", f"{self.address}.hdr") if self.suffix in _RAW else ()
        return tuple(map(self._beside, (f"{self.address}.aux.xml", *headers)))

    def _beside(self, address: str) -> RasterLocation:
        start = self.path[: len(self.path) - len(self.address)]
        return RasterLocation(start + address, self.scheme, address, self.account)

    @classmethod
    def of(cls, href: str) -> RasterLocation:
        """Parse the location of a raster.

        Args:
            href: ``s3://bucket/key``, ``gs://``, ``az://container/key``, ``abfs://container@account.host/key``,
                ``http(s)://``, ``file://``, the path of a file, or a path of GDAL (``/vsizip/…``).

        Raises:
            UsageError: if the scheme is unknown, or the URL contains a secret.
        """
        _refuse_secrets(href)
        if _ANY_WEB.match(href):
            return cls(_CURL + href, "http" if _WEB.match(href) else "", href)
        scheme, mark, rest = href.partition("://")
        scheme = scheme.lower()
        if scheme == "vrt" or (mark and not _SCHEME.fullmatch(scheme) and not href.startswith("/")):
            return cls(href, "", href)  # syntax of GDAL: ZARR:"/vsicurl/https://…"
        if not mark or href.startswith("/"):
            return _of_path(href)
        if scheme == "file":
            path = url2pathname(urlsplit(href).path)
            return cls(path, "file", path)
        if scheme not in _STORES:
            raise UsageError(
                f"{href}: rasters are read from files, http(s)://, {', '.join(f'{s}://' for s in _STORES)}"
            )
        prefix, account = _STORES[scheme], None
        container, at, key = rest.partition("@")
        if prefix == "/vsiaz/" and at and "/" not in container:
            host, _, key = key.partition("/")
            rest, account = f"{container}/{key}", host.partition(".")[0]
        return cls(prefix + rest, _SCHEMES.get(prefix, ""), rest, account)


def _of_path(path: str) -> RasterLocation:
    for prefix, scheme in _SCHEMES.items():
        if path.startswith(prefix):
            return RasterLocation(path, scheme, path.removeprefix(prefix))
    if path.startswith(_CURL) and _WEB.match(path.removeprefix(_CURL)):
        return RasterLocation(path, "http", path.removeprefix(_CURL))
    return RasterLocation(path, "" if _INSIDE.match(path) else "file", path)


def _refuse_secrets(href: str) -> None:
    """Reject URLs that grant access by themselves: they are stored in the ledger and the plan, and shown."""
    if is_signed(href) or PASSWORD.search(href):
        location = PASSWORD.sub("://", href).partition("?")[0]
        raise UsageError(
            f"the address of {location} contains a signature or a password, which would be stored in the plan and the"
            " ledger: remove it, and pass it to GDAL in the environment (AWS_…, AZURE_STORAGE_SAS_TOKEN,"
            " GDAL_HTTP_BEARER, GDAL_HTTP_USERPWD)"
        )
