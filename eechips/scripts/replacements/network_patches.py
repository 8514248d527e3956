"""Route the Earth Engine requests of a script in a worker through the transport of the run; notice others, as of
programs such as curl.

Requests of Google's client, requests, urllib3's pool manager, urllib, httpx and aiohttp are routed. The transport does
not throttle, retry or count what http.client, rasterio and programs such as curl send; a message at the end of the run
says so. Every routed request is throttled and retried, and its body is complete and decompressed: a script that copies
``response.raw`` into a file writes a whole image, not a truncated or compressed one.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.message
import http.client
import io
import math
import os
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
import urllib.response
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakSet

import urllib3

from eechips.client.access.connection import Connection, initialize_client
from eechips.client.access.discovery import ClientInit, DiscoveryFile
from eechips.client.error_classification import classify_response, parse_error
from eechips.client.http.http_messages import load_values
from eechips.client.http.response_framing import StrictConnection
from eechips.client.quota.usage import Usage
from eechips.errors import EechipsError, Stopped, TooLargeError, ValidationError
from eechips.formats import inspect, sniff
from eechips.scripts.replacements.imported_clients import attach_aiohttp, attach_httpx, attach_rasterio
from eechips.scripts.replacements.name_replacement import change_imported
from eechips.web.redaction import redact
from eechips.web.urls import origin

if TYPE_CHECKING:
    import requests


_RESULTS = (":computePixels", ":getPixels", ":computeFeatures", ":getFeatures", "/value:compute")
"""Ends of the addresses of results (https://developers.google.com/earth-engine/reference/rest)."""

_NAMED = ("/thumbnails", "/tables")
"""Ends of the addresses that give results a name."""

_OF_THE_BODY = frozenset({"content-encoding", "transfer-encoding", "content-length"})
_OF_THE_CONNECTION = frozenset({"host", "connection", "accept-encoding", "content-length", "user-agent", "accept"})


class RequestObserver:
    """Send the requests of a script through the transport, and record their outcomes.

    Attributes:
        failure: error of the last request; None if it succeeded.
        failures: errors of requests that have not succeeded since, in their order, by request.
        repeated_failures: how often the request that failed last has failed.
        has_answer: whether any request succeeded.
        has_more_than_values: whether one for pixels, a table or an export did.
        has_exported: whether one started a batch task.
        is_stopped: whether a request was not sent because the run stops.
        uncounted: libraries and programs that have sent requests to Earth Engine past the transport.
        left_running: threads that calls have started, and that have not ended with them.
        unrecorded: what of the script, other than its main part and its calls, has fetched results,
            such as threads and coroutines.
        deadline: a request after this time, on the monotonic clock, is not sent and stops the run, unless it is one of
            a pool's calls: these end as other units do.

    Args:
        is_of_script: whether the script's own process sends the requests; `observe_script` then records their outcomes.
    """

    def __init__(self, connection: Connection, *, is_of_script: bool = False) -> None:
        self._transport, self._is_of_script = connection.transport, is_of_script
        self._origin = origin(connection.target.endpoint)
        self.unrecorded: dict[str, list[Any]] = {}
        self._threads: WeakSet[threading.Thread] = WeakSet()
        self.left_running: WeakSet[threading.Thread] = WeakSet()
        self._owner = threading.current_thread()
        self.deadline = math.inf
        self._call_usage: Usage | None = None
        self._patches = contextlib.ExitStack()
        self._is_closed = False
        self.reset()

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Replace an attribute until :meth:`close`, unless another replaces it meanwhile."""
        is_own = name in vars(owner)  # not inherited
        before = getattr(owner, name)

        def restore() -> None:
            if vars(owner).get(name) is not value:
                return
            if is_own:
                setattr(owner, name, before)
            else:
                delattr(owner, name)

        setattr(owner, name, value)
        self._patches.callback(restore)

    def change_imported(self, changes: Mapping[str, Callable[[ModuleType], None]]) -> None:
        """Change modules that are imported, now or until :meth:`close`."""
        self._patches.enter_context(change_imported(changes))

    def close(self) -> None:
        """Leave the libraries of this process alone again: threads have executed the calls, not processes."""
        self._is_closed = True
        self._patches.close()

    def stop(self) -> None:
        """Stop the run in every process: no thread of the script sends anything more."""
        self._transport.quota.throttle.stop()

    def keep_deadline(self) -> None:
        """Stop the run if its time is over."""
        if time.monotonic() >= self.deadline and self._call_usage is None:
            self.stop()

    @contextlib.contextmanager
    def in_call(self) -> Iterator[None]:
        """Tell in the block that this thread makes a call of a pool, for which other threads of the process work."""
        self._call_usage = self._transport.usage
        try:
            yield
        finally:
            self._call_usage = None

    def note_started(self, started: Any) -> None:
        """Note that the script starts a thread or a process."""
        if isinstance(started, threading.Thread):
            self._threads.add(started)
        else:
            self.unrecorded.setdefault("multiprocessing.Process", []).append(started)

    def note_thread(self, url: str) -> None:
        """Note that the script, not a call of a pool, fetches a result in this thread."""
        thread = threading.current_thread()
        is_own = thread in self._threads
        if (is_own or thread is self._owner) and urlsplit(url).path.endswith(_RESULTS):
            if asyncio._get_running_loop() is not None:
                self.unrecorded["coroutines"] = []
            elif is_own:
                self.unrecorded["threading.Thread"] = []

    @property
    def lost_results(self) -> list[EechipsError]:
        """Return errors of requests for results that have not succeeded since; scripts may divide one too large."""
        return [
            error
            for (address, _), error in self.failures.items()
            if urlsplit(address).path.endswith(_RESULTS + _NAMED) and not isinstance(error, TooLargeError)
        ]

    @property
    def has_threads(self) -> bool:
        """Return whether threads run that the script has started."""
        return any(thread.is_alive() for thread in self._threads)

    @property
    def has_stopped(self) -> bool:
        """Return whether the run stops, as a request was not sent or for another reason."""
        return self._transport.quota.throttle.is_stopped

    @property
    def is_spent(self) -> bool:
        """Return whether the budget of the run is spent."""
        return self._transport.is_spent

    def reset(self) -> None:
        """Reset all attributes."""
        self.has_answer = self.has_more_than_values = self.has_exported = self.is_stopped = False
        self.failure: EechipsError | None = None
        self.failures: dict[tuple[str, str], EechipsError] = {}
        self._failed: Counter[tuple[str, str]] = Counter()
        self.repeated_failures = 0
        self._asked = threading.local()
        self.uncounted: set[str] = set()

    def concerns(self, url: str) -> bool:
        """Return whether a URL is Earth Engine's."""
        return self.concerns_host(*origin(url))

    def concerns_host(self, scheme: str, host: str | None, port: int | None) -> bool:
        """Return whether a host is Earth Engine's; it may be an address of IPv6 without brackets."""
        return not self._is_closed and (scheme, host and host.lower(), port) == self._origin

    def pause(self, seconds: float) -> None:
        """Wait, as the script's ``time.sleep``; raise Stopped if the run is stopping."""
        try:
            self._transport.pause(seconds)
        except Stopped:
            self.is_stopped = True
            raise

    def request(self, uri: str, *args: Any, **options: Any) -> tuple[Any, bytes]:
        """Send a request; arguments and result as of ``httplib2.Http.request``.

        Raises:
            Stopped: if the run is stopping: a call may have many requests, and is made again by the next run.
        """
        if self._is_of_script or self._transport.is_capturing:  # or for a request of the run itself, which is no call's
            return self._transport.request(uri, *args, **options)
        self.keep_deadline()
        self.pause(0.0)
        usage = self._call_usage or self._transport.usage
        try:
            with self._transport.counted_in(usage), self._transport.checking(_check_of(uri)):
                return self.noted(self._transport.request, uri, *args, **options)
        except Stopped:
            self.is_stopped = True
            raise

    def noted(self, send: Callable[..., tuple[Any, bytes]], uri: str, *args: Any, **options: Any) -> tuple[Any, bytes]:
        """Send a request, and note its outcome."""
        self.failure = None
        asked = self._asked.body = options.get("body") or getattr(self._asked, "body", None)
        key = redact(uri), str(asked if redact(uri) != uri else options.get("body"))
        try:
            response, body = send(uri, *args, **options)
        except EechipsError as error:
            self._note_failure(error, key)
            raise
        status = int(response.status)
        if status >= 400:
            error_body = parse_error(body, str(response.get("content-type", "")))
            self._note_failure(classify_response(status, error_body), key)
        else:
            self.failures.pop(key, None)
            self.has_answer = True
            path = urlsplit(uri).path
            self.has_more_than_values |= not path.endswith("/value:compute")
            self.has_exported |= path.endswith((":export", ":import"))
        return response, body

    def _note_failure(self, error: EechipsError, key: tuple[str, str]) -> None:
        """Note the error of a request.

        Args:
            key: its address and body; of one for a name, which differs each time, the last body before it.
        """
        self.failure = self.failures[key] = error
        self._failed[key] += 1
        self.repeated_failures = self._failed[key]

    def fetch(self, method: str, url: str, body: Any, headers: Mapping[str, Any]) -> tuple[int, dict[str, str], bytes]:
        """Send the request of a library; return status, headers and the complete, decompressed body."""
        sent = {str(k): _text(v) for k, v in headers.items() if str(k).lower() not in _OF_THE_CONNECTION}
        response, content = self.request(url, method, body=body, headers=sent)
        kept = {k: str(v) for k, v in response.items() if k not in _OF_THE_BODY and k != "status"}
        return int(response.status), {**kept, "content-length": str(len(content))}, content


def attach(connection: Connection, discovery: DiscoveryFile) -> RequestObserver:
    """Put an observer between this process's libraries and the service, until it is closed.

    Args:
        discovery: file of the API description that its client was initialised with.
    """
    target = connection.target
    observer = RequestObserver(connection)
    _attach_libraries(observer)
    initialize_client(ClientInit(target.endpoint, target.project, discovery)).transport = observer  # type: ignore[assignment]
    return observer


def observe_script(connection: Connection) -> RequestObserver:
    """Observe the libraries of a script's own process; a request that is not sent stops the run.

    A script may catch what it raises, or have sent it from a thread or a fork.
    """
    observer, transport = RequestObserver(connection, is_of_script=True), connection.transport
    _attach_libraries(observer)
    request = transport.request

    def send(uri: str, *args: Any, **options: Any) -> tuple[Any, bytes]:  # also of Google's client
        try:
            if transport.is_capturing:  # a request of the run itself
                return request(uri, *args, **options)
            observer.keep_deadline()
            observer.note_thread(uri)
            transport.pause(0.0)  # a run that stops lets units finish; a script may have any number of requests
            with transport.checking(_check_of(uri)):
                return observer.noted(request, uri, *args, **options)
        except Stopped:
            observer.stop()
            raise

    observer.replace(transport, "request", send)
    return observer


def _attach_libraries(observer: RequestObserver) -> None:
    """Put an observer between the service and the libraries of this process, except the client, until it is closed."""
    _attach_requests(observer)
    _attach_urllib3(observer)
    _attach_urllib(observer)
    _note_other_libraries(observer)
    attach = {"httpx": attach_httpx, "aiohttp": attach_aiohttp, "rasterio": attach_rasterio}
    observer.change_imported({name: partial(change, observer) for name, change in attach.items()})


def _attach_requests(observer: RequestObserver) -> None:
    import requests.adapters

    before = requests.adapters.HTTPAdapter.send

    def send(adapter: Any, request: Any, stream: bool = False, *args: Any, **options: Any) -> requests.Response:
        if not observer.concerns(request.url):
            return before(adapter, request, stream, *args, **options)
        try:
            raw = _raw(*observer.fetch(request.method, request.url, request.body, request.headers))
        except EechipsError as error:
            raise requests.ConnectionError(str(error), request=request) from error
        response: requests.Response = adapter.build_response(request, raw)
        if not stream:
            response.content  # noqa: B018 - as requests does
        return response

    observer.replace(requests.adapters.HTTPAdapter, "send", send)


def _attach_urllib3(observer: RequestObserver) -> None:
    before = urllib3.PoolManager.urlopen

    def urlopen(manager: Any, method: str, url: str, redirect: bool = True, **options: Any) -> Any:
        if not observer.concerns(url):
            return before(manager, method, url, redirect, **options)
        raw = _raw(*observer.fetch(method, url, options.get("body"), options.get("headers") or {}))
        if options.get("preload_content", True):
            raw.read(cache_content=True)
        return raw

    observer.replace(urllib3.PoolManager, "urlopen", urlopen)


def _note_other_libraries(observer: RequestObserver) -> None:
    """Note requests of libraries and programs that are not routed."""
    put_request = http.client.HTTPConnection.putrequest

    def putrequest(connection: Any, *args: Any, **options: Any) -> None:
        if not isinstance(connection, StrictConnection):  # else it is the transport's
            scheme = "https" if isinstance(connection, http.client.HTTPSConnection) else "http"
            host = getattr(connection, "_tunnel_host", None) or connection.host
            port = getattr(connection, "_tunnel_port", None) or connection.port
            library = type(connection).__module__.partition(".")[0]
            if observer.concerns_host(scheme, host, port):
                observer.uncounted.add("http.client" if library == "http" else library)
        put_request(connection, *args, **options)

    observer.replace(http.client.HTTPConnection, "putrequest", putrequest)
    start, system = subprocess.Popen.__init__, os.system

    def popen(process: Any, args: Any, *others: Any, **options: Any) -> None:
        observer.uncounted |= _find_program(observer, args)
        start(process, args, *others, **options)

    def command(command: Any) -> int:
        observer.uncounted |= _find_program(observer, command)
        return system(command)

    observer.replace(subprocess.Popen, "__init__", popen)
    observer.replace(os, "system", command)


def _find_program(observer: RequestObserver, words: Any) -> set[str]:
    """Return the name of a program that is started with an address of Earth Engine, such as curl; else nothing."""
    texts = [os.fsdecode(part) for part in ([words] if isinstance(words, (str, bytes, os.PathLike)) else words)]
    for text in texts:
        if "http" in text and any(map(observer.concerns, re.findall(r"https?://[^\s'\"]+", text))):
            return {Path(text.split()[0] if len(text.split()) > 1 else texts[0]).name}
    return set()


def _attach_urllib(observer: RequestObserver) -> None:
    """Route requests of urllib, also by openers that the script builds."""
    before = urllib.request.AbstractHTTPHandler.do_open

    def do_open(handler: Any, http_class: Any, req: urllib.request.Request, **options: Any) -> Any:
        if not observer.concerns(req.full_url):
            return before(handler, http_class, req, **options)
        try:
            status, headers, body = observer.fetch(req.get_method(), req.full_url, req.data, dict(req.header_items()))
        except EechipsError as error:
            raise urllib.error.URLError(str(error)) from error
        message = email.message.Message()
        for name, value in headers.items():
            message[name] = value
        answer = urllib.response.addinfourl(io.BytesIO(body), message, req.full_url, status)
        answer.msg = str(status)  # type: ignore[attr-defined]
        return answer

    observer.replace(urllib.request.AbstractHTTPHandler, "do_open", do_open)


def _raw(status: int, headers: Mapping[str, str], body: bytes) -> Any:
    return urllib3.HTTPResponse(
        body=io.BytesIO(body), headers=dict(headers), status=status, preload_content=False, reason=_REASONS.get(status)
    )


_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found"}


def _check_of(url: str) -> Callable[[bytes], None]:
    """Return what checks the body of a successful response."""
    return _check_image if urlsplit(url).path.endswith((":getPixels", ":computePixels")) else _check


def _check(body: bytes) -> None:
    """Raise ValidationError for a truncated image, which may have the announced length."""
    if sniff(body) != "bin":
        inspect(body, "")


def _check_image(body: bytes) -> None:
    """Raise ValidationError for JSON, a page or zeros as well, which are no format of images, or nothing
    (https://developers.google.com/earth-engine/reference/rest/v1/ImageFileFormat).
    """
    with contextlib.suppress(ValueError, OverflowError, RecursionError):
        load_values(body or "null")
        raise ValidationError("JSON came back in place of an image" if body else "an empty image came back")
    if not body.strip(b"\0") or body.lstrip()[:5].lower() in (b"<html", b"<!doc"):
        raise ValidationError("a page or zeros came back in place of an image")
    _check(body)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
