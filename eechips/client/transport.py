"""Send the HTTP requests of a process: throttled, retried, counted, complete, and without secrets in errors.

One :class:`Transport` serves a process. The Earth Engine client sends its requests through it (it is passed
as ``http_transport``), and the pixels are fetched through it, so that nothing escapes the throttle and there
is a single retry layer. It opens its connections on the first request: after the fork.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from eechips.client import retry
from eechips.client.authorization import Authorizer
from eechips.client.classification import classify_exception, classify_response, internal_error, parse_error
from eechips.client.discovery import Discovery
from eechips.client.permits import Permit
from eechips.client.response_cache import RESPONSE_CACHE
from eechips.client.retry import RetryPolicy
from eechips.client.shared_token import SharedToken
from eechips.client.throttle import QuotaClient
from eechips.errors import EechipsError, TooLargeError, TransientError, UnreachableError, ValidationError
from eechips.text import parse_count
from eechips.timestamps import parse_retry_after, utc_now

if TYPE_CHECKING:
    import httplib2
    import urllib3

    from eechips.client.http_sessions import ConnectionPool

T = TypeVar("T")

_CHUNK = 1 << 20
_MOST_BYTES = 128 << 20
"""Bytes of an answer at most, before and after gzip is undone. The service computes at most 48 MiB of pixels for a
request (https://developers.google.com/earth-engine/apidocs/ee-data-computepixels): no file of them is twice as big."""
_GZIP_MAGIC = b"\x1f\x8b"
_OF_THE_CONNECTION = frozenset({"content-length", "accept-encoding", "host", "connection"})
_UNAUTHENTICATED = 401
_CAPTURED = b'{"name": "captured"}'
"""Response to a captured request that the client accepts."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Bounds on one request, in seconds.

    Attributes:
        connect: to reach the server.
        read: between two pieces of the answer. The service ends interactive computations after about 5
            minutes, so a little more than that.
        total: for the whole answer.
    """

    connect: float = 10.0
    read: float = 330.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class RequestLog:
    """One request and what became of it, for the log. It has no address: that may be a secret.

    Attributes:
        kind: what was asked for, such as ``thumbnails`` or ``image:computePixels``.
        status: HTTP status; None if no answer came.
        seconds: from the permit to the last byte.
        bytes: of the answer, as they came over the wire.
        attempt: 1 for the first.
        ended: when the last byte came, ISO 8601, UTC.
    """

    kind: str
    status: int | None
    seconds: float
    bytes: int
    attempt: int
    ended: str


@dataclass(slots=True)
class Usage:
    """Requests and bytes of a piece of work.

    Attributes:
        requests: HTTP requests sent, repeats included.
        repeats: those that were sent again after a transient failure.
        received: bytes of their bodies, as they came over the wire.
        exchanges: every one of them, if that is wanted.
    """

    requests: int = 0
    repeats: int = 0
    received: int = 0
    request_logs: list[RequestLog] | None = None


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A whole response.

    Attributes:
        status: HTTP status.
        headers: names in lower case.
        body: decoded (gzip undone).
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A request as the Earth Engine client sends it.

    Attributes:
        uri: absolute.
        body: JSON.
        headers: without those of the connection.
    """

    uri: str
    body: str
    headers: Mapping[str, str]


class Transport:
    """Sender of the requests to one endpoint.

    Attributes:
        endpoint: base URL of the service.
        policy: of retries; may be changed between requests.
        timeouts: of one request.

    Args:
        endpoint: base URL of the service, no slash at the end.
        quota: client of the run's throttle.
        policy: of retries.
        timeouts: of one request.
        credentials: google.auth credentials for the endpoint, or None.
        shared_token: the access token that the processes of a run share; None for one of its own.
        documents: answers for the client's initialisation, if they are known already.
        clock: seconds, monotonic, by which tokens expire and retries end.
    """

    def __init__(
        self,
        endpoint: str,
        quota: QuotaClient,
        policy: RetryPolicy,
        timeouts: Timeouts,
        *,
        credentials: Any = None,
        shared_token: SharedToken | None = None,
        discovery: Discovery | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint = endpoint
        self._origin = origin(endpoint)
        self._quota = quota
        self.policy = policy
        self.timeouts = timeouts
        self._clock = clock
        self._authorizer = Authorizer(credentials, shared_token, clock=clock) if credentials is not None else None
        self._known: dict[str, bytes] = {}
        if discovery is not None:
            self._known = {"discovery": discovery.discovery, "algorithms": discovery.algorithms}
        self._seen: dict[str, bytes] = {}
        self._opened: ConnectionPool | None = None
        self._opening = threading.Lock()
        self._local = threading.local()

    @property
    def discovery(self) -> Discovery | None:
        """The discovery documents with which the client was initialised through this transport."""
        found = {**self._known, **self._seen}
        return Discovery(**found) if len(found) == 2 else None

    def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def pause(self, seconds: float) -> None:
        """Wait, without a permit, before a repeat.

        Raises:
            Stopped: if the run is stopping.
        """
        self._quota.pause(seconds)

    @contextlib.contextmanager
    def metered(self, *, logs: bool = False) -> Iterator[Usage]:
        """Count what this thread sends inside the block.

        Args:
            logs: whether every request is noted.
        """
        usage = Usage(request_logs=[] if logs else None)
        previous, self._local.usage = getattr(self._local, "usage", None), usage
        try:
            yield usage
        finally:
            self._local.usage = previous

    @contextlib.contextmanager
    def acquire_permit(self) -> Iterator[Permit]:
        """Hold a permit for a request that the caller sends itself; the request is counted.

        Yields:
            Where to fill in how many bytes came.

        Raises:
            Stopped: if the run is stopping.
        """
        with self._quota.permit() as permit:
            usage = self._usage
            usage.requests += 1
            try:
                yield permit
            finally:
                usage.received += permit.received

    def call_with_permit(self, attempt: Callable[[Permit], T], policy: RetryPolicy | None = None) -> T:
        """Call a function that sends a request itself, holding a permit, and repeat it while that can help.

        Args:
            attempt: sends them once, and fills in how many bytes came; raises TransientError where repeating can help.
            policy: of retries; None for that of all requests.

        Returns:
            What ``attempt`` returned.

        Raises:
            TransientError: the last one, when the bounds are reached.
            Stopped: if the run is stopping.
        """

        def permitted_attempt() -> T:
            with self.acquire_permit() as permit:
                return attempt(permit)

        return self._repeat(permitted_attempt, policy)

    @contextlib.contextmanager
    def checking(self, accept: Callable[[bytes], object]) -> Iterator[None]:
        """Check responses to the client's requests in this thread, inside the block.

        Args:
            accept: receives the body of a successful answer; a ValidationError sends the request again.
        """
        self._local.accept = accept
        try:
            yield
        finally:
            self._local.accept = None

    def request(
        self,
        uri: str,
        method: str = "GET",
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        redirections: int | None = None,
        connection_type: object = None,
    ) -> tuple[httplib2.Response, bytes]:
        """Send a request of the Earth Engine client; the signature is that of ``httplib2.Http.request``.

        Answers that repeating cannot change are returned, whatever their status, so that the client raises
        its own EEException.

        Raises:
            TransientError: when the retries are exhausted.
        """
        import httplib2

        captured = getattr(self._local, "captured", None)
        if captured is not None:
            text = body.decode() if isinstance(body, bytes) else body or ""
            kept = {name: value for name, value in (headers or {}).items() if name.lower() not in _OF_THE_CONNECTION}
            captured.append(ClientRequest(uri, text, kept))
            return httplib2.Response({"status": "200", "content-type": "application/json"}), _CAPTURED
        document = self._document(uri)
        if document in self._known:
            found = {"status": "200", "content-type": "application/json"}
            return httplib2.Response(found), self._known[document]
        accept = getattr(self._local, "accept", None)
        answers, question = RESPONSE_CACHE.get() if method == "POST" else None, ""
        if answers is not None:
            question = f"{uri}\n{body.decode() if isinstance(body, bytes) else body}"
            if (answer := answers.find(question)) is not None:
                return httplib2.Response({"status": "200", "content-type": "application/json"}), answer

        def attempt() -> HttpResponse:
            reply = self._send(method, uri, body, headers or {}, authorize=True)
            error = _error_of(reply)
            if isinstance(error, TransientError):
                raise error
            if error is None:
                _refuse_page(reply)
                _refuse_fragment(reply)
                if accept is not None:
                    accept(reply.body)
            return reply

        reply = self._repeat(attempt)
        if document and reply.status == 200:
            self._seen[document] = reply.body
        if answers is not None and reply.status == 200:
            answers.keep(question, reply.body)
        return httplib2.Response({**reply.headers, "status": str(reply.status)}), reply.body

    def get(self, url: str, accept: Callable[[bytes], T]) -> T:
        """Fetch what a thumbnail or download URL names. The URL is the permission: no credentials go along.

        Args:
            url: absolute.
            accept: receives the whole body; a ValidationError sends the request again.

        Returns:
            What ``accept`` returned.

        Raises:
            RequestError: classified.
        """

        def attempt() -> T:
            reply = self._send("GET", url, None, {}, authorize=False, is_next=True)
            error = _error_of(reply)
            if error is not None:
                raise error
            return accept(reply.body)

        return self._repeat(attempt)

    def capture(self, send: Callable[[], object]) -> ClientRequest:
        """Capture the request that the client would send, without sending it.

        Args:
            send: has the client send one request.
        """
        captured: list[ClientRequest] = []
        self._local.captured = captured
        try:
            send()
        finally:
            self._local.captured = None
        return captured[0]

    def post(self, request: ClientRequest, accept: Callable[[bytes], T]) -> T:
        """Send a request of the client's in its stead.

        Args:
            request: by :meth:`capture`, perhaps with another body.
            accept: receives the whole body of a successful answer; a ValidationError sends the request again.

        Returns:
            What ``accept`` returned.

        Raises:
            RequestError: classified.
            ConfigurationError: if the service refuses the project or the credentials.
        """

        def attempt() -> T:
            reply = self._send("POST", request.uri, request.body, request.headers, authorize=True)
            error = _error_of(reply)
            if error is not None:
                raise error
            _refuse_page(reply)
            return accept(reply.body)

        return self._repeat(attempt)

    def _repeat(self, attempt: Callable[[], T], policy: RetryPolicy | None = None) -> T:
        self._local.attempt = 0

        def counted() -> T:
            self._local.attempt += 1
            if self._local.attempt > 1:
                self._usage.repeats += 1
            return attempt()

        try:
            return retry.call(
                counted,
                policy or self.policy,
                pause=self.pause,
                await_service=self._quota.await_service,
                clock=lambda: self._clock() - self._quota.throttle.asked_so_far,
            )
        except EechipsError:
            raise
        except Exception as error:  # the recipe that has asked is not to blame
            raise internal_error(error) from error

    @property
    def _usage(self) -> Usage:
        usage = getattr(self._local, "usage", None)
        return usage if usage is not None else Usage()

    def _send(
        self,
        method: str,
        url: str,
        body: str | bytes | None,
        headers: Mapping[str, str],
        *,
        authorize: bool,
        is_next: bool = False,
    ) -> HttpResponse:
        """Send one request once, holding a permit; send it again if only its token was refused."""
        sent = {"Accept-Encoding": "gzip", **headers}
        authorizer = self._authorizer if authorize and origin(url) == self._origin else None
        failure: EechipsError | None = None
        try:
            reply, token = self._send_once(method, url, body, sent, authorizer, is_next=is_next)
            if authorizer is None or reply.status != _UNAUTHENTICATED:
                return reply
            authorizer.renew(token)  # it has expired, by the service's clock, or was revoked
            reply, token = self._send_once(method, url, body, sent, authorizer, is_next=True)
            if reply.status == _UNAUTHENTICATED and authorizer.is_adopted(token):  # it may be as old as the first
                authorizer.renew(token)
                reply, token = self._send_once(method, url, body, sent, authorizer, is_next=True)
            if reply.status == _UNAUTHENTICATED and authorizer.is_accepted(token):
                raise TransientError(
                    "the credentials were refused, as they were not for other requests", status=reply.status
                )
            return reply
        except Exception as error:  # classified below, or raised again as it is
            failure = classify_exception(error)
            if failure is None:
                raise
        raise failure from None  # the original names the URL, which is a secret

    def _send_once(
        self,
        method: str,
        url: str,
        body: str | bytes | None,
        headers: dict[str, str],
        authorizer: Authorizer | None,
        *,
        is_next: bool,
    ) -> tuple[HttpResponse, str]:
        """Send one request; return the answer, and the token it was sent with."""
        with self._quota.permit(is_next=is_next) as permit:
            token = ""
            if authorizer is not None:  # with the permit: a token may expire while the request waits for one
                permit.is_unused = True
                token = authorizer.authorize(headers)
                permit.is_unused = False
            self._usage.requests += 1
            reply = self._exchange(method, url, body, headers, permit)
        if authorizer is not None and _proves_token(reply.status):
            authorizer.accept(token)
        return reply, token

    def _exchange(
        self, method: str, url: str, body: str | bytes | None, headers: Mapping[str, str], permit: Permit
    ) -> HttpResponse:
        began = time.monotonic()
        try:
            response = self._connections.send(method, url, body, headers, (self.timeouts.connect, self.timeouts.read))
            try:
                found = {name.lower(): value for name, value in response.headers.items()}
                permit.record_response(response.status, found)
                raw = self._read(response, began)
                permit.received = len(raw)
            finally:
                _release(response)
        except Exception as error:
            permit.is_unreachable = _is_unreachable(error)
            if permit.is_unreachable:
                raise UnreachableError(str(classify_exception(error))) from None
            raise
        finally:
            self._note(url, permit, time.monotonic() - began)
        return HttpResponse(response.status, found, _decode(raw, response.status))

    def _note(self, url: str, permit: Permit, seconds: float) -> None:
        usage = self._usage
        usage.received += permit.received
        if usage.request_logs is not None:
            attempt = getattr(self._local, "attempt", 1)
            ended = utc_now()
            exchange = RequestLog(_kind(url), permit.status, round(seconds, 4), permit.received, attempt, ended)
            usage.request_logs.append(exchange)

    def _read(self, response: urllib3.BaseHTTPResponse, began: float) -> bytes:
        """Return the body as it comes over the wire, all of it.

        Raises:
            ValidationError: if it is shorter than promised.
            TransientError: if it takes too long.
            TooLargeError: if it is larger than any answer of the service.
        """
        pieces: list[bytes] = []
        size = 0
        while piece := response.read1(_CHUNK, decode_content=False):  # what is there: read() waits for all of a chunk
            pieces.append(piece)
            size += len(piece)
            if size > _MOST_BYTES:
                raise _too_large(response.status)
            if time.monotonic() - began > self.timeouts.total:
                raise TransientError(f"time-out: the answer took longer than {self.timeouts.total:g} s")
        raw = b"".join(pieces)
        promised = parse_count(response.headers.get("Content-Length", ""))
        if promised is not None and len(raw) != promised:
            raise ValidationError(f"truncated: {len(raw)} of {promised} bytes arrived", status=response.status)
        return raw

    @property
    def _connections(self) -> ConnectionPool:
        with self._opening:
            if self._opened is None:
                from eechips.client.http_sessions import ConnectionPool

                self._opened = ConnectionPool(self.endpoint)
            return self._opened

    def _document(self, uri: str) -> str:
        path = urlsplit(uri).path
        if path.endswith("/$discovery/rest"):
            return "discovery"
        return "algorithms" if path.endswith("/algorithms") else ""


def is_loopback(url: str) -> bool:
    """Return whether a URL names this machine, by an address that cannot leave it."""
    return urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port of a URL: whom it asks."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _proves_token(status: int) -> bool:
    """Return whether a status is given only to requests whose token was taken."""
    return status < 500 and status not in (_UNAUTHENTICATED, 408, 429)


def _release(response: urllib3.BaseHTTPResponse) -> None:
    """Give a connection back for the next request; one with something left to read is closed."""
    if response.closed or getattr(response, "length_remaining", None) == 0:
        response.release_conn()
    else:
        response.close()


def _is_unreachable(error: BaseException) -> bool:
    """Return whether no connection could be made at all, which is nothing that the request is to blame for."""
    import urllib3.exceptions

    return isinstance(error, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError))


def _kind(url: str) -> str:
    """Return the kind of a request without the names in its address: ``thumbnails:getPixels``, ``value:compute``."""
    parts = urlsplit(url).path.strip("/").split("/")
    last, _, verb = parts[-1].partition(":")
    resource = parts[3] if len(parts) > 4 else last
    return f"{resource}:{verb}" if verb else resource


def _decode(raw: bytes, status: int) -> bytes:
    """Undo gzip, which no other format of ours begins like, whether or not a header announces it.

    Raises:
        ValidationError: if the stream is damaged or ends early.
        TooLargeError: if it becomes larger than any answer of the service.
    """
    if not raw.startswith(_GZIP_MAGIC):
        return raw
    pieces: list[bytes] = []
    left, rest = _MOST_BYTES, raw
    try:
        while rest:  # a stream may have several members (RFC 1952, 2.2), and zeros after the last
            member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
            pieces.append(member.decompress(rest, left + 1))
            left -= len(pieces[-1])
            if left < 0:
                raise _too_large(status)
            if not member.eof:
                raise ValidationError("truncated gzip")
            rest = member.unused_data.lstrip(b"\0")
    except zlib.error as error:
        raise ValidationError(f"truncated or damaged gzip: {error}") from None
    return b"".join(pieces)


def _too_large(status: int) -> TooLargeError:
    return TooLargeError(f"an answer of more than {_MOST_BYTES >> 20} MiB came back", status=status)


def _refuse_page(reply: HttpResponse) -> None:
    """Raise ValidationError for a web page, which proxies and captive portals send under status 200."""
    is_page = reply.headers.get("content-type", "").startswith("text/html")
    if is_page or reply.body[:64].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise ValidationError("a web page came back: a proxy or a login page is in between", status=reply.status)


def _refuse_fragment(reply: HttpResponse) -> None:
    """Raise ValidationError for JSON that was cut where nothing promised its length: the client would stumble."""
    if reply.headers.get("content-type", "").startswith("application/json"):
        try:
            json.loads(reply.body)
        except (ValueError, RecursionError):
            raise ValidationError("truncated or damaged JSON", status=reply.status) from None


def _error_of(reply: HttpResponse) -> EechipsError | None:
    if 200 <= reply.status < 300:
        return None
    return classify_response(reply.status, parse_error(reply.body), parse_retry_after(reply.headers))
