"""Route requests of httpx and aiohttp through the transport of the run, once the script imports them; note files that
GDAL reads by itself.

A response arrives whole: bodies, sizes and errors are those that requests has; see
:mod:`eechips.scripts.replacements.network_patches`. An event loop continues meanwhile, and each request waits in a
thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from eechips.errors import EechipsError

_CONNECTIONS = 100  # of a client at a time, as in httpx (https://www.python-httpx.org/advanced/resource-limits/)
_OF_A_CONNECTION = frozenset({"connection", "keep-alive", "proxy-connection"})


class Observer(Protocol):
    """What routes the requests; see :class:`eechips.scripts.replacements.network_patches.RequestObserver`."""

    uncounted: set[str]

    def concerns(self, url: str) -> bool:
        """Return whether a URL is Earth Engine's."""

    def fetch(self, method: str, url: str, body: Any, headers: Mapping[str, Any]) -> tuple[int, dict[str, str], bytes]:
        """Send a request; return status, headers and the complete body."""

    def note_thread(self, url: str) -> None:
        """Note that the script fetches a result in this thread."""

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Replace an attribute until the run ends."""


def attach_httpx(observer: Observer, httpx: Any) -> None:
    """Route requests of httpx, also by clients with custom transports."""
    limiters: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()  # of threads, by transport
    send, send_async = httpx.HTTPTransport.handle_request, httpx.AsyncHTTPTransport.handle_async_request

    def sending(request: Any, body: bytes) -> Callable[[], Any]:
        def respond() -> Any:
            try:
                status, headers, content = observer.fetch(request.method, str(request.url), body, request.headers)
            except EechipsError as error:
                raise httpx.ConnectError(str(error), request=request) from error
            return httpx.Response(status, headers=headers, stream=httpx.ByteStream(content))  # not read yet

        return respond

    def handle_request(transport: Any, request: Any) -> Any:
        return sending(request, request.read())() if observer.concerns(str(request.url)) else send(transport, request)

    async def handle_async_request(transport: Any, request: Any) -> Any:
        if not observer.concerns(str(request.url)):
            return await send_async(transport, request)
        observer.note_thread(str(request.url))
        import anyio  # as httpx does, which may run in other event loops

        respond = sending(request, await request.aread())
        limiter = limiters.setdefault(transport, anyio.CapacityLimiter(_CONNECTIONS))
        run_sync: Any = anyio.to_thread.run_sync
        return await run_sync(respond, limiter=limiter, **{_abandoning(run_sync): True})

    observer.replace(httpx.HTTPTransport, "handle_request", handle_request)
    observer.replace(httpx.AsyncHTTPTransport, "handle_async_request", handle_async_request)


@functools.cache
def _abandoning(run_sync: Callable[..., Any]) -> str:
    """Return the name of the option that leaves a thread alone whose task is cancelled; anyio 4.1 renamed it."""
    return "abandon_on_cancel" if "abandon_on_cancel" in inspect.signature(run_sync).parameters else "cancellable"


def attach_aiohttp(observer: Observer, aiohttp: Any) -> None:
    """Route requests of aiohttp without a body, which downloads are; others are noted.

    Its connector makes connections whose answer the transport of the run gives; aiohttp parses it.
    """
    connect = aiohttp.TCPConnector._create_connection

    async def create_connection(connector: Any, request: Any, *args: Any, **options: Any) -> Any:
        url = str(request.url)
        if not observer.concerns(url):
            return await connect(connector, request, *args, **options)
        if request.method != "GET":
            observer.uncounted.add("aiohttp")
            return await connect(connector, request, *args, **options)
        observer.note_thread(url)
        fetch = partial(observer.fetch, "GET", url, None, dict(request.headers))
        protocol, loop = connector._factory(), asyncio.get_running_loop()
        protocol.connection_made(_Connection(loop, protocol, fetch, aiohttp.ClientConnectionError))
        return protocol

    observer.replace(aiohttp.TCPConnector, "_create_connection", create_connection)


def attach_rasterio(observer: Observer, rasterio: Any) -> None:
    """Note files that GDAL reads from Earth Engine by itself."""
    before = rasterio.open

    @functools.wraps(before)
    def opened(fp: Any, *args: Any, **options: Any) -> Any:
        if isinstance(fp, str) and observer.concerns(fp.removeprefix("/vsicurl/")):
            observer.uncounted.add("rasterio")
        return before(fp, *args, **options)

    observer.replace(rasterio, "open", opened)


class _Connection(asyncio.Transport):
    """A connection for one request, whose response is fetched in a thread; what is written to it is not sent."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: Any,
        fetch: Callable[[], tuple[int, dict[str, str], bytes]],
        failure: type[Exception],
    ) -> None:
        super().__init__()
        self._loop, self._protocol, self._fetch, self._failure = loop, protocol, fetch, failure
        self._is_closed = False
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        try:
            deliver = partial(self._protocol.data_received, _as_http(*self._fetch()))
        except EechipsError as error:
            failure = self._failure(str(error))
            failure.__cause__ = error
            deliver = partial(self._protocol.set_exception, failure)
        except BaseException as error:  # noqa: BLE001 - awaited by the task: the run stops, or a fault of this package
            deliver = partial(self._protocol.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop has been closed, and nothing awaits the response
            self._loop.call_soon_threadsafe(self._deliver, deliver)

    def _deliver(self, deliver: Callable[[], None]) -> None:
        if not self._is_closed:
            deliver()

    def write(self, data: Any) -> None:
        """Leave out the request, which is known."""

    def is_closing(self) -> bool:
        """Return whether it is closed."""
        return self._is_closed

    def close(self) -> None:
        """Close it."""
        if not self._is_closed:
            self._is_closed = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        """Do nothing: the response has arrived whole."""

    resume_reading = pause_reading


def _as_http(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return a response as sent over a connection that closes after it; the headers have the body's length."""
    with contextlib.suppress(ValueError):
        status = HTTPStatus(status)
    reason = status.phrase if isinstance(status, HTTPStatus) else ""
    kept = {name: value for name, value in headers.items() if name.lower() not in _OF_A_CONNECTION}
    lines = [f"{name}: {value}" for name, value in {**kept, "connection": "close"}.items()]
    return "\r\n".join((f"HTTP/1.1 {int(status)} {reason}", *lines, "", "")).encode("latin-1") + body
