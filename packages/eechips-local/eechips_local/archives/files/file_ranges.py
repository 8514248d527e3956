"""Read ranges of bytes of an archive's files, all of one version: attempts, timeouts, checks of Content-Range and
Content-Encoding, and the messages of failures.
"""

from __future__ import annotations

import math
import random
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
from urllib3.exceptions import HTTPError

from eechips_local.archives.archive_clock import Clock
from eechips_local.archives.archive_errors import (
    ArchiveAwayError,
    ArchiveError,
    ArchiveRefusedError,
    DoubtfulResponseError,
    away,
    unreached,
)
from eechips_local.archives.files.file_versions import changed_file, describe_version, is_same_version
from eechips_local.archives.hosts.access_denials import advise, is_of_keys, read_denial
from eechips_local.archives.hosts.host_pauses import HostPauses
from eechips_local.archives.hosts.host_permits import HostPermits
from eechips_local.archives.hosts.retry_header import parse_retry_after
from eechips_local.archives.hosts.transient_failures import is_transient, is_transient_status, unsendable
from eechips_local.assets.asset_names import shown_url

_ATTEMPTS = 6
_FIRST_PAUSE, _MOST_PAUSE = 0.25, 20.0  # seconds
_DENIED, _DENIALS = frozenset({401, 403}), 3
# S3 answers so where a token of its keys has expired (https://issues.apache.org/jira/browse/HADOOP-18353).
_MALFORMED = 400
_BEYOND = 416
_DOUBTS = 3  # a proxy or cache may send one answer that its host does not
_PAGES = ("text/html", "application/xhtml")
_CONNECT, _SILENCE = 10.0, 15.0  # seconds
_PATIENCE = 20.0  # seconds that a read waits for a host that is away, or wants no requests
_FIRST_PATIENCE = 8.0  # seconds that all reads together wait if no host has answered since the server was started
_SLOWEST = 64 << 10  # bytes a second; a response that takes longer is asked for again
_CHUNK = 256 << 10
_LEAST_PIECE = 64 << 10  # bytes; a host that sends less at once would be asked too often
_CONTENT_RANGE = re.compile(r"(?i:bytes) ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")  # RFC 9110, 14.1
_LENGTH = re.compile(r"[0-9]{1,18}")
# Encodings that change nothing; the last is that of an upload to S3, which some clients and stores keep
# (https://github.com/google/neuroglancer/issues/795).
_UNCHANGED = frozenset({"", "identity", "aws-chunked"})


Span = tuple[int, int]
"""First byte and length of a part of a file."""


@dataclass(frozen=True, slots=True)
class FetchedRange:
    """Bytes of a file.

    Attributes:
        parts: the bytes of each span that was asked for.
        size: size of the whole file.
        version: version of the file; see :func:`describe_version`.
    """

    parts: tuple[memoryview, ...]
    size: int
    version: str

    @property
    def data(self) -> bytes:
        """The bytes of all spans."""
        return b"".join(self.parts)


@dataclass(frozen=True, slots=True)
class _Failure:
    """A request that is to be repeated.

    Attributes:
        reason: why.
        denial: what the host says of access that it denies; None if it does not deny it.
    """

    reason: str
    denial: str | None = None


class _WrongAnswerError(HTTPError):
    """A host answers, but not with what was asked for."""


class _ShorterPart(Exception):  # noqa: N818 - it is no failure
    """A host has sent the beginning of what was asked for, as it may (RFC 9110, 15.3.7).

    Attributes:
        begun: the beginning, in one part.
    """

    def __init__(self, begun: FetchedRange) -> None:
        super().__init__()
        self.begun = begun


@dataclass(frozen=True, slots=True)
class SignedAddress:
    """A request for a file as its host wants it. Its representation omits what authorizes it.

    Attributes:
        url: with a signature, where one is needed.
        headers: headers that authorize it.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class AddressSigner(Protocol):
    """Signs requests for an archive's files. Threads may share it; it pickles."""

    def sign(self, href: str, collection: str, refused: SignedAddress | None = None) -> SignedAddress:
        """Return the request for a file.

        Args:
            href: address of the file.
            collection: collection of its item.
            refused: an earlier request for it that the host has refused: its signature is not used again.

        Raises:
            ArchiveRefusedError: if the archive's description does not allow the address.
            ArchiveError: if a service that gives signatures does not answer.
        """
        ...


class RangeTransport(Protocol):
    """Sends requests. Threads may share it; it pickles."""

    def open(self, url: str, headers: Mapping[str, str], connect: float, silence: float) -> Any:
        """Send a GET request, follow no redirect; return urllib3's response, of which nothing is read.

        Args:
            url: signed.
            headers: headers of the request.
            connect: seconds until a connection stands.
            silence: seconds without a byte.

        Raises:
            HTTPError: if there is no response.
            ArchiveError: if the host may not be asked, or not now.
        """
        ...


class FileRanges:
    """Reads ranges of files, again where a request fails for a passing reason. Threads may share it; it pickles.

    Args:
        transport: sends requests.
        signer: authorizes them.
        permits: bound those in work of all processes.
        pauses: pauses of hosts that are away; their clock is the reader's.

    Attributes:
        clock: their clock.
    """

    def __init__(
        self, transport: RangeTransport, signer: AddressSigner, permits: HostPermits, pauses: HostPauses
    ) -> None:
        self._transport, self._signer, self._permits, self._pauses = transport, signer, permits, pauses
        self.clock = pauses.clock
        self._lock = threading.Lock()
        self._requests = self._received = 0
        self._first_read: float | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._transport, self._signer, self._permits, self._pauses)

    @property
    def requests(self) -> int:
        """Requests that were sent, repeated ones too."""
        return self._requests

    @property
    def received(self) -> int:
        """Bytes of bodies that were received."""
        return self._received

    def read(
        self, href: str, collection: str, start: int, length: int, version: str = "", patience: float = _PATIENCE
    ) -> FetchedRange:
        """Read bytes of a file; see :meth:`read_spans`."""
        return self.read_spans(href, collection, ((start, length),), version, patience)

    def read_spans(
        self, href: str, collection: str, spans: Sequence[Span], version: str = "", patience: float = _PATIENCE
    ) -> FetchedRange:
        """Read spans of a file by one request, unless its host sends less at once; fewer bytes where the file ends.

        Args:
            href: address of the file, unsigned.
            collection: collection of its item.
            spans: at least one byte each, in the file's order, apart from each other.
            version: version that the file must still have; "" for any.
            patience: seconds to wait for a host that is away; fewer before any has answered.

        Raises:
            ChangedFileError: if it has another.
            ArchiveAwayError: if its host is not reached.
            ArchiveUnreachedError: if no host has answered since the server was started.
            ArchiveRefusedError: if the file may not be read, or is not there; or its host denies access, to newer
                signatures too if there are any, or sends several times what cannot be used.
            ArchiveError: if its host does not answer.
        """
        try:
            return self._read_spans(href, collection, spans, version, min(patience, self._first_patience()))
        except ArchiveAwayError as error:
            if self._pauses.responses:
                raise
            raise unreached(error) from error

    def _first_patience(self) -> float:
        """Return the seconds that are left for the first answer of a host; infinity once one has answered."""
        if self._pauses.responses:
            return math.inf
        now = self.clock.monotonic()
        with self._lock:
            self._first_read = now if self._first_read is None else self._first_read
            return max(0.0, self._first_read + _FIRST_PATIENCE - now)

    def _read_spans(
        self, href: str, collection: str, spans: Sequence[Span], version: str, patience: float
    ) -> FetchedRange:
        """Read spans as :meth:`read_spans` does; raise ArchiveAwayError also if no host has answered yet."""
        start, stop, end = spans[0][0], sum(spans[-1]), self.clock.monotonic() + patience
        asked, content = spans, bytearray()
        while True:
            try:
                last = self._ask(href, collection, asked, version, end)
            except _ShorterPart as shorter:
                last = shorter.begun
            else:
                if not content:
                    return last
            content += last.data
            at, stop, version = start + len(content), min(stop, last.size), last.version
            if at >= stop:
                break
            asked = ((at, stop - at),)
        view = memoryview(content)
        parts = tuple(view[first - start : first - start + length] for first, length in spans)
        return FetchedRange(parts, last.size, version)

    def _ask(self, href: str, collection: str, spans: Sequence[Span], version: str, end: float) -> FetchedRange:
        """Send a request for spans until it succeeds or fails for good; see :meth:`read_spans`.

        Args:
            end: time on the monotonic clock until which a host that is away is waited for.

        Raises:
            _ShorterPart: if the host sends the beginning of what lies between first and last byte.
        """
        start, length = spans[0][0], sum(spans[-1]) - spans[0][0]
        reason, denials, doubts, is_reached = "", 0, 0, False
        answer: FetchedRange | _Failure
        refused: SignedAddress | None = None
        host = urlsplit(href).netloc
        for attempt in range(_ATTEMPTS):
            signed = self._signer.sign(href, collection, refused)
            headers = {**signed.headers, "Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "identity"}
            pause = min(_FIRST_PAUSE * 2**attempt, _MOST_PAUSE) * random.uniform(0.5, 1.0)
            try:
                with self._pauses.wait(host, end - self.clock.monotonic()), self._permits.hold(host):
                    answer = self._request(signed.url, headers, href, spans, version)
                is_reached = True
            except (HTTPError, OSError, ArchiveAwayError) as error:
                is_late = self.clock.monotonic() >= end
                if is_late and (self._pauses.is_away(host) or not self._pauses.responses):
                    raise away(host) from error
                is_reached = is_reached or isinstance(error, _WrongAnswerError)
                is_told = isinstance(error, (_WrongAnswerError, ArchiveAwayError))
                answer = _Failure(str(error).rstrip(".?") if is_told else type(error).__name__)
            except ArchiveRefusedError as error:
                doubts, is_reached = doubts + 1, True
                if doubts == _DOUBTS or not is_transient(error):
                    raise
                answer = _Failure(str(error))
            if isinstance(answer, FetchedRange):
                return answer
            reason = answer.reason
            if answer.denial is not None:
                denials, refused = denials + 1, signed
                if denials == _DENIALS or self._signer.sign(href, collection, signed) == signed:
                    raise _denied(href, answer, is_renewed=denials > 1)
                if denials == 1:
                    continue
            if attempt + 1 < _ATTEMPTS:
                self.clock.sleep(pause)  # before a pause that the host demands, which may be too long to wait for
        kind = ArchiveError if is_reached else ArchiveAwayError
        raise kind(f"{shown_url(href)} cannot be read now: {reason}, {_ATTEMPTS} times.")

    def _request(
        self, url: str, headers: Mapping[str, str], href: str, spans: Sequence[Span], version: str
    ) -> FetchedRange | _Failure:
        """Send a request; return its bytes, or why it is to be repeated."""
        is_whole = False
        host = urlsplit(href).netloc
        try:
            response = self._transport.open(url, headers, _CONNECT, _SILENCE)
        except (HTTPError, OSError, ArchiveAwayError) as error:
            if not is_transient(error):
                raise unsendable(host, error) from error
            self._pauses.note_failure(host)
            raise
        self._pauses.note_response(host)
        try:
            with self._lock:
                self._requests += 1
            reason = f"HTTP {response.status}"
            if response.status in _DENIED:
                return _Failure(reason, denial=read_denial(response))
            if response.status == _MALFORMED and is_of_keys(said := read_denial(response)):
                return _Failure(reason, denial=said)
            if is_transient_status(response.status):
                self._pauses.demand(host, parse_retry_after(response.headers.get("Retry-After", "")))
                return _Failure(reason)
            fetched = self._take(response, href, spans, version)
            is_whole = True
            return fetched
        except _ShorterPart:
            is_whole = True
            raise
        finally:
            # A connection with bytes left in it would give them to the next request.
            response.release_conn() if is_whole else response.close()

    def _take(self, response: Any, href: str, spans: Sequence[Span], version: str) -> FetchedRange:
        """Return the bytes of a response, if they are those that were asked for."""
        shown, status = shown_url(href), response.status
        start, length = spans[0][0], sum(spans[-1]) - spans[0][0]
        if status in (301, 302, 303, 307, 308):
            raise DoubtfulResponseError(f"{shown} redirects to another address, which is not followed.")
        if status == _BEYOND:
            raise ArchiveRefusedError(f"{shown} is damaged, or has changed: it ends before byte {start:,}.")
        if status not in (200, 206):
            kind = ArchiveRefusedError if status >= 400 else DoubtfulResponseError
            raise kind(f"{shown} cannot be read: its host answers with HTTP {status}.")
        headers = response.headers
        match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if headers.get("Content-Type", "").lower().startswith(_PAGES) and (status == 200 or match is None):
            raise _WrongAnswerError("a web page comes instead, as from a proxy or a login page in between")
        if not _UNCHANGED.issuperset(re.split(r"[,\s]+", headers.get("Content-Encoding", "").lower())):
            raise DoubtfulResponseError(f"{shown} comes compressed by its host, so that its parts cannot be read.")
        if status == 206:
            if match is None:
                raise _WrongAnswerError("its host sends a part without saying which, and of how many bytes")
            if int(match[1]) != start:
                raise _WrongAnswerError("its host sends another part than was asked for")
            first, last, size = map(int, match.groups())
            expected = min(start + length, size) - start
            sent = last - first + 1
            if not 0 < sent <= expected or headers.get("Content-Length", str(sent)) != str(sent):
                raise _WrongAnswerError("its host sends another part than was asked for")
            if sent < min(expected, _LEAST_PIECE):
                raise _WrongAnswerError(f"its host sends {sent:,} bytes of what was asked for")
        else:
            length_match = _LENGTH.fullmatch(headers.get("Content-Length", ""))
            size = expected = int(length_match[0]) if length_match else 0
            if start or not 0 < size <= length:
                raise DoubtfulResponseError(f"{shown} cannot be read in parts: its host ignores ranges.")
            sent = expected
        actual = describe_version(headers, size)
        if version and not is_same_version(actual, version):
            raise changed_file(shown)
        if sent < expected:
            raise _ShorterPart(FetchedRange(self._body(response, ((start, sent),), sent), size, actual))
        return FetchedRange(self._body(response, spans, expected), size, actual)

    def _body(self, response: Any, spans: Sequence[Span], expected: int) -> tuple[memoryview, ...]:
        """Return the bytes of spans of a response, each in memory of its own."""
        deadline = self.clock.monotonic() + _SILENCE + expected / _SLOWEST
        at = spans[0][0]
        end, parts = at + expected, []
        for start, length in spans:
            stop = min(start + length, end)
            _read(response, min(start, end) - at, deadline, self.clock)  # what lies between them is not needed
            parts.append(_read(response, max(0, stop - start), deadline, self.clock))
            at = max(at, stop)
        with self._lock:
            self._received += expected
        return tuple(parts)


def _denied(href: str, failure: _Failure, *, is_renewed: bool) -> ArchiveRefusedError:
    """Return the error of a file to which its host denies access."""
    advice = advise(failure.denial or "", href, is_renewed=is_renewed)
    return ArchiveRefusedError(f"{shown_url(href)} cannot be read: its host denies access ({failure.reason}){advice}")


def _read(response: Any, length: int, deadline: float, clock: Clock) -> memoryview:
    """Return the next bytes of a response.

    Raises:
        HTTPError: if the response is shorter, or takes too long.
    """
    buffer, at = np.empty(length, np.uint8).data, 0  # it is not filled with zeros before
    while at < length:
        part = response.read(min(_CHUNK, length - at))
        if not part:
            raise _WrongAnswerError("its host sends fewer bytes than it announces")
        buffer[at : at + len(part)] = part
        at += len(part)
        if clock.monotonic() > deadline and at < length:
            raise _WrongAnswerError("its host sends too slowly")
    return buffer
