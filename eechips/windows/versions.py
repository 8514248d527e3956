"""Which version of a raster windows are of: what was planned of one is never read of another.

S3 sees to that by itself: every request carries ``If-Match``, and another version is refused. So do most servers of the
web; but not all, so that there, and in the other stores, it is asked for again when a window has been read. A file is
looked at again, too.
"""

from __future__ import annotations

import base64
import datetime as dt
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eechips.client.classification import is_transient_status
from eechips.client.transport import Timeouts
from eechips.downloads.host_sessions import HostSessions
from eechips.errors import EechipsError, PermanentError, TransientError
from eechips.objects.store_errors import is_permanent
from eechips.urls import display_url, host_of
from eechips.windows.gdal_options import store_options
from eechips.windows.locations import RasterLocation

_log = logging.getLogger(__name__)
_EXTRAS = {"s3": "s3", "gs": "gcs", "az": "azure"}
_WAYS: tuple[tuple[str, dict[str, str]], ...] = (("HEAD", {}), ("GET", {"Range": "bytes=0-0"}))
"""By which a server of the web is asked: some allow only one of them."""
_TAGS = ("ETag", "generation", "etag")  # of S3, Google and Azure, as fsspec's packages have them


@dataclass(frozen=True, slots=True)
class RasterVersion:
    """What tells one version of a raster from another; None where nothing does.

    Attributes:
        tag: ETag, as it was sent, or the generation of an object of Google's; never a weak one.
        size: bytes.
        modified: as whoever has it says it.
    """

    tag: str | None = None
    size: int | None = None
    modified: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A small JSON value, which ``from_json`` reads back unchanged."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RasterVersion:
        """What ``to_json`` wrote."""
        return cls(value.get("tag"), value.get("size"), value.get("modified"))

    def is_same(self, other: RasterVersion) -> bool:
        """Whether nothing that both tell is different."""
        pairs = ((self.tag, other.tag), (self.size, other.size), (self.modified, other.modified))
        return all(a is None or b is None or a == b for a, b in pairs)

    def condition(self, location: RasterLocation) -> str | None:
        """The header by which a server refuses another version; None where none is known to do it (RFC 9110, 13.1)."""
        if location.scheme not in ("s3", "http"):
            return None
        if self.tag is not None:
            return f"If-Match: {self.tag}"
        return None if self.modified is None else f"If-Unmodified-Since: {self.modified}"

    def is_enforced(self, location: RasterLocation) -> bool:
        """Whether the store itself sees to it that no other version is read."""
        return location.scheme == "s3" and self.tag is not None


def read_version(location: RasterLocation, timeouts: Timeouts) -> RasterVersion | None:
    """The present version of a raster.

    Args:
        place: of the raster.
        timeouts: of a request.

    Returns:
        None if nobody tells: for paths that only GDAL knows, for virtual rasters elsewhere, which are lists of others,
        and where a store lets the raster be read, but not asked about. The last is said in a warning.

    Raises:
        TransientError: if whoever has it does not answer.
        PermanentError: if it is not there.
    """
    if location.scheme == "file":
        return _of_file(location.address)
    if location.path.lower().endswith(".vrt"):
        return None  # a list of others, which a condition would be sent to as well
    if location.scheme == "http":
        return _of_web(location.address, timeouts)
    return _of_store(location) if location.scheme else None


def _of_file(path: str) -> RasterVersion | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None  # what GDAL calls so is no file, as NETCDF:"a.nc":b
    moment = dt.datetime.fromtimestamp(found.st_mtime_ns // 10**9, dt.timezone.utc).replace(tzinfo=None)
    return RasterVersion(None, found.st_size, f"{moment.isoformat()}.{found.st_mtime_ns % 10**9:09d}Z")


def raster_exists(location: RasterLocation, timeouts: Timeouts) -> bool:
    """Whether there is such a file on the web or in a store; what may not be asked for is not there.

    Args:
        place: of the file.
        timeouts: of a request.

    Raises:
        TransientError: if whoever has it does not answer.
    """
    try:
        if location.scheme == "http":
            status, _ = _asked(location.address, timeouts)
            return status in (200, 206)
        _info(location)
    except PermanentError:
        return False
    except TransientError:
        raise
    except Exception:  # noqa: BLE001 - every package has exceptions of its own: refused, for good
        return False
    return True


def check_range_support(location: RasterLocation, environment: Mapping[str, str] = os.environ) -> None:
    """Makes sure that a store that is not Amazon's own answers requests for parts of a raster as S3 does.

    GDAL takes a part that comes with HTTP 200, as of ``rclone serve s3``, for the whole, and then finds no block.

    Args:
        place: of the raster.
        environment: variables of the process.

    Raises:
        PermanentError: if it does not.
        TransientError: if it does not answer.
    """
    import fsspec

    options = store_options(location, environment)
    if location.scheme != "s3" or "endpoint_url" not in options:
        return
    href = f"{location.scheme}://{location.address}"
    bucket, _, key = location.address.partition("/")
    try:
        answer = fsspec.filesystem("s3", **options).call_s3("get_object", Bucket=bucket, Key=key, Range="bytes=0-0")
        answer["Body"].close()
    except ImportError:
        return  # which is told where the version is asked for
    except Exception as error:  # noqa: BLE001 - every package has exceptions of its own
        if is_permanent(error):
            return  # whoever opens it is told why
        raise TransientError(f"could not ask about {href}: {str(error) or type(error).__name__}") from None
    if answer["ResponseMetadata"]["HTTPStatusCode"] == 200:
        raise PermanentError(
            f"{href}: {options['endpoint_url']} answers requests for parts of a file (Range) with HTTP 200 in place of"
            " 206, so that no window can be read. `rclone serve s3` does so: use `rclone serve http`, or copy the file"
        )


def _of_web(url: str, timeouts: Timeouts) -> RasterVersion | None:
    status, version = _asked(url, timeouts)
    if status in (404, 410):
        raise PermanentError(f"{display_url(url)} is not there (HTTP {status})", status=status)
    if version is None:
        _warn(display_url(url), f"HTTP {status}")
    return version


def _asked(url: str, timeouts: Timeouts) -> tuple[int, RasterVersion | None]:
    """The status that a server of the web answers with, and the version that it tells.

    Raises:
        TransientError: if it does not answer, or not now.
    """
    own, host, status = _authorization(os.environ), host_of(url), 0

    def secrets(address: str) -> Mapping[str, str]:
        return own if host_of(address) == host else {}

    try:
        # Sessions of our own: they take no slot of the throttle, of which the window that is being read has one.
        with HostSessions(1, timeouts.connect, timeouts.read) as hosts:
            for method, further in _WAYS:
                with hosts.get(url, further, secrets, method=method) as answer:
                    status = answer.status_code
                    if status in (200, 206):
                        return status, _told(answer)
                    if status in (404, 410):
                        break
    except TransientError as error:
        raise TransientError(f"could not ask about {display_url(url)}: {error}", status=error.status) from None
    if is_transient_status(status):
        raise TransientError(f"could not ask about {display_url(url)}: HTTP {status}", status=status)
    return status, None


def _told(answer: Any) -> RasterVersion:
    size: str = answer.headers.get("Content-Length", "")
    if answer.status_code == 206:
        size = answer.headers.get("Content-Range", "").rpartition("/")[2]
    tag = answer.headers.get("ETag")
    strong = tag if tag and not tag.startswith("W/") else None
    return RasterVersion(strong, int(size) if size.isdigit() else None, answer.headers.get("Last-Modified"))


def _authorization(environment: Mapping[str, str]) -> dict[str, str]:
    """What GDAL shows to servers of the web, as far as the usual variables say."""
    if token := environment.get("GDAL_HTTP_BEARER"):
        return {"Authorization": f"Bearer {token}"}
    if pair := environment.get("GDAL_HTTP_USERPWD"):
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    return {}


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
    """What a store says of an object; what is refused for good is raised as its package says it.

    Raises:
        PermanentError: if it is not there.
        TransientError: if the store does not answer.
    """
    import fsspec

    href = f"{location.scheme}://{location.address}"
    try:
        info: Mapping[str, Any] = fsspec.filesystem(location.scheme, **store_options(location)).info(location.address)
    except ImportError:
        raise
    except FileNotFoundError:
        raise PermanentError(f"{href} is not there") from None
    except Exception as error:  # every package has exceptions of its own
        if is_permanent(error):
            raise
        raise TransientError(f"could not ask about {href}: {str(error) or type(error).__name__}") from None
    return info


def _warn(href: str, reason: str) -> None:
    _log.warning(
        "%s does not tell its version (%s): if it is replaced while it is read, only its grid tells", href, reason
    )
