"""Every HTTP request of a run: throttled, retried, counted, complete, and free of secrets.

One :class:`Transport` serves a process. The Earth Engine client sends its requests through it (it is passed
as ``http_transport``), and the pixels are fetched through it, so that nothing escapes the throttle and there
is a single retry layer. It opens its connections on the first request: after the fork.
"""

from __future__ import annotations

import contextlib
import gzip
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from eechips.client import retry
from eechips.client.classify import classify_exception, classify_response, parse_retry_after, response_message
from eechips.client.documents import Documents
from eechips.client.retry import RetryPolicy
from eechips.client.throttle import Seat
from eechips.errors import EechipsError, TransientError, ValidationError

if TYPE_CHECKING:
    import httplib2
    import requests

T = TypeVar("T")

_CHUNK = 1 << 16
_GZIP_MAGIC = b"\x1f\x8b"


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


@dataclass(slots=True)
class Usage:
    """What a piece of work cost.

    Attributes:
        requests: HTTP requests sent, repeats included.
        repeats: those that were sent again after a transient failure.
        received: bytes of their bodies, as they came over the wire.
    """

    requests: int = 0
    repeats: int = 0
    received: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole response.

    Attributes:
        status: HTTP status.
        headers: names in lower case.
        body: decoded (gzip undone).
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """Sends requests to one endpoint.

    Attributes:
        endpoint: base URL of the service.
        policy: of retries; may be changed between requests.

    Args:
        endpoint: base URL of the service, no slash at the end.
        seat: of the run's throttle.
        policy: of retries.
        timeouts: of one request.
        credentials: google.auth credentials for the endpoint, or None.
        documents: answers for the client's initialisation, if they are known already.
    """

    def __init__(
        self,
        endpoint: str,
        seat: Seat,
        policy: RetryPolicy,
        timeouts: Timeouts,
        *,
        credentials: Any = None,
        documents: Documents | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._origin = _origin(endpoint)
        self._seat = seat
        self.policy = policy
        self._timeouts = timeouts
        self._credentials = credentials
        self._known: dict[str, bytes] = {}
        if documents is not None:
            self._known = {"discovery": documents.discovery, "algorithms": documents.algorithms}
        self._seen: dict[str, bytes] = {}
        self._opened: requests.Session | None = None
        self._local = threading.local()

    @property
    def documents(self) -> Documents | None:
        """What the client was told when it was initialised through this transport."""
        found = {**self._known, **self._seen}
        return Documents(**found) if len(found) == 2 else None

    def close(self) -> None:
        """Closes the connections."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @contextlib.contextmanager
    def metered(self) -> Iterator[Usage]:
        """Counts what this thread sends inside the block."""
        usage = Usage()
        previous, self._local.usage = getattr(self._local, "usage", None), usage
        try:
            yield usage
        finally:
            self._local.usage = previous

    @contextlib.contextmanager
    def checking(self, accept: Callable[[bytes], object]) -> Iterator[None]:
        """Has the client's answers checked inside the block, by this thread.

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
        """Sends a request of the Earth Engine client; the signature is that of ``httplib2.Http.request``.

        Answers that repeating cannot change are returned, whatever their status, so that the client raises
        its own EEException.

        Raises:
            TransientError: when the retries are exhausted.
        """
        import httplib2

        document = self._document(uri)
        if document in self._known:
            found = {"status": "200", "content-type": "application/json"}
            return httplib2.Response(found), self._known[document]
        accept = getattr(self._local, "accept", None)

        def attempt() -> Reply:
            reply = self._send(method, uri, body, headers or {}, authorize=True)
            error = _error_of(reply)
            if isinstance(error, TransientError):
                raise error
            if error is None:
                _refuse_page(reply)
                if accept is not None:
                    accept(reply.body)
            return reply

        reply = self._repeat(attempt)
        if document and reply.status == 200:
            self._seen[document] = reply.body
        return httplib2.Response({**reply.headers, "status": str(reply.status)}), reply.body

    def get(self, url: str, accept: Callable[[bytes], T]) -> T:
        """Fetches what a thumbnail or download URL names. The URL is the permission: no credentials go along.

        Args:
            url: absolute.
            accept: receives the whole body; a ValidationError sends the request again.

        Returns:
            What ``accept`` returned.

        Raises:
            RequestError: classified.
        """

        def attempt() -> T:
            reply = self._send("GET", url, None, {}, authorize=False)
            error = _error_of(reply)
            if error is not None:
                raise error
            return accept(reply.body)

        return self._repeat(attempt)

    def _repeat(self, attempt: Callable[[], T]) -> T:
        first = True

        def counted() -> T:
            nonlocal first
            if not first:
                self._usage.repeats += 1
            first = False
            return attempt()

        return retry.call(counted, self.policy, pause=self._seat.pause)

    @property
    def _usage(self) -> Usage:
        usage = getattr(self._local, "usage", None)
        return usage if usage is not None else Usage()

    def _send(
        self, method: str, url: str, body: str | bytes | None, headers: Mapping[str, str], *, authorize: bool
    ) -> Reply:
        """Sends one request once, in a slot of the throttle."""
        sent = {"Accept-Encoding": "gzip", **headers}
        failure: EechipsError | None = None
        try:
            if authorize:
                self._authorize(method, url, sent)
            with self._seat.slot():
                self._usage.requests += 1
                reply = self._exchange(method, url, body, sent)
        except Exception as error:  # classified below, or raised again as it is
            failure = classify_exception(error)
            if failure is None:
                raise
        if failure is not None:
            raise failure from None  # the original names the URL, which is a secret
        if reply.status == 429:
            self._seat.rejected(parse_retry_after(reply.headers))
        return reply

    def _exchange(self, method: str, url: str, body: str | bytes | None, headers: Mapping[str, str]) -> Reply:
        began = time.monotonic()
        data = body.encode() if isinstance(body, str) else body
        response = self._session.request(
            method,
            url,
            data=data,
            headers=headers,
            timeout=(self._timeouts.connect, self._timeouts.read),
            stream=True,
            allow_redirects=False,
        )
        with response:
            raw = self._read(response, began)
            found = {name.lower(): value for name, value in response.headers.items()}
        self._usage.received += len(raw)
        return Reply(response.status_code, found, _decode(raw))

    def _read(self, response: requests.Response, began: float) -> bytes:
        """The body as it comes over the wire, all of it.

        Raises:
            ValidationError: if it is shorter than promised.
            TransientError: if it takes too long.
        """
        pieces: list[bytes] = []
        while piece := response.raw.read(_CHUNK, decode_content=False):
            pieces.append(piece)
            if time.monotonic() - began > self._timeouts.total:
                raise TransientError(f"time-out: the answer took longer than {self._timeouts.total:g} s")
        raw = b"".join(pieces)
        promised = response.headers.get("Content-Length", "")
        if promised.isdigit() and len(raw) != int(promised):
            raise ValidationError(f"truncated: {len(raw)} of {promised} bytes arrived", status=response.status_code)
        return raw

    def _authorize(self, method: str, url: str, headers: dict[str, str]) -> None:
        """Adds the credentials, if the request goes to the endpoint they are for."""
        if self._credentials is None or _origin(url) != self._origin:
            return
        import google.auth.transport.requests

        refresher = google.auth.transport.requests.Request(session=self._session)
        self._credentials.before_request(refresher, method, url, headers)

    @property
    def _session(self) -> requests.Session:
        if self._opened is None:
            self._opened = _open_session(self.endpoint)
        return self._opened

    def _document(self, uri: str) -> str:
        path = urlsplit(uri).path
        if path.endswith("/$discovery/rest"):
            return "discovery"
        return "algorithms" if path.endswith("/algorithms") else ""


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine, by an address that cannot leave it."""
    return urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _open_session(endpoint: str) -> requests.Session:
    """A session with keep-alive, no retries of its own, and proxies looked up once.

    Requests would look for proxies, certificates and ``.netrc`` passwords anew for every request; the last
    could even replace our credentials.
    """
    import requests
    import requests.adapters
    import requests.utils

    session = requests.Session()
    if not is_loopback(endpoint):
        settings = session.merge_environment_settings(endpoint, {}, None, None, None)
        session.proxies, session.verify = settings["proxies"], settings["verify"]
    session.trust_env = False
    adapter = requests.adapters.HTTPAdapter(pool_connections=4, pool_maxsize=16, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _decode(raw: bytes) -> bytes:
    """Undoes gzip, which no other format of ours begins like, whether or not a header announces it.

    Raises:
        ValidationError: if the stream is damaged or ends early.
    """
    if not raw.startswith(_GZIP_MAGIC):
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, OSError, zlib.error) as error:
        raise ValidationError(f"truncated or damaged gzip: {error}") from None


def _refuse_page(reply: Reply) -> None:
    """Raises ValidationError for a web page, which proxies and captive portals send under status 200."""
    is_page = reply.headers.get("content-type", "").startswith("text/html")
    if is_page or reply.body[:64].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise ValidationError("a web page came back: a proxy or a login page is in between", status=reply.status)


def _error_of(reply: Reply) -> EechipsError | None:
    if 200 <= reply.status < 300:
        return None
    message = response_message(reply.body)
    return classify_response(reply.status, message, parse_retry_after(reply.headers))
