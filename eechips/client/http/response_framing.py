"""Refuse responses whose framing leaves in doubt to which request they belong: surplus bytes, contradicting lengths,
damaged chunks or headers, changes of protocol; limit the time of an answer.

HTTP/1.1 has no identifier for requests: a response belongs to a request by its place on the connection alone. A byte
too many or too few, or an interim response taken for the final one, shifts all later responses of the connection to
the requests before them. ``http.client`` accepts what makes such shifts possible, so its connections and responses are
replaced by those of this module. Rules are those of RFC 9112 (https://www.rfc-editor.org/rfc/rfc9112), where it leaves
a choice the strict one.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import math
import re
import socket
import ssl
import time
from dataclasses import dataclass
from email.errors import FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect
from typing import Any

import urllib3
import urllib3.connection
from urllib3.util.wait import wait_for_read

from eechips.client.http.http_messages import MAX_BYTES, Timeouts, too_large_error
from eechips.errors import ResponseTimeoutError, ValidationError
from eechips.text.formatting import parse_count

_READ_BYTES = 1 << 20
_MOST_INTERIM = 100
"""Interim responses before a final one. Servers send a few at most (RFC 9110, 15.2)."""
_MOST_HEADERS = 100  # as http.client has it
_LONGEST_LINE = 65536  # as http.client has it
_PROTOCOL = b"HTTP/"
_SHOWN = 40  # bytes
_SWITCHING_PROTOCOLS = 101
_TOO_MANY_REQUESTS = 429
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[^\r\n]*)?\r\n")  # RFC 9112, 7.1
_INTERIM = re.compile(rb"HTTP/1\.[0-9] (1[0-9]{2})\b")
_SURPLUS = "more than one response came back"
_LENGTH = re.compile(r"[0-9]{1,18}")
_DEFECTS_OF_HEADERS = (FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect)
"""Other defects are those of a body of several parts, which is parsed as empty: headers come without it."""


class FramingError(http.client.HTTPException):
    """The bytes on a connection are not one response to one request."""


@dataclass(slots=True)
class HostFraming:
    """What is known of the responses of a host.

    Attributes:
        is_doubtful: whether one of them was refused: from then on each connection carries one request. What comes
            after a request is sent, and before its response, is taken for that response: no check can tell.
        longest: seconds in which all headers must arrive, from their first byte, or the line between two chunks.
    """

    is_doubtful: bool = False
    longest: float = Timeouts().total

    def refuse(self, reason: str) -> FramingError:
        """Return the error of a response, and note that there was one."""
        self.is_doubtful = True
        return FramingError(reason)


class StrictResponse(http.client.HTTPResponse):
    """A response that is whole, alone, and framed in one way only.

    Methods that read raise a :class:`FramingError` where it is not; :meth:`close` does not.
    """

    def __init__(self, sock: socket.socket, *args: Any, host: HostFraming, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._socket = sock
        self._host = host
        self._has_last_chunk = False
        self._end = math.inf

    def begin(self) -> None:
        """Read the status line and the headers of the final response, and check its framing.

        A front may refuse a request by its headers, and then read its body as the next request: after an error the
        connection is closed. Rejections for the quota are frequent, and come from the service.
        """
        connection = self.fp
        self.fp = io.BufferedReader(io.BytesIO(self._read_final_head()))
        try:
            super().begin()
        finally:
            self.fp = connection
        headers = self.headers
        is_defect = any(isinstance(defect, _DEFECTS_OF_HEADERS) for defect in headers.defects)
        rest = headers.get_payload()  # the lines after one that is no header
        if is_defect or (rest and isinstance(rest, str)):
            raise self._host.refuse("headers that are no headers came back")
        lengths = set(headers.get_all("content-length", ()))
        codings = headers.get_all("transfer-encoding", ())
        if len(lengths) > 1 or any(not _LENGTH.fullmatch(length.strip()) for length in lengths):
            raise self._host.refuse("lengths that contradict each other, or are no numbers, came back")
        if codings and (lengths or self.version != 11 or [coding.strip().lower() for coding in codings] != ["chunked"]):
            raise self._host.refuse("a transfer coding that is not just 'chunked' came back")
        self.will_close |= self.status >= 400 and self.status != _TOO_MANY_REQUESTS
        if self.length == 0 and self._has_surplus():
            raise self._host.refuse(_SURPLUS)

    def close(self) -> None:
        """Close the response, and note what follows it: no caller expects an error here."""
        with contextlib.suppress(FramingError):
            super().close()

    def _read_final_head(self) -> bytes:
        """Read the head of the final response. Of interim ones, ``http.client`` skips those with status 100 only."""
        self.fp.peek(1)  # the service may compute for minutes before the first byte
        self._end = time.monotonic() + self._host.longest
        for _ in range(_MOST_INTERIM):
            start = self.fp.peek(1)[:_SHOWN]
            if not _PROTOCOL.startswith(start[: len(_PROTOCOL)]):  # another service may never send a blank line
                raise self._host.refuse(f"what is not HTTP came back: {start!r}")
            lines = [self._line()]
            if not lines[0]:
                raise http.client.RemoteDisconnected("the connection was closed without a response")
            lines += self._lines_until_blank()
            interim = _INTERIM.match(lines[0])
            if interim is None:
                return b"".join(lines)
            if int(interim[1]) == _SWITCHING_PROTOCOLS:
                raise self._host.refuse("a change of the protocol came back, which no request asked for")
        raise self._host.refuse(f"more than {_MOST_INTERIM} interim responses came back")

    def read1(self, n: int = -1) -> bytes:
        """Read what is there, count it, and end with the body, which ``http.client`` may not (gh-113199)."""
        before = self.length
        data = super().read1(n)
        if before is not None and self.length == before:
            self.length = before - len(data)
        if self.length == 0 and self.fp is not None and not self.chunked:
            self._close_conn()
        return data

    def _get_chunk_left(self) -> int | None:
        """Return the bytes that are left of a chunk, by the syntax of the RFC only; None after the last."""
        if self.chunk_left:
            return self.chunk_left
        self._end = time.monotonic() + self._host.longest
        if self.chunk_left == 0 and self._line() not in (b"\r\n", b""):
            raise self._host.refuse("a chunk that does not end where it says came back")
        line = self._line()
        if not line.endswith(b"\n"):
            raise http.client.IncompleteRead(b"")
        matched = _CHUNK_LINE.fullmatch(line)
        if matched is None:
            raise self._host.refuse("a chunk without a size came back")
        self.chunk_left = int(matched[1], 16) or None
        if self.chunk_left is None:
            self._lines_until_blank()
            self._has_last_chunk = True
            self._close_conn()
        return self.chunk_left

    def _lines_until_blank(self) -> list[bytes]:
        """Read headers or trailers, and the blank line after them."""
        lines: list[bytes] = []
        while len(lines) < _MOST_HEADERS:
            lines.append(self._line())
            if lines[-1] in (b"\r\n", b"\n"):
                return lines
            if not lines[-1].endswith(b"\n"):
                raise http.client.IncompleteRead(b"")
        raise self._host.refuse(f"more than {_MOST_HEADERS} headers came back")

    def _line(self) -> bytes:
        """Read a line. The time-out of a socket is for one read, and a line may come byte by byte."""
        line = b""
        while not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
            if time.monotonic() > self._end:
                raise TimeoutError
            there = self.fp.peek(1)[: _LONGEST_LINE - len(line)]
            if not there:
                break
            line += self.fp.read(there.find(b"\n") + 1 or len(there))
        return line

    def _close_conn(self) -> None:
        """Check, at the end of the body, that nothing follows it. What is buffered would be lost unseen."""
        is_whole = self._has_last_chunk or (self.length == 0 and not self.chunked)
        try:
            surplus = is_whole and self._has_surplus()
        finally:
            super()._close_conn()  # type: ignore[misc]
        if surplus:
            raise self._host.refuse(_SURPLUS)

    def _has_surplus(self) -> bool:
        timeout = self._socket.gettimeout()
        try:
            self._socket.settimeout(0)
            return bool(self.fp.peek(1))
        except OSError:  # nothing has come, or the other side has closed the connection
            return False
        finally:
            if self._socket.fileno() >= 0:
                self._socket.settimeout(timeout)


class StrictConnection(urllib3.connection.HTTPConnection):
    """A connection that carries a request only if nothing has come back since the last response ended."""

    framing: HostFraming
    _is_reused = False
    _has_begun = False  # a request is being sent

    @property
    def is_connected(self) -> bool:
        """Whether the connection may carry a request."""
        return super().is_connected and not self.framing.is_doubtful

    def connect(self) -> None:
        """Connect. What ends without TLS's own end was cut (RFC 9112, 9.8), which ``ssl`` takes for a whole body."""
        super().connect()
        if isinstance(self.sock, ssl.SSLSocket):
            self.sock.suppress_ragged_eofs = False  # type: ignore[attr-defined]

    def send(self, data: Any) -> None:
        """Send a part of a request.

        A server may respond before it has the body: with 429, for example (RFC 9112, 9.5).

        Raises:
            FramingError: if bytes came back before the request was sent: they belong to none, or to another one.
            RemoteDisconnected: if the connection was closed, or carries what cannot be looked at.
        """
        # Before its first response, a connection over TLS 1.3 may have session tickets to read.
        is_encrypted = isinstance(self.sock, ssl.SSLSocket)
        may_look = not self._has_begun and (self._is_reused or not is_encrypted)
        if self.sock is not None and may_look and wait_for_read(self.sock, timeout=0.0):
            is_answer = not is_encrypted and bool(self.sock.recv(1, socket.MSG_PEEK))
            self.close()
            if is_answer:
                raise self.framing.refuse("a response came back before its request was sent")
            raise http.client.RemoteDisconnected("the connection was closed before the request was sent")
        super().send(data)
        self._has_begun = True

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        """Receive the headers of the response."""
        response = super().getresponse()
        self._is_reused, self._has_begun = True, False
        return response

    def close(self) -> None:
        """Close the connection; it may be opened again."""
        self._is_reused = self._has_begun = False
        super().close()


def make_strict(pool: Any) -> Any:
    """Have a pool that has no connection yet open connections that refuse doubtful responses of any kind."""
    kind: type[Any] = pool.ConnectionCls
    if not issubclass(kind, StrictConnection):
        host = HostFraming()
        members = {"framing": host, "response_class": staticmethod(functools.partial(StrictResponse, host=host))}
        pool.ConnectionCls = type(f"Strict{kind.__name__}", (StrictConnection, kind), members)
    return pool


def read_body(response: urllib3.BaseHTTPResponse, timeouts: Timeouts, end: float) -> bytes:
    """Read the whole body as it is sent.

    Args:
        end: when the response must be complete, in seconds of the monotonic clock.

    Raises:
        ResponseTimeoutError: if it is not.
        TooLargeError: if it has more bytes than eechips holds.
        ValidationError: if its length is not the announced one.
    """
    pieces: list[bytes] = []
    size = 0
    while piece := response.read1(_READ_BYTES, decode_content=False):  # what is there: read() waits for all of a chunk
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BYTES:
            raise too_large_error(response.status)
        if time.monotonic() > end:
            raise ResponseTimeoutError(f"time-out: the answer took longer than {timeouts.total:g} s")
    body = b"".join(pieces)
    announced = parse_count(response.headers.get("Content-Length", ""))
    if announced is not None and len(body) != announced:
        raise ValidationError(f"truncated: {len(body)} of {announced} bytes arrived", status=response.status)
    return body
