"""Identify the version of a raster, so that windows planned for one are never read from another; check that it exists
and that stores support range requests.

S3 enforces the version: every request sends ``If-Match``, and another version is rejected. Most web servers do, too;
for the others, for other stores and for files, the version is read again after a window was read.
"""

from __future__ import annotations

import base64
import datetime as dt
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eechips.archive.downloads.host_sessions import HostSessions
from eechips.archive.windows.gdal_options import store_options
from eechips.archive.windows.locations import RasterLocation
from eechips.client.error_classification import is_transient_status
from eechips.client.http.http_messages import Timeouts
from eechips.errors import EechipsError, PermanentError, TransientError
from eechips.storage.store_errors import is_permanent
from eechips.text.formatting import parse_count
from eechips.web.urls import display_url, host_of

_log = logging.getLogger(__name__)
_EXTRAS = {"s3": "s3", "gs": "gcs", "az": "azure"}
_WAYS: tuple[tuple[str, dict[str, str]], ...] = (("HEAD", {}), ("GET", {"Range": "bytes=0-0"}))
"""Requests for the version of a web server: some allow only one of them."""
_TAGS = ("ETag", "generation", "etag")  # of S3, Google and Azure in the packages of fsspec


@dataclass(frozen=True, slots=True)
class RasterVersion:
    """Properties that tell versions of a raster apart; None for unknown ones.

    Attributes:
        tag: strong ETag as sent, or the generation of an object of Google Cloud Storage.
        size: bytes.
        modified: as the server states it.
    """

    tag: str | None = None
    size: int | None = None
    modified: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a small JSON value for ``from_json``."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RasterVersion:
        """Read the value that ``to_json`` returned."""
        return cls(value.get("tag"), value.get("size"), value.get("modified"))

    def is_same(self, other: RasterVersion) -> bool:
        """Return whether all properties that both versions have are equal."""
        pairs = ((self.tag, other.tag), (self.size, other.size), (self.modified, other.modified))
        return all(a is None or b is None or a == b for a, b in pairs)

    def condition(self, location: RasterLocation) -> str | None:
        """Return the header with which a server rejects other versions; None if none is known (RFC 9110, 13.1)."""
        if location.scheme not in ("s3", "http"):
            return None
        if self.tag is not None:
            return f"If-Match: {self.tag}"
        return None if self.modified is None else f"If-Unmodified-Since: {self.modified}"

    def is_enforced(self, location: RasterLocation) -> bool:
        """Return whether the store itself rejects other versions."""
        return location.scheme == "s3" and self.tag is not None


def read_version(location: RasterLocation, timeouts: Timeouts) -> RasterVersion | None:
    """Read the present version of a raster.

    Returns:
        None if it is unknown: for paths that only GDAL knows, for remote virtual rasters, which are lists of others,
        and where a store denies access to metadata, which logs a warning.

    Raises:
        TransientError: if the server does not respond.
        PermanentError: if the raster does not exist.
    """
    if location.scheme == "file":
        return _of_file(location.address)
    if location.path.lower().endswith(".vrt"):
        return None  # a list of rasters, which would all receive the condition
    if location.scheme == "http":
        return _of_web(location.address, timeouts)
    return _of_store(location) if location.scheme else None


def _of_file(path: str) -> RasterVersion | None:
    try:
        status = Path(path).stat()
    except OSError:
        return None  # syntax of GDAL such as NETCDF:"a.nc":b
    moment = dt.datetime.fromtimestamp(status.st_mtime_ns // 10**9, dt.timezone.utc).replace(tzinfo=None)
    return RasterVersion(None, status.st_size, f"{moment.isoformat()}.{status.st_mtime_ns % 10**9:09d}Z")


def raster_exists(location: RasterLocation, timeouts: Timeouts) -> bool:
    """Return whether a file exists on the web or in a store; files without access count as missing.

    So do web pages, with which some servers answer for every name.

    Raises:
        TransientError: if the server does not respond.
    """
    try:
        if location.scheme == "http":
            status, _, is_page = _asked(location.address, timeouts)
            return status in (200, 206) and not is_page
        _info(location)
    except PermanentError:
        return False
    except TransientError:
        raise
    except Exception:  # noqa: BLE001 - packages raise classes of their own for permanent errors
        return False
    return True


def check_range_support(location: RasterLocation) -> None:
    """Check that a store other than Amazon's supports range requests like S3.

    GDAL takes a range with status 200, as ``rclone serve s3`` sends it, for the whole file, and then finds no block.

    Raises:
        PermanentError: if the store does not.
        TransientError: if the store does not respond.
    """
    import fsspec

    options = store_options(location, os.environ)
    if location.scheme != "s3" or "endpoint_url" not in options:
        return
    href = f"{location.scheme}://{location.address}"
    bucket, _, key = location.address.partition("/")
    try:
        answer = fsspec.filesystem("s3", **options).call_s3("get_object", Bucket=bucket, Key=key, Range="bytes=0-0")
        answer["Body"].close()
    except ImportError:
        return  # the request for the version reports it
    except Exception as error:  # noqa: BLE001 - every package has exceptions of its own
        if is_permanent(error):
            return  # opening the raster reports it
        raise TransientError(f"the version of {href} is unknown: {str(error) or type(error).__name__}") from None
    if answer["ResponseMetadata"]["HTTPStatusCode"] == 200:
        raise PermanentError(
            f"{href}: {options['endpoint_url']} responds to range requests with HTTP 200 instead of 206, so windows"
            " cannot be read. `rclone serve s3` does so: use `rclone serve http`, or copy the file"
        )


def _of_web(url: str, timeouts: Timeouts) -> RasterVersion | None:
    status, version, _ = _asked(url, timeouts)
    if status in (404, 410):
        raise PermanentError(f"{display_url(url)} does not exist (HTTP {status})", status=status)
    if version is None:
        _warn(display_url(url), f"HTTP {status}")
    return version


def _asked(url: str, timeouts: Timeouts) -> tuple[int, RasterVersion | None, bool]:
    """Return the status and the version that a web server sends, and whether it sends a web page."""
    status = 0
    try:
        # A separate session, which needs no permit: the window being read holds one.
        with HostSessions(1, timeouts.connect, timeouts.read) as hosts:
            for method, further in _WAYS:
                with hosts.get(url, further, secrets_of(url), method=method) as answer:
                    status = answer.status_code
                    if status in (200, 206):
                        is_page = answer.headers.get("Content-Type", "").lower().startswith("text/html")
                        return status, version_of_response(answer), is_page
                    if status in (404, 410):
                        break
    except TransientError as error:
        raise TransientError(f"the version of {display_url(url)} is unknown: {error}", status=error.status) from None
    if is_transient_status(status):
        raise TransientError(f"the version of {display_url(url)} is unknown: HTTP {status}", status=status)
    return status, None, False


def version_of_response(answer: Any) -> RasterVersion:
    """Return the version that a web server's response states, of a file or a range of it."""
    size: str = answer.headers.get("Content-Length", "")
    if answer.status_code == 206:
        size = answer.headers.get("Content-Range", "").rpartition("/")[2]
    tag = answer.headers.get("ETag")
    strong = tag if tag and not tag.startswith("W/") else None
    return RasterVersion(strong, parse_count(size), answer.headers.get("Last-Modified"))


def secrets_of(url: str) -> Callable[[str], Mapping[str, str]]:
    """Return a function that gives the host of a URL, and no other, the header that GDAL sends to web servers."""
    own: dict[str, str] = {}
    if token := os.environ.get("GDAL_HTTP_BEARER"):
        own = {"Authorization": f"Bearer {token}"}
    elif pair := os.environ.get("GDAL_HTTP_USERPWD"):
        own = {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    return lambda address: own if host_of(address) == host_of(url) else {}


def _of_store(location: RasterLocation) -> RasterVersion | None:
    href = f"{location.scheme}://{location.address}"
    try:
        info = _info(location)
    except EechipsError:
        raise
    except ImportError as error:
        _warn(href, f"{error}: pip install 'eechips[{_EXTRAS[location.scheme]}]'")
        return None
    except Exception as error:  # noqa: BLE001 - every package has exceptions of its own
        _warn(href, str(error) or type(error).__name__)
        return None
    tag = next((str(info[name]) for name in _TAGS if info.get(name)), None)
    return RasterVersion(tag, None if info.get("size") is None else int(info["size"]))


def _info(location: RasterLocation) -> Mapping[str, Any]:
    """Return the metadata of an object; permanent errors of the store's package are raised unchanged."""
    import fsspec

    href = f"{location.scheme}://{location.address}"
    try:
        info: Mapping[str, Any] = fsspec.filesystem(location.scheme, **store_options(location)).info(location.address)
    except ImportError:
        raise
    except FileNotFoundError:
        raise PermanentError(f"{href} does not exist") from None
    except Exception as error:  # every package has exceptions of its own
        if is_permanent(error):
            raise
        raise TransientError(f"the version of {href} is unknown: {str(error) or type(error).__name__}") from None
    return info


def _warn(href: str, reason: str) -> None:
    _log.warning("%s has no version (%s): only a changed grid shows if it is replaced during the run", href, reason)
