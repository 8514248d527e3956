"""Read rasters on web servers and in object stores with GDAL by ranges of bytes: timeouts, retries, messages; refuse
them without ``--allow-remote``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import RasterioError

from eechips_local.assets.asset_names import shown_url
from eechips_local.evaluation.asset_model import PixelWindow
from eechips_local.pixels.file_source import FileSource
from eechips_local.protocol.request_errors import EarthEngineError, InvalidError

ALONE: Mapping[str, Any] = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
"""GDAL's option to look at no file beside the one that is named."""

_VSICURL = "/vsicurl/"
# GDAL's names of object stores by the schemes of their URLs; credentials are those of its environment.
_STORES: Mapping[str, str] = {"s3://": "/vsis3/", "gs://": "/vsigs/", "az://": "/vsiaz/"}
# https://gdal.org/en/stable/user/virtual_file_systems.html: an end to every request, and a few tries
# of what may pass.
_OPTIONS: Mapping[str, Any] = {
    **ALONE,
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    # Signed URLs are signed for GET alone.
    "CPL_VSIL_CURL_USE_HEAD": "NO",
}
_CLIENT_ERROR = re.compile(r"HTTP (?:response|error) code\s*:\s*(4\d\d)")


class RemoteReadError(EarthEngineError):
    """A web server that does not answer, or not with the bytes that were asked for (HTTP 503)."""

    code = 503
    status = "UNAVAILABLE"


def is_stored(url: str) -> bool:
    """Return whether a URL is that of an object in a store."""
    return url.startswith(tuple(_STORES))


def gdal_name(url: str) -> str:
    """Return GDAL's name of a file on a web server, or in an object store."""
    for scheme, prefix in _STORES.items():
        if url.startswith(scheme):
            return prefix + url.removeprefix(scheme)
    return _VSICURL + url


def url_of(path: str) -> str:
    """Return the URL of a file by GDAL's name of it."""
    for scheme, prefix in _STORES.items():
        if path.startswith(prefix):
            return scheme + path.removeprefix(prefix)
    return path.removeprefix(_VSICURL)


def is_remote_name(path: str) -> bool:
    """Return whether a path is GDAL's name of a file on a web server, or in an object store."""
    return path.startswith((_VSICURL, *_STORES.values()))


def shown_name(path: str) -> str:
    """Return GDAL's name of a file as messages may show it."""
    return shown_url(url_of(path)) if is_remote_name(path) else path


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Apply GDAL's options for a file; its own where it is local."""
    if is_remote_name(path):
        with rasterio.Env(**_OPTIONS):
            yield
    else:
        yield


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A ``RasterSource`` over a file on a web server.

    Attributes:
        url: where it is.
        source: reads it by GDAL's name.
    """

    url: str
    source: FileSource

    @property
    def levels(self) -> tuple[int, ...]:
        """See ``RasterSource``."""
        return self.source.levels

    def read(
        self, bands: Sequence[int], window: PixelWindow, level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Read native pixels of one level; see ``RasterSource.read``.

        Raises:
            InvalidError: if the server says that it will not give the file (HTTP 4xx).
            RemoteReadError: if it does not answer, or not as it should.
        """
        try:
            with reading(self.source.path):
                return self.source.read(bands, window, level)
        except RasterioError as error:
            raise translated(error, self.url) from error


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A ``RasterSource`` that stands for a file on a web server where none may be read.

    Attributes:
        asset_id: id of the image.
        url: where it is.
        levels: as of the file.
    """

    asset_id: str
    url: str
    levels: tuple[int, ...]

    def read(
        self, bands: Sequence[int], window: PixelWindow, level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Raise the error of a file that may not be read.

        Raises:
            InvalidError: always; says what would allow it.
        """
        raise InvalidError(
            f"Image asset '{self.asset_id}' refers to {shown_url(self.url)}, and this server reads no remote files: "
            "start eechips-local serve with --allow-remote, or ingest the image as a copy."
        )


def translated(error: BaseException, url: str) -> EarthEngineError:
    """Return GDAL's error of a remote file, without the query of its URL."""
    said = []
    cause: BaseException | None = error
    while cause is not None:
        said.append(str(cause).replace(url, shown_url(url)))
        cause = cause.__cause__
    refused = _CLIENT_ERROR.search(" ".join(said))
    if refused:
        return InvalidError(f"{shown_url(url)} cannot be read: its server answers with HTTP {refused.group(1)}.")
    return RemoteReadError(f"{shown_url(url)} cannot be read: {said[-1]}{cure_of(said[-1])}")


def cure_of(said: str) -> str:
    """Return what helps where GDAL finds no raster in a remote file; empty for other errors.

    GDAL gives up a file that a server sends whole, without saying so.
    """
    is_unknown = "not recognized as being in a supported file format" in said
    return " If its server sends no ranges of files, download it, and ingest the copy." if is_unknown else ""
