"""Read byte ranges of a known version of a file, on the web or in S3; merge near ranges; refuse servers without range
requests.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from typing import Any

from eechips.archive.downloads.content_encoding import named_encodings
from eechips.archive.downloads.host_sessions import HostSessions
from eechips.archive.windows.gdal_options import store_options
from eechips.archive.windows.locations import RasterLocation
from eechips.archive.windows.versions import RasterVersion, secrets_of, version_of_response
from eechips.client.error_classification import is_transient_status
from eechips.client.http.http_messages import Timeouts
from eechips.errors import ConfigurationError, PermanentError, TransientError, ValidationError
from eechips.storage.store_errors import find_http_status, is_permanent
from eechips.text.formatting import parse_count
from eechips.web.urls import display_url

GAP = 256 << 10
"""Bytes between two ranges that are read by one request: a request takes longer than these bytes."""

_MOST_TOGETHER = 32 << 20  # bytes of ranges that are merged: gaps between many small ones could fill the memory

_PER_HOST = 64  # concurrent requests to a host, at most; the caller's threads are fewer
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


class OtherVersionError(Exception):
    """The file has another version than the one that was requested."""


def is_supported(location: RasterLocation) -> bool:
    """Return whether ranges of a file can be read here, and not only by GDAL."""
    return location.scheme in ("http", "s3")


def merge_ranges(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge sorted ranges between which there are at most ``GAP`` bytes, unless they become long."""
    merged: list[tuple[int, int]] = []
    for start, end in ranges:
        if merged and start - merged[-1][1] <= GAP and end - merged[-1][0] <= _MOST_TOGETHER:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def read_range(
    location: RasterLocation, start: int, end: int, timeouts: Timeouts, version: RasterVersion | None = None
) -> tuple[bytes, RasterVersion]:
    """Read a byte range.

    Args:
        end: the one after the last. A file that ends before gives fewer bytes, without a version only.
        version: version that the file must have; None for any.

    Returns:
        The bytes, and the version of the file.

    Raises:
        OtherVersionError: if the file has another version, or ends before ``end``.
        TransientError: if the request may succeed later.
        PermanentError, ConfigurationError: if it will not: no such file, no access, no support of ranges.
    """
    if location.scheme == "s3":
        data, served_version = _of_s3(location, start, end, version)
    else:
        data, served_version = _of_web(location.address, start, end, timeouts, version)
    if version is not None and not (version.is_same(served_version) and len(data) == end - start):
        raise OtherVersionError(f"{display_url(location.address)} has another version")
    return data, served_version


@functools.cache
def _sessions(connect: float, read: float, _process: int) -> HostSessions:
    """Return the sessions of a process, which keep their connections."""
    return HostSessions(_PER_HOST, connect, read)


def _of_web(
    url: str, start: int, end: int, timeouts: Timeouts, version: RasterVersion | None
) -> tuple[bytes, RasterVersion]:
    condition = None if version is None else version.condition(RasterLocation.of(url))
    name, _, value = (condition or "").partition(": ")
    headers = {"Range": f"bytes={start}-{end - 1}", **({name: value} if condition else {})}
    shown = display_url(url)
    hosts = _sessions(timeouts.connect, timeouts.read, os.getpid())
    with hosts.get(url, headers, secrets_of(url)) as response:
        status = response.status_code
        if status in (412, 416) and version is not None:
            raise OtherVersionError(f"{shown} has another version")
        if status in (401, 403):
            raise ConfigurationError(
                f"{shown}: HTTP {status}. The server denies access: check GDAL_HTTP_BEARER or GDAL_HTTP_USERPWD"
            )
        if is_transient_status(status):
            raise TransientError(f"{shown}: HTTP {status}", status=status)
        if status not in (200, 206):
            raise PermanentError(f"{shown}: HTTP {status}", status=status)
        # Of a file with a known version, ranges were read before: a proxy or cache is in between.
        refused = PermanentError if version is None else ValidationError
        sent = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        is_requested = status == 206 and sent is not None and int(sent[1]) == start and int(sent[2]) < end
        if not is_requested and response.headers.get("Content-Type", "").lower().startswith("text/html"):
            raise ValidationError(f"{shown}: a web page came back, as from a proxy or a login page in between")
        if status == 200:
            raise refused(f"{shown}: the server does not support range requests: download it first")
        if sent is None or not is_requested or named_encodings(response.headers):
            raise refused(f"{shown}: the server sends another range than requested")
        data = hosts.read(response, url, end - start)
        if len(data) != int(sent[2]) + 1 - start:
            raise ValidationError(f"{shown}: the response is truncated")
        return data, version_of_response(response)


def _of_s3(
    location: RasterLocation, start: int, end: int, version: RasterVersion | None
) -> tuple[bytes, RasterVersion]:
    import fsspec
    from fsspec.asyn import sync

    href = f"s3://{location.address}"
    bucket, _, key = location.address.partition("/")
    condition = {"IfMatch": version.tag} if version is not None and version.tag else {}
    try:
        files = fsspec.filesystem("s3", **store_options(location))
        answer = files.call_s3("get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}", **condition)
        data: bytes = sync(files.loop, _read_body, answer["Body"])
    except ImportError as error:
        raise ConfigurationError(f"{href} needs a package that is not installed: pip install 'eechips[s3]'") from error
    except FileNotFoundError:
        raise PermanentError(f"{href} does not exist") from None
    except Exception as error:  # noqa: BLE001 - every package has exceptions of its own
        if find_http_status(error) == 412:
            raise OtherVersionError(f"{href} has another version") from None
        kind = PermanentError if is_permanent(error) else TransientError
        raise kind(f"{href}: {str(error) or type(error).__name__}") from None
    sent = _RANGE.fullmatch(answer.get("ContentRange", ""))
    if sent is None or int(sent[1]) != start or len(data) != int(sent[2]) + 1 - start:
        raise PermanentError(f"{href}: the store sends another range than requested")
    return data, RasterVersion(answer.get("ETag"), parse_count(sent[3]))


async def _read_body(body: Any) -> bytes:
    async with body:
        content: bytes = await body.read()
        return content
