"""Download one file: resume it where it was interrupted, check it, start again if it is wrong, quarantine it after
three wrong copies.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
import urllib3

from eechips.archive.downloads.access_denial import AccessDenial, parse_access_denial
from eechips.archive.downloads.content_encoding import content_encodings, decoded
from eechips.archive.downloads.expected_file import Checksum, ExpectedFile, MisdescribedError, inspect, md5_from_headers
from eechips.archive.downloads.host_sessions import HostSessions
from eechips.archive.downloads.partial_files import (
    FileVersion,
    PartialFile,
    parse_content_range,
    parse_unsatisfied_range,
)
from eechips.archive.downloads.presigned import AssetKey, PresignedUrls
from eechips.archive.downloads.transfer_limits import MIN_PROGRESS, BandwidthLimiter, check_free, read_with_timeout
from eechips.client import retry
from eechips.client.error_classification import classify_exception, is_transient_status
from eechips.client.http.transport import Transport
from eechips.client.quota.permits import Permit
from eechips.errors import EechipsError, PermanentError, QuarantinedError, TransientError, ValidationError
from eechips.formats import FileMetadata
from eechips.text.formatting import parse_count
from eechips.web.redaction import redact
from eechips.web.retry_after import parse_retry_after
from eechips.web.urls import display_url, local_path

if TYPE_CHECKING:
    from typing_extensions import Self

_log = logging.getLogger(__name__)
_CHUNK = 1 << 19  # bytes read at a time
_MAX_EXCESS = 1 << 24
"""Bytes accepted beyond twice the declared size. A catalogue may be wrong, and the whole file in quarantine shows why;
the limit stops endless files."""
_MAX_ATTEMPTS = 3
"""Complete downloads that may be wrong before a file is quarantined."""
_CHECK_EVERY = 1 << 22  # bytes of a file after which the free disk space is checked again
_HEADER_THREADS = 2
"""Threads that read headers: a slow one does not block the others."""
_MAX_DENIALS = 3
"""Signatures in a row that a host may reject without sending anything."""
_RANGE_UNSUPPORTED = (400, 405, 409, 412, 428, 501)
"""Statuses from hosts that do not support ``Range`` or ``If-Range`` and should have sent the whole file."""

RecordStep = Callable[..., None]
"""Log a step: ``record("transfer", status=206, …)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadRequest:
    """A file to download.

    Attributes:
        href: URL as it is stored: without its query.
        asset: collection, item and key.
        expected: what the catalogue states about the file.
        path: path of the partial file.
    """

    href: str
    asset: AssetKey
    expected: ExpectedFile
    path: Path


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A complete, checked file.

    Attributes:
        size: bytes.
        sha256: hexadecimal.
        metadata: metadata of the header, as GDAL reads it.
        checked: names of the passed checks, such as ``size`` and ``sha256``.
        difference: how the header differs from the catalogue's description; empty if it does not.
    """

    size: int
    sha256: str
    metadata: FileMetadata
    checked: tuple[str, ...]
    difference: str = ""


class _AccessDeniedError(Exception):
    """A host rejects the signature, or requires one."""

    def __init__(self, denial: AccessDenial) -> None:
        super().__init__(str(denial))
        self.denial = denial


class _TooLargeError(Exception):
    """A host sends more bytes than the catalogue states."""


class _TimeLimitError(Exception):
    """A file exceeds its time limit."""


class Downloader:
    """Download files. Threads share it; use it in a ``with`` block.

    A few dedicated threads read the headers: PROJ initialises itself for each thread and blocks all others meanwhile,
    for longer than a hundred headers take.

    Args:
        transport: lends permits and waits between retries.
        folder: on the disk that the files are written to.
        timeout: seconds for a file. Threads cannot be stopped from outside, so each checks the limit itself.
        allows_files: whether URLs may lead to local files; false for URLs from remote catalogues.
    """

    def __init__(
        self,
        hosts: HostSessions,
        signer: PresignedUrls,
        transport: Transport,
        limiter: BandwidthLimiter,
        folder: Path,
        timeout: float,
        *,
        allows_files: bool,
    ) -> None:
        self._timeout, self._clock = timeout, time.monotonic
        self._announced: dict[str, TransientError] = {}
        self._misdescribed: dict[tuple[str | None, str], DownloadRequest] = {}
        self._hosts, self._signer, self._transport = hosts, signer, transport
        self._limiter, self._folder, self._allows_files = limiter, folder, allows_files
        policy = transport.policy
        # With many hosts, one that cannot be reached does not mean that the network is down.
        self._policy = replace(policy, offline=0.0, is_of_run=False)
        self._header_pool = ThreadPoolExecutor(_HEADER_THREADS, "eechips-header")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._header_pool.shutdown(wait=False, cancel_futures=True)

    def fetch(self, request: DownloadRequest, record: RecordStep) -> DownloadedFile:
        """Download a file, or the missing rest of it.

        Raises:
            QuarantinedError: if the complete file was wrong three times, or twice the same raster with another header
                than described; it stays at its path.
            TransientError, PermanentError: if the download fails.
            StorageError: if the file cannot be written.
        """
        checksum = request.expected.known_checksum
        partial = PartialFile(request.path, () if checksum is None else (checksum.algorithm,))
        end = self._clock() + self._timeout
        misdescribed: str | None = None
        try:
            while True:
                try:
                    self._complete(request, partial, record, end)
                    downloaded = self._check(request, partial)
                except (ValidationError, _TooLargeError) as error:
                    record("check", error=str(error), failures=partial.failures + 1)
                    digest = partial.digest() if isinstance(error, MisdescribedError) else None
                    if digest is not None and digest == misdescribed:
                        raise QuarantinedError(
                            f"{display_url(request.href)} is not as the catalogue describes it: {error}. The host sent"
                            " the same file twice, so the catalogue may be wrong: use the file in quarantine/, or leave"
                            " it out by `assets`"
                        ) from None
                    misdescribed = digest
                    if partial.failures + 1 >= _MAX_ATTEMPTS:
                        raise QuarantinedError(
                            f"{display_url(request.href)} failed its checks {_MAX_ATTEMPTS} times: {error}"
                        ) from None
                    partial.reset(failed=True)
                else:
                    unknown = {"unknown": request.expected.checksum} if request.expected.is_checksum_unknown else {}
                    differs = {"differs": downloaded.difference} if downloaded.difference else {}
                    by = downloaded.checked
                    record("check", bytes=downloaded.size, sha256=downloaded.sha256, by=by, **unknown, **differs)
                    if differs:
                        self._warn_of_difference(request, downloaded.difference)
                    return downloaded
        except _TimeLimitError:
            raise TransientError(f"not complete after {self._timeout:g} s; the received part is kept") from None
        finally:
            partial.close()

    def _check(self, request: DownloadRequest, partial: PartialFile) -> DownloadedFile:
        """Check a complete file.

        The checksum of the catalogue identifies its file: if the header differs, the description is wrong.
        """
        expected, version = request.expected, partial.version
        stated = None if version is None or version.md5 is None else Checksum("md5", version.md5)
        checked = ["length"]
        if expected.size is not None:
            if partial.size != expected.size:
                raise ValidationError(f"the file has {partial.size:,} bytes instead of {expected.size:,}")
            checked.append("size")
        for checksum in (expected.known_checksum, stated):
            if checksum is None:
                continue
            actual_digest = partial.digest(checksum.algorithm)
            if actual_digest != checksum.digest:
                raise ValidationError(f"the {checksum.algorithm} is {actual_digest} instead of {checksum.digest}")
            checked.append(checksum.algorithm)
        partial.close()
        difference = ""
        try:
            metadata = self._header_pool.submit(inspect, partial.path, expected).result()
        except MisdescribedError as error:
            if expected.known_checksum is None:
                raise
            difference, metadata = str(error), error.metadata
        if expected.is_raster and not difference:
            checked.append("header")
        return DownloadedFile(partial.size, partial.digest(), metadata, tuple(checked), difference)

    def _complete(self, request: DownloadRequest, partial: PartialFile, record: RecordStep, end: float) -> None:
        """Send requests until the file is complete. Only requests without progress count as failures and wait."""
        denials, most = 0, partial.size
        file = local_path(request.href)
        if file is not None and not self._allows_files:
            raise PermanentError(f"{display_url(request.href)} is a local file, which a remote catalogue must not name")

        def attempt() -> None:
            nonlocal denials, most
            if self._clock() > end:
                raise _TimeLimitError
            try:
                if file is None:
                    self._request(request, partial, record, end)
                else:
                    self._copy(file, request, partial, record, end)
            except TransientError as error:
                if partial.size < most + MIN_PROGRESS:
                    self._announce(request.href, error)
                    raise
                most, denials = partial.size, 0
            except _AccessDeniedError as error:
                denial = error.denial
                can_help = self._signer.renew(request.href, request.asset, denial.region)
                denials += 1
                record("sign", status=denial.status, code=denial.code, again=can_help)
                if not can_help or denials >= _MAX_DENIALS:
                    cure = "set `auth` and `auth_host`"
                    if urlsplit(request.href).scheme == "s3":
                        cure = "use AWS credentials that may read it, with `requester_pays` where the reader pays"
                    text = f"{display_url(request.href)} denies access with {denial}: {cure}"
                    raise PermanentError(text, status=denial.status) from None
            else:
                denials = 0

        while not partial.is_complete:
            retry.call(attempt, self._policy, pause=self._transport.pause)

    def _announce(self, href: str, error: TransientError) -> None:
        """Log the reason of the first failure of each host; run.log has all attempts."""
        if self._announced.setdefault(urlsplit(href).netloc, error) is error:
            _log.info("%s cannot be downloaded yet (%s): trying again", display_url(href), redact(str(error)))

    def _warn_of_difference(self, request: DownloadRequest, difference: str) -> None:
        """Log the first raster of each asset that is unlike its description; run.log has all."""
        collection, _, key = request.asset
        if self._misdescribed.setdefault((collection, key), request) is request:
            _log.warning(
                "%s is not as the catalogue describes it, but has the stated checksum, and is kept: %s. run.log names"
                " all such files",
                *(display_url(request.href), difference),
            )

    def _request(self, request: DownloadRequest, partial: PartialFile, record: RecordStep, end: float) -> None:
        """Send one request and write the response."""
        url = self._signer.sign(request.href, request.asset)
        headers, offset = {}, partial.size
        validator = None if partial.version is None else partial.version.validator
        if offset and validator is not None:
            headers = {"Range": f"bytes={offset}-", "If-Range": validator}
        failure: EechipsError | None = None
        with self._hosts.semaphore(url), self._transport.acquire_permit() as permit:
            try:
                with self._hosts.get(url, headers, self._signer.headers) as response:
                    record("transfer", status=response.status_code, offset=offset if _is_part(response) else 0)
                    is_part, may_expire = "Range" in headers, "?" in url
                    if _prepare_partial(response, partial, request, is_part=is_part, may_expire=may_expire):
                        self._receive(response, partial, request.expected, permit, end)
                    return
            except (OSError, urllib3.exceptions.HTTPError) as error:
                failure = classify_exception(error)
                if failure is None:
                    raise
        # The original message contains the URL, which may be a secret.
        record("cut", bytes=permit.received, at=partial.size, error=str(failure))
        raise failure from None

    def _copy(self, file: Path, request: DownloadRequest, partial: PartialFile, record: RecordStep, end: float) -> None:
        """Copy a local file, or the missing rest of it."""
        try:
            with self._transport.acquire_permit() as permit, file.open("rb") as source:
                status = os.fstat(source.fileno())
                version = FileVersion(status.st_size, f'"{status.st_mtime_ns:x}"', None)
                if partial.version != version:
                    partial.begin(version)
                record("transfer", offset=partial.size)
                source.seek(partial.size)
                check_free(self._folder, max(0, status.st_size - partial.size))
                while data := source.read(_CHUNK):
                    self._write(data, partial, request.expected, permit, end)
        except IsADirectoryError:
            raise PermanentError(
                f"{file} is a folder, as of Zarr, and only files are downloaded: leave it out by `assets`"
            ) from None
        except OSError as error:
            raise PermanentError(f"{file} cannot be read: {error.strerror or error}") from None

    def _write(self, data: bytes, partial: PartialFile, expected: ExpectedFile, permit: Permit, end: float) -> None:
        permit.received += len(data)
        self._limiter.consume(len(data))
        if expected.size is not None and partial.size + len(data) > 2 * expected.size + _MAX_EXCESS:
            raise _TooLargeError(f"the file has more than the expected {expected.size:,} bytes")
        partial.write(data)
        if partial.size % _CHECK_EVERY < len(data):
            check_free(self._folder)
        if self._clock() > end:
            raise _TimeLimitError

    def _receive(
        self, response: requests.Response, partial: PartialFile, expected: ExpectedFile, permit: Permit, end: float
    ) -> None:
        """Write the body of a response."""
        version = partial.version
        assert version is not None
        check_free(self._folder, max(0, (version.total or 0) - partial.size))
        for data in self._read_chunks(response, expected):
            self._write(data, partial, expected, permit, end)
        if version.total is not None and partial.size > version.total:
            size = partial.size
            partial.reset()
            raise TransientError(f"the host sent {size:,} bytes of a file of {version.total:,}")
        if version.total is not None and partial.size < version.total:
            raise urllib3.exceptions.IncompleteRead(partial.size, version.total - partial.size)
        if _is_part(response) and version.total is None:
            # A range may be shorter than requested: only a further request shows whether more follows.
            raise TransientError("the response does not state the size of the file", status=206)
        partial.finish()

    def _read_chunks(self, response: requests.Response, expected: ExpectedFile) -> Iterator[bytes]:
        """Yield the body as it arrives, so that an interrupted connection loses no received bytes."""
        size, raw = self._limiter.read_size(_CHUNK), response.raw
        chunks = read_with_timeout(lambda: raw.read1(size, decode_content=False), self._hosts.read_timeout, self._clock)
        codings = content_encodings(response.headers, expected)
        return decoded(chunks, codings, _CHUNK) if codings else chunks


def _is_part(response: requests.Response) -> bool:
    """Return whether a response is a part of a file, whatever its status: `rclone serve s3` answers with 200."""
    return response.status_code == 206 or parse_content_range(response.headers.get("Content-Range")) is not None


def _prepare_partial(
    response: requests.Response, partial: PartialFile, request: DownloadRequest, *, is_part: bool, may_expire: bool
) -> bool:
    """Check that a response continues the partial file, or restart the file.

    Returns:
        Whether the response has a body to write.
    """
    status, headers = response.status_code, response.headers
    if (denial := parse_access_denial(response, may_expire=may_expire)) is not None:
        raise _AccessDeniedError(denial)
    content_range = parse_content_range(headers.get("Content-Range"))
    if status == 200 and _is_part(response):
        status = 206
    if status == 200 or (status == 206 and not is_part and content_range is not None and content_range[0] == 0):
        partial.begin(
            *_describe_whole(headers, content_range[2] if status == 206 and content_range else None, request.expected)
        )
        return True
    if status == 206:
        _check_part(headers, partial, request)
        return True
    if status == 416:
        version, size = partial.version, parse_unsatisfied_range(headers.get("Content-Range"))
        is_all = size == partial.size and version is not None and version.is_same(FileVersion.of(headers, size))
        if is_part and is_all:
            partial.finish()
            return False
        partial.reset()
        raise TransientError("the file is shorter than its received part", status=status)
    text = f"{display_url(request.href)} answered HTTP {status}"
    if is_part and status in _RANGE_UNSUPPORTED:
        partial.reset()
        raise TransientError(f"{text} to a range request: starting from the first byte", status=status)
    # 202: the file is being restored from an archive. Other successes without a file are of something in between.
    if is_transient_status(status) or 200 < status < 300:
        after = parse_retry_after({name.lower(): value for name, value in headers.items()})
        raise TransientError(text, status=status, retry_after=after)
    raise PermanentError(text, status=status)


def _check_part(headers: Mapping[str, str], partial: PartialFile, request: DownloadRequest) -> None:
    """Check that the headers of status 206 continue the partial file; else reset it and raise TransientError."""
    content_range, version = parse_content_range(headers.get("Content-Range")), partial.version
    if (
        content_range is None
        or version is None
        or content_range[0] != partial.size
        or content_encodings(headers, request.expected)
    ):
        partial.reset()
        raise TransientError(f"the host sent another range: {headers.get('Content-Range')}", status=206)
    stated = FileVersion.of(headers, content_range[2])
    # A part has the ETag that the whole would have (RFC 9110, 15.3.7): one without it may be of another version.
    if not version.is_same(stated) or (stated.etag is None and version.etag is not None):
        partial.reset()
        raise TransientError("the file changed during the download", status=206)
    if version.total is None and stated.total is not None:
        partial.measure(stated.total)


def _describe_whole(
    headers: Mapping[str, str], total: int | None, expected: ExpectedFile
) -> tuple[FileVersion, tuple[str, ...]]:
    """Return the version of a file that is sent from its first byte, and the digests that the host states."""
    if content_encodings(headers, expected):  # size and version describe the encoded form
        return FileVersion(None, None, None), ()
    length = headers.get("Content-Length", "")
    md5 = md5_from_headers(headers)
    size = total if total is not None else parse_count(length)
    return FileVersion.of(headers, size, md5), () if md5 is None else ("md5",)
