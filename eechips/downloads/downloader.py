"""One file from its address to the disk: gone on with where it was cut, checked, begun again if it is wrong."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import requests
import urllib3

from eechips.client import retry
from eechips.client.classification import classify_exception, is_transient_status
from eechips.client.throttle import Permit
from eechips.client.transport import Transport
from eechips.downloads.content_encoding import content_encodings, decoded
from eechips.downloads.expected_file import Checksum, ExpectedFile, inspect, md5_from_headers
from eechips.downloads.host_sessions import HostSessions
from eechips.downloads.partial import FileVersion, PartialFile, parse_content_range, parse_unsatisfied_range
from eechips.downloads.presigned import AssetKey, AssetReference, PresignedUrls
from eechips.downloads.refusal import AccessDenial, parse_access_denial
from eechips.downloads.transfer_limits import BandwidthLimiter, DiskBudget, read_with_timeout
from eechips.errors import EechipsError, PermanentError, QuarantinedError, TransientError, ValidationError
from eechips.formats import FileMetadata
from eechips.timestamps import parse_retry_after
from eechips.urls import display_url, local_path

if TYPE_CHECKING:
    from typing_extensions import Self

_CHUNK = 1 << 19  # bytes that are read at a time
_MIN_PROGRESS = 1 << 16
"""Bytes that requests must bring for another to follow as if nothing had happened, and that must come within the time
that a host may be silent: one that sends a byte now and then would keep a place for ever."""
_MAX_EXCESS = 1 << 24
"""Bytes that are taken of a file beyond twice its declared size. A catalogue may be wrong, and then the whole file is
needed in quarantine to find out why; the limit stops files without end."""
_MAX_ATTEMPTS = 3
"""Whole files that may be wrong before one is put into quarantine."""
_HEADER_THREADS = 2
"""Threads that look at headers: one that takes long does not keep the others waiting."""
_MAX_DENIALS = 3
"""Signatures in a row that a host may refuse without sending anything."""
_RANGE_UNSUPPORTED = (400, 405, 409, 412, 428, 501)
"""What hosts answer that know no ``Range`` or ``If-Range``, and should have sent the whole."""

RecordStep = Callable[..., None]
"""Notes what happens: ``record("transfer", status=206, …)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadRequest:
    """What to transfer.

    Attributes:
        href: the address, as it is stored: without its query.
        asset: collection, item and key.
        expected: what the catalogue says of the file.
        path: where the file is while it is on its way.
    """

    href: str
    asset: AssetKey
    expected: ExpectedFile
    path: Path

    @property
    def reference(self) -> AssetReference:
        """Whose address is asked for."""
        return AssetReference(self.href, self.asset)


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A file that came, whole and right.

    Attributes:
        size: bytes.
        sha256: hexadecimal.
        metadata: what GDAL found in its header.
        checked: by what it is known to be right, such as ``size`` and ``sha256``.
    """

    size: int
    sha256: str
    metadata: FileMetadata
    checked: tuple[str, ...]


class _AccessDeniedError(Exception):
    """A host does not accept the signature, or the lack of one."""

    def __init__(self, denial: AccessDenial) -> None:
        super().__init__(str(denial))
        self.denial = denial


class _TooLargeError(Exception):
    """More comes than the catalogue says that the file has."""


class _TimeLimitError(Exception):
    """A file takes longer than one may."""


class Downloader:
    """Transfers files. Threads share it; use it in a ``with`` block.

    Headers are looked at in threads of their own, few: PROJ prepares itself anew for each thread, and all others stand
    still meanwhile, for longer than a hundred headers take.

    Args:
        hosts: whom files come from.
        signer: makes addresses open.
        transport: lends slots and waits.
        rate: of all transfers.
        room: on the disk.
        timeout: seconds that a file may take: nobody can end a thread, so it ends by itself.
        clock: seconds, monotonic.
        allows_files: whether addresses may be files of this machine: not those that others record us.
    """

    def __init__(
        self,
        hosts: HostSessions,
        signer: PresignedUrls,
        transport: Transport,
        limiter: BandwidthLimiter,
        disk: DiskBudget,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        allows_files: bool,
    ) -> None:
        self._timeout, self._clock = timeout, clock
        self._hosts, self._signer, self._transport = hosts, signer, transport
        self._limiter, self._disk, self._allows_files = limiter, disk, allows_files
        policy = transport.policy
        # With many hosts, one that is away is not the network.
        self._policy = replace(policy, offline=0.0)
        self._header_pool = ThreadPoolExecutor(_HEADER_THREADS, "eechips-header")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._header_pool.shutdown(wait=False, cancel_futures=True)

    def fetch(self, request: DownloadRequest, record: RecordStep) -> DownloadedFile:
        """Transfers a file, or what is missing of it.

        Args:
            request: which.
            record: notes what happens.

        Raises:
            QuarantinedError: if it came whole three times, and was wrong each time; it is still where it was.
            TransientError, PermanentError: if it does not come.
            StorageError: if it cannot be written.
        """
        checksum = request.expected.known_checksum
        partial = PartialFile(request.path, () if checksum is None else (checksum.algorithm,))
        end = self._clock() + self._timeout
        try:
            while True:
                try:
                    self._complete(request, partial, record, end)
                    downloaded = self._check(request, partial)
                except (ValidationError, _TooLargeError) as error:
                    record("check", error=str(error), failures=partial.failures + 1)
                    if partial.failures + 1 >= _MAX_ATTEMPTS:
                        raise QuarantinedError(
                            f"{display_url(request.href)} came {_MAX_ATTEMPTS} times, and was wrong: {error}"
                        ) from None
                    partial.reset(failed=True)
                else:
                    unknown = {"unknown": request.expected.checksum} if request.expected.is_checksum_unknown else {}
                    record("check", bytes=downloaded.size, sha256=downloaded.sha256, by=downloaded.checked, **unknown)
                    return downloaded
        except _TimeLimitError:
            raise TransientError(f"it was not through after {self._timeout:g} s; what has come is kept") from None
        finally:
            partial.close()

    def _check(self, request: DownloadRequest, partial: PartialFile) -> DownloadedFile:
        """Sees whether a whole file is right.

        Raises:
            ValidationError: if it is not.
        """
        expected, version = request.expected, partial.version
        stated = None if version is None or version.md5 is None else Checksum("md5", version.md5)
        checked = ["length"]
        if expected.size is not None:
            if partial.size != expected.size:
                raise ValidationError(f"it has {partial.size:,} bytes, and should have {expected.size:,}")
            checked.append("size")
        for checksum in (expected.known_checksum, stated):
            if checksum is None:
                continue
            found = partial.digest(checksum.algorithm)
            if found != checksum.digest:
                raise ValidationError(f"its {checksum.algorithm} is {found}, and should be {checksum.digest}")
            checked.append(checksum.algorithm)
        partial.close()
        metadata = self._header_pool.submit(inspect, partial.path, expected).result()
        if expected.is_raster:
            checked.append("header")
        return DownloadedFile(partial.size, partial.digest(), metadata, tuple(checked))

    def _complete(self, request: DownloadRequest, partial: PartialFile, record: RecordStep, end: float) -> None:
        """Asks until all is here. Only requests that bring nothing new are failures, and have to wait."""
        denials, most = 0, partial.size
        file = local_path(request.href)
        if file is not None and not self._allows_files:
            raise PermanentError(
                f"{display_url(request.href)} is no address of the web, and the catalogue is not of this machine"
            )

        def attempt() -> None:
            nonlocal denials, most
            if self._clock() > end:
                raise _TimeLimitError
            try:
                if file is None:
                    self._request(request, partial, record, end)
                else:
                    self._copy(file, request, partial, record, end)
            except TransientError:
                if partial.size < most + _MIN_PROGRESS:
                    raise
                most, denials = partial.size, 0
            except _AccessDeniedError as error:
                denial = error.denial
                can_help = self._signer.renew(request.reference, denial.region)
                denials += 1
                record("sign", status=denial.status, code=denial.code, again=can_help)
                if not can_help or denials >= _MAX_DENIALS:
                    text = f"{display_url(request.href)} is refused with {denial}: see --auth and --auth-host"
                    raise PermanentError(text, status=denial.status) from None
            else:
                denials = 0

        while not partial.is_complete:
            retry.call(attempt, self._policy, pause=self._transport.pause)

    def _request(self, request: DownloadRequest, partial: PartialFile, record: RecordStep, end: float) -> None:
        """Makes one request, and writes what it brings.

        Raises:
            _RefusedError: if the signature is not accepted.
            TransientError: if that was not all.
            PermanentError: if nothing will come.
        """
        address = self._signer.sign(request.reference)
        headers, offset = {}, partial.size
        validator = None if partial.version is None else partial.version.validator
        if offset and validator is not None:
            headers = {"Range": f"bytes={offset}-", "If-Range": validator}
        failure: EechipsError | None = None
        with self._hosts.semaphore(address.url), self._transport.acquire_permit() as permit:
            try:
                with self._hosts.get(address.url, headers, self._signer.headers) as response:
                    record("transfer", status=response.status_code, offset=offset if _is_part(response) else 0)
                    is_rest = _prepare_partial(
                        response, partial, request, is_part="Range" in headers, may_expire="?" in address.url
                    )
                    if is_rest:
                        self._receive(response, partial, request.expected, permit, end)
                    return
            except (OSError, urllib3.exceptions.HTTPError) as error:
                failure = classify_exception(error)
                if failure is None:
                    raise
        # The original names the address, which may be a secret.
        record("cut", bytes=permit.received, at=partial.size, error=str(failure))
        raise failure from None

    def _copy(self, file: Path, request: DownloadRequest, partial: PartialFile, record: RecordStep, end: float) -> None:
        """Copies a file of this machine, or what is missing of it.

        Raises:
            PermanentError: if it cannot be read.
        """
        try:
            with self._transport.acquire_permit() as permit, file.open("rb") as source:
                found = os.fstat(source.fileno())
                version = FileVersion(found.st_size, f'"{found.st_mtime_ns:x}"', None)
                if partial.version != version:
                    partial.begin(version)
                record("transfer", offset=partial.size)
                source.seek(partial.size)
                with self._disk.reserve(max(0, found.st_size - partial.size)) as on_written:
                    while data := source.read(_CHUNK):
                        self._write(data, partial, request.expected, permit, on_written, end)
        except OSError as error:
            raise PermanentError(f"{file} cannot be read: {error.strerror or error}") from None

    def _write(
        self,
        data: bytes,
        partial: PartialFile,
        expected: ExpectedFile,
        permit: Permit,
        on_written: Callable[[int], None],
        end: float,
    ) -> None:
        permit.received += len(data)
        self._limiter.consume(len(data))
        if expected.size is not None and partial.size + len(data) > 2 * expected.size + _MAX_EXCESS:
            raise _TooLargeError(f"it has more than the {expected.size:,} bytes that it should have")
        partial.write(data)
        on_written(len(data))
        if self._clock() > end:
            raise _TimeLimitError

    def _receive(
        self, response: requests.Response, partial: PartialFile, expected: ExpectedFile, permit: Permit, end: float
    ) -> None:
        """Writes what an answer brings.

        Raises:
            TransientError: if that was not all.
        """
        version = partial.version
        assert version is not None
        with self._disk.reserve(max(0, (version.total or 0) - partial.size)) as on_written:
            for data in self._read_chunks(response, expected):
                self._write(data, partial, expected, permit, on_written, end)
        if version.total is not None and partial.size < version.total:
            raise urllib3.exceptions.IncompleteRead(partial.size, version.total - partial.size)
        if _is_part(response) and version.total is None:
            # A part may be shorter than what was asked for: only who asks for more learns that there is none.
            raise TransientError("nobody has stated whether more of the file is to come", status=206)
        partial.finish()

    def _read_chunks(self, response: requests.Response, expected: ExpectedFile) -> Iterator[bytes]:
        """What comes, as it comes: of a connection that is cut, nothing that has come is lost.

        Raises:
            TransientError: if it comes too slowly.
        """
        read = getattr(response.raw, "read1", response.raw.read)  # older versions of urllib3 do not have it
        size = self._limiter.read_size(_CHUNK)
        chunks = read_with_timeout(
            lambda: read(size, decode_content=False), self._hosts.read_timeout, _MIN_PROGRESS, self._clock
        )
        codings = content_encodings(response.headers, expected)
        return decoded(chunks, codings, _CHUNK) if codings else chunks


def _is_part(response: requests.Response) -> bool:
    """Whether an answer is a part of a file, whatever its status is: `rclone serve s3` answers with 200."""
    return response.status_code == 206 or parse_content_range(response.headers.get("Content-Range")) is not None


def _prepare_partial(
    response: requests.Response, partial: PartialFile, request: DownloadRequest, *, is_part: bool, may_expire: bool
) -> bool:
    """Makes sure that what an answer brings belongs to what is here, or begins anew.

    Args:
        response: the answer.
        partial: what is here.
        request: what was asked for.
        is_part: whether what is missing was asked for, not all.
        may_expire: whether the address has a query, which may be a signature.

    Returns:
        Whether anything is still to come.

    Raises:
        _RefusedError: if the signature is not accepted.
        TransientError: if another version came, which is not to be mixed with the one that is here, or later may help.
        PermanentError: if there is no such file.
    """
    status, headers = response.status_code, response.headers
    if (denial := parse_access_denial(response, may_expire=may_expire)) is not None:
        raise _AccessDeniedError(denial)
    found = parse_content_range(headers.get("Content-Range"))
    if status == 200 and _is_part(response):
        status = 206
    if status == 200 or (status == 206 and not is_part and found is not None and found[0] == 0):
        partial.begin(*_describe_whole(headers, found[2] if status == 206 and found else None, request.expected))
        return True
    if status == 206:
        version = partial.version
        if found is None or version is None or found[0] != partial.size or content_encodings(headers, request.expected):
            partial.reset()
            raise TransientError(f"another part came than was asked for: {headers.get('Content-Range')}", status=206)
        stated = FileVersion.of(headers, found[2])
        if not version.is_same(stated):
            partial.reset()
            raise TransientError("the file has changed since it was begun", status=206)
        if version.total is None and stated.total is not None:
            partial.measure(stated.total)
        return True
    if status == 416:
        version, size = partial.version, parse_unsatisfied_range(headers.get("Content-Range"))
        is_all = size == partial.size and version is not None and version.is_same(FileVersion.of(headers, size))
        if is_part and is_all:
            partial.finish()
            return False
        partial.reset()
        raise TransientError("the file is shorter than the part that is here", status=status)
    text = f"{display_url(request.href)} answered HTTP {status}"
    if is_part and status in _RANGE_UNSUPPORTED:
        partial.reset()
        raise TransientError(f"{text} to who asked for the rest: from its beginning", status=status)
    if is_transient_status(status) or status == 202:  # 202: it is being brought from where it cannot be sent from
        after = parse_retry_after({name.lower(): value for name, value in headers.items()})
        raise TransientError(text, status=status, retry_after=after)
    raise PermanentError(text, status=status)


def _describe_whole(
    headers: Mapping[str, str], total: int | None, expected: ExpectedFile
) -> tuple[FileVersion, tuple[str, ...]]:
    """The version of a file that comes from its beginning, and the digests that its server tells.

    Args:
        headers: of the answer.
        total: bytes, where the answer says so by ``Content-Range``.
        expected: of the file.
    """
    if content_encodings(headers, expected):  # how long it is, and of which version, is said of its coded form
        return FileVersion(None, None, None), ()
    length = headers.get("Content-Length", "")
    md5 = md5_from_headers(headers)
    size = total if total is not None else int(length) if length.isdecimal() else None
    return FileVersion.of(headers, size, md5), () if md5 is None else ("md5",)
