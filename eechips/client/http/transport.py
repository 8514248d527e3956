"""Send the HTTP requests of a process: throttled, retried, counted, complete, and without secrets in errors.

One :class:`Transport` serves a process. The Earth Engine client sends its requests through it (it is passed
as ``http_transport``), and the pixels are fetched through it, so that nothing escapes the throttle and there
is a single retry layer. It opens its connections on the first request: after the fork.

The client has one session per process, and a thread may outlive its run. A thread that works with a transport sends the
client's requests through it, or not at all: never through the transport of a later run.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, TypeVar

from eechips.client import retry
from eechips.client.access.access_token import Authorizer
from eechips.client.access.discovery import Discovery, requested_document
from eechips.client.compute_profiles import PROFILE_REQUEST_HEADER
from eechips.client.error_classification import internal_error
from eechips.client.http.http_messages import HttpRequest, HttpResponse, Timeouts, requested_asset
from eechips.client.http.marked_requests import MarkedRequest
from eechips.client.http.request_mode import RequestMode, ThreadMode
from eechips.client.http.response_cache import RESPONSE_CACHE
from eechips.client.quota.permits import Permit
from eechips.client.quota.throttle import QuotaClient
from eechips.client.quota.usage import Usage
from eechips.client.retry import RetryPolicy
from eechips.errors import EechipsError, Stopped, TooLargeError, TransientError
from eechips.processes.context_values import context_value
from eechips.web.urls import origin

if TYPE_CHECKING:
    import httplib2

    from eechips.client.http.connection_pool import ConnectionPool

T = TypeVar("T")

_OF_THE_CONNECTION = frozenset({"content-length", "accept-encoding", "host", "connection"})
_CAPTURED = b'{"name": "captured"}'  # a response that the client accepts


class Transport:
    """Sender of the requests to one endpoint.

    Attributes:
        policy: policy of retries; may be changed between requests.
        unmetered: counts the requests outside of :meth:`metered`.

    Args:
        endpoint: base URL of the service, no slash at the end.
        project: Google Cloud project that the URLs of requests name.
        credentials: google.auth credentials for the endpoint, or None.
        discovery: responses to the client's initialisation, if they are known already.
        reuses_connections: send several requests over a connection, one after the other.
        clock: seconds, monotonic, by which tokens expire and retries end.
    """

    def __init__(
        self,
        endpoint: str,
        quota: QuotaClient,
        policy: RetryPolicy,
        timeouts: Timeouts,
        *,
        project: str = "",
        credentials: Any = None,
        discovery: Discovery | None = None,
        reuses_connections: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint = endpoint
        self._project = project
        self._reuses_connections = reuses_connections
        self._is_closed = False
        self._origin = origin(endpoint)
        self.quota = quota
        self.policy = policy
        self.timeouts = timeouts
        self.unmetered = Usage()
        self._authorizer = Authorizer(credentials, clock=clock) if credentials is not None else None
        self._known: dict[str, bytes] = {} if discovery is None else asdict(discovery)
        self._seen: dict[str, bytes] = {}
        self._opened: ConnectionPool | None = None
        self._opening = threading.Lock()
        self._local = ThreadMode()
        self._clock = clock

    @property
    def discovery(self) -> Discovery | None:
        """The discovery documents with which the client was initialised through this transport."""
        documents = {**self._known, **self._seen}
        return Discovery(**documents) if len(documents) == 2 else None

    @property
    def token_failure(self) -> str:
        """Why there is no new access token at present; empty if nothing is wrong."""
        return "" if self._authorizer is None else self._authorizer.failure

    @property
    def is_spent(self) -> bool:
        """Return whether no further request may be sent: the budget of requests or bytes is spent."""
        return self.quota.throttle.is_spent

    def close(self) -> None:
        """Close the connections, and send nothing from now on: the run has ended."""
        with self._opening:
            self._is_closed = True
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def check_open(self) -> None:
        """Raise Stopped if the run has ended."""
        if self._is_closed:
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Wait, without a permit, before a repeat; raise Stopped if the run is stopping."""
        self.check_open()
        self.quota.pause(seconds)

    @contextlib.contextmanager
    def _changed_mode(self, **changes: Any) -> Iterator[RequestMode]:
        """Change the mode of this thread inside the block, in which the client uses this transport; blocks nest.

        Yields:
            The mode outside of the block.
        """
        outside = self._local.mode
        self._local.mode = replace(outside, **changes)
        try:
            with use_transport(self):
                yield outside
        finally:
            self._local.mode = outside

    @contextlib.contextmanager
    def metered(self, *, logs: bool = False, profiles: bool = False) -> Iterator[Usage]:
        """Count what this thread sends inside the block; a block around it counts it as well."""
        usage = Usage(request_logs=[] if logs else None, profiles=[] if profiles else None)
        with self._changed_mode(usage=usage) as outside:
            try:
                yield usage
            finally:
                if outside.usage is not None:
                    outside.usage.add(usage)

    def counted_in(self, usage: Usage) -> AbstractContextManager[object]:
        """Count what this thread sends inside the block in the usage of another, unless it is metered."""
        return self._changed_mode(usage=self._local.mode.usage or usage)

    def limited_retries(self, retries: int, total: float, delay: float | None = None) -> AbstractContextManager[object]:
        """Repeat requests that this thread sends inside the block less often than others.

        Args:
            retries: repeats at most.
            total: seconds after the first attempt began when no further one is started.
            delay: longest first wait in seconds; None for that of other requests.
        """
        policy = self._policy
        limited = replace(policy, retries=min(retries, policy.retries), total=min(total, policy.total))
        return self._changed_mode(policy=limited if delay is None else replace(limited, delay=delay))

    @contextlib.contextmanager
    def acquire_permit(self) -> Iterator[Permit]:
        """Hold a permit for a request that the caller sends itself; the request is counted.

        Yields:
            The permit, in which the caller records the number of received bytes.

        Raises:
            Stopped: if the run is stopping.
        """
        self.check_open()
        with self.quota.permit() as permit, self.usage.count(permit):
            yield permit

    def call_with_permit(self, attempt: Callable[[Permit], T], policy: RetryPolicy | None = None) -> T:
        """Call a function that sends a request itself, holding a permit, and repeat it while that can help.

        Args:
            attempt: sends the request once, and records the number of received bytes in the permit; raises
                TransientError where repeating can help.
            policy: policy of retries; None for that of all requests.

        Raises:
            TransientError: the last one, when the bounds are reached.
            Stopped: if the run is stopping.
        """

        def permitted_attempt(_: int) -> T:
            with self.acquire_permit() as permit:
                return attempt(permit)

        return self._repeat(permitted_attempt, policy or self.policy)

    def checking(self, accept: Callable[[bytes], object]) -> AbstractContextManager[object]:
        """Check responses to the client's requests in this thread, inside the block.

        Args:
            accept: receives the body of a successful response; a ValidationError sends the request again.
        """
        return self._changed_mode(accept=accept)

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

        Responses that repeating cannot change are returned, whatever their status: the client raises its EEException.

        Raises:
            TransientError: when the retries are exhausted.
            Stopped: if the run of this thread has ended, or the client is connected elsewhere.
        """
        import httplib2

        if (own := current_transport() or self) is not self:  # the client has been initialised anew meanwhile
            if (own.endpoint, own._project) != (self.endpoint, self._project):
                raise Stopped
            return own.request(uri, method, body, headers)
        self.check_open()
        request = HttpRequest.from_client(method, uri, body, headers or {})
        document = requested_document(uri)
        cache = RESPONSE_CACHE.get() if method == "POST" else None
        key = "" if cache is None else f"{uri.removeprefix(self.endpoint)}\n{request.text}"
        known = self._answer_locally(request, document)
        if known is None and cache is not None:
            known = cache.find(key)
        if known is not None:
            return httplib2.Response({"status": "200", "content-type": "application/json"}), known
        response = self._answer(request, is_planning=cache is not None)
        if document and response.status == 200:
            self._seen[document] = response.body
        if cache is not None and response.status == 200:
            cache.keep(key, response.body)
        return httplib2.Response({**response.headers, "status": str(response.status)}), response.body

    def _answer(self, request: HttpRequest, *, is_planning: bool) -> HttpResponse:
        """Send a request of the client until its response is accepted, or repeating cannot change it."""
        too_large: list[HttpResponse] = []
        accept = self._local.mode.accept
        marked = MarkedRequest.of(request, is_planning=is_planning)

        def send(sent: HttpRequest, number: int) -> HttpResponse:
            nonlocal request
            response = self._send(sent, number)
            error = response.error
            if isinstance(error, TooLargeError):
                too_large.append(response)
            if isinstance(error, (TransientError, TooLargeError)):
                request = request.after(error)
                raise error
            if error is None:
                response.refuse_page()
                response.refuse_fragment(request.url, requested_asset(request))
            return response

        def attempt(number: int) -> HttpResponse:
            response = send(request if marked is None else marked.request, number)
            if marked is not None:
                # The service may refuse the mark, or name it in its message: then the request itself is sent.
                first, unmarked = response, None if response.error else marked.unmarked(response)
                response = unmarked or send(request, number)
                if unmarked is None and first.error is None and response.error is None:
                    marked.compare_collections(first, response)
            if accept is not None and response.error is None:
                accept(response.body)
            return response

        try:
            return self._repeat(attempt, self._policy)
        except TooLargeError:
            if not too_large:  # the response itself was
                raise
            return too_large[-1]

    def get(self, url: str, accept: Callable[[bytes], T]) -> T:
        """Fetch the file of a thumbnail or download URL, without credentials: the URL is the permission.

        Args:
            url: absolute.
            accept: receives the whole body; a ValidationError sends the request again.

        Returns:
            The value that ``accept`` returns.

        Raises:
            RequestError: classified.
        """
        request = HttpRequest("GET", url, None, {})
        return self._accepted(functools.partial(self._send, request, is_authorized=False, is_next=True), accept)

    def capture(self, send: Callable[[], object]) -> HttpRequest:
        """Capture the one request that ``send`` has the client send, without sending it."""
        captured: list[HttpRequest] = []
        with self._changed_mode(captured=captured):
            send()
        return captured[0]

    @property
    def is_capturing(self) -> bool:
        """Whether this thread sends nothing, as in :meth:`capture`."""
        return self._local.mode.captured is not None

    def post(self, request: HttpRequest, accept: Callable[[bytes], T]) -> T:
        """Send a request in place of the client.

        Args:
            request: by :meth:`capture`, perhaps with another body.
            accept: receives the whole body of a successful response; a ValidationError sends the request again.

        Returns:
            The value that ``accept`` returns.

        Raises:
            RequestError: classified.
            ConfigurationError: if the service refuses the project or the credentials.
        """
        return self._accepted(functools.partial(self._send, request), accept)

    def _accepted(self, send: Callable[[int], HttpResponse], accept: Callable[[bytes], T]) -> T:
        """Send a request until its response is accepted."""

        def attempt(number: int) -> T:
            response = send(number)
            if (error := response.error) is not None:
                raise error
            response.refuse_page()
            return accept(response.body)

        return self._repeat(attempt, self._policy)

    def _repeat(self, attempt: Callable[[int], T], policy: RetryPolicy) -> T:
        """Call an attempt with its number, from 1, until it succeeds or fails for good; count repeats."""
        number = 0

        def numbered_attempt() -> T:
            nonlocal number
            number += 1
            self.usage.repeats += number > 1
            try:
                return attempt(number)
            except EechipsError:
                raise
            except Exception as error:
                raise internal_error(error) from error  # the recipe is not to blame

        return retry.call(
            numbered_attempt,
            policy,
            pause=self.pause,
            await_service=self.quota.await_service,
            clock=lambda: self._clock() - self.quota.throttle.asked_so_far,
        )

    @property
    def _policy(self) -> RetryPolicy:
        return self._local.mode.policy or self.policy

    @property
    def usage(self) -> Usage:
        """Counts of what this thread sends; those outside of :meth:`metered` are shared by threads."""
        usage = self._local.mode.usage
        return usage if usage is not None else self.unmetered

    def _send(
        self, request: HttpRequest, number: int, *, is_authorized: bool = True, is_next: bool = False
    ) -> HttpResponse:
        """Send a request once, holding a permit; send it again only if its token was refused."""
        authorizer = self._authorizer if is_authorized and origin(request.url) == self._origin else None
        headers, token = dict(request.headers), ""
        if self.usage.profiles is not None and origin(request.url) == self._origin:
            headers[PROFILE_REQUEST_HEADER] = "1"
        for resent in itertools.count():
            self.check_open()
            with self.quota.permit(is_next=is_next or resent > 0) as permit:
                if authorizer is not None:  # with the permit: a token may expire while the request waits for one
                    permit.is_unused = True
                    token = authorizer.authorize(headers)
                    permit.is_unused = False
                with self.usage.log(request.url, permit, number):
                    response = self._connections.exchange(replace(request, headers=headers), self.timeouts, permit)
            is_public = requested_document(request.url) == "discovery"
            if authorizer is None or not authorizer.should_resend(token, response.status, resent, is_public=is_public):
                break
        if request.method == "POST":
            response.refuse_stored()
        return response.decoded()

    @property
    def _connections(self) -> ConnectionPool:
        with self._opening:
            self.check_open()
            if self._opened is None:
                from eechips.client.http.connection_pool import ConnectionPool

                self._opened = ConnectionPool(self.endpoint, is_reused=self._reuses_connections)
            return self._opened

    def _answer_locally(self, request: HttpRequest, document: str) -> bytes | None:
        """Return the body of the response to a request that is captured, or for a known document; else None."""
        captured = self._local.mode.captured
        if captured is None:
            return self._known.get(document)
        kept = {name: header for name, header in request.headers.items() if name.lower() not in _OF_THE_CONNECTION}
        captured.append(replace(request, body=request.text, headers=kept))
        return _CAPTURED


_TRANSPORT: ContextVar[Transport | None] = ContextVar("transport", default=None)


def use_transport(transport: Transport) -> AbstractContextManager[None]:
    """Make :func:`current_transport` return a transport in this thread, inside the block."""
    return context_value(_TRANSPORT, transport)


def current_transport() -> Transport | None:
    """Return the transport of the run that this is part of; None outside of one."""
    return _TRANSPORT.get()
