"""Fetch items from their URLs: many at a time, within the limits of their hosts."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import io
import math
import random
import re
import socket
import stat
import urllib.request
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec

from eechips.archive.catalogs.ingestion.host_limiter import HostLimiter
from eechips.archive.catalogs.ingestion.item_hooks import ItemMaker
from eechips.archive.catalogs.options import IN_FLIGHT, PER_HOST, RETRIES, TIMEOUT
from eechips.errors import UsageError
from eechips.storage.store_errors import is_permanent
from eechips.web.network import (
    is_metadata_address,
    is_metadata_host,
    is_private_address,
    is_private_host,
    is_public_host,
)
from eechips.web.redaction import is_redacted, redact
from eechips.web.retry_after import parse_retry_after
from eechips.web.urls import host_of, is_http, is_remote

LARGEST = 20_000_000
"""Maximum bytes of an item."""

_LARGEST_HEADER = 65_536  # bytes: Content-Security-Policy may be long
_ACCEPTED = "application/geo+json, application/json, */*;q=0.5"  # some servers send HTML by default
_GZIP = b"\x1f\x8b"
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_TOO_MANY = 429
_UNAVAILABLE = 503
_REDIRECTS = 5
_MOVED = (301, 302, 303, 307, 308)
_MOST_DOUBLINGS = 16
_SPELT = re.compile(r"https?://[A-Za-z0-9.:-]+/(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FetchConfig:
    """Parameters of fetching.

    Attributes:
        in_flight: concurrent requests, or calls of a hook.
        per_host: concurrent requests to one host, until it rejects one.
        retries: retries of a request after transient errors. Rejections for too many requests do not count while the
            host answers others.
        timeout: seconds for a response.
        first_wait: seconds before the first retry; doubled for each further one, up to ``longest_wait``.
        longest_wait: seconds; also the limit for ``Retry-After``.
    """

    in_flight: int = IN_FLIGHT
    per_host: int = PER_HOST
    retries: int = RETRIES
    timeout: float = TIMEOUT
    first_wait: float = 0.5
    longest_wait: float = 30.0

    def __post_init__(self) -> None:
        if self.in_flight < 1 or self.per_host < 1 or self.retries < 0 or self.timeout <= 0:
            raise UsageError("in_flight, per_host and timeout must be positive")


@dataclass(slots=True)
class FetchedItem:
    """Result of fetching URLs.

    Attributes:
        bodies: in the order of the URLs; None for failures. Shorter than the URLs if ``enough`` bytes were received.
        failures: index of the URL, kind, reason.
    """

    bodies: list[bytes | None]
    failures: list[tuple[int, str, str]] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)


class _FailedError(Exception):
    """A URL has no item."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class _PassingError(_FailedError):
    """A URL may have an item later.

    Attributes:
        wait: seconds that the host demands; None if it does not.
        is_refusal: whether the host rejects the request for too many requests.
    """

    def __init__(self, kind: str, reason: str, *, wait: float | None = None, is_refusal: bool = False) -> None:
        super().__init__(kind, reason)
        self.wait, self.is_refusal = wait, is_refusal


class _OffLimitsError(OSError):
    """The address is not allowed for items."""


def fetch(
    addresses: Sequence[str],
    config: FetchConfig,
    *,
    make: ItemMaker | None = None,
    foreign: Sequence[bool] | None = None,
    advance: Callable[[int], object],
    seed: int = 0,
    enough: float = math.inf,
    borne: dict[str, float] | None = None,
) -> FetchedItem:
    """Fetch URLs by HTTP or by fsspec, or call a hook for each.

    Args:
        make: the hook; None to fetch.
        foreign: whether each URL is from a remote list, which must not name local files; None if none is. Hooks receive
            all URLs.
        advance: called after each URL.
        seed: seed of the jitter in waits.
        enough: bytes after which no further URL is requested.
        borne: by host, the concurrent requests that it accepted before; updated in place.
    """
    strange = [False] * len(addresses) if foreign is None else foreign
    known, fetched_item = {} if borne is None else borne, FetchedItem([None] * len(addresses))
    jitter = random.Random(seed)
    whole = _Fetching(addresses, strange, config, make, advance, jitter, enough, known, fetched_item).all()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(whole)
    with ThreadPoolExecutor(1) as elsewhere:  # a notebook already runs an event loop in this thread
        return elsewhere.submit(asyncio.run, whole).result()


@dataclass(slots=True)
class _Fetching:
    """URLs and their results so far."""

    _addresses: Sequence[str]
    _foreign: Sequence[bool]
    _config: FetchConfig
    _make: ItemMaker | None
    _advance: Callable[[int], object]
    _jitter: random.Random
    _enough: float
    _borne: dict[str, float]
    _found: FetchedItem
    _begun: int = 0
    _bytes: int = 0
    _hosts: dict[str, HostLimiter] = field(default_factory=dict)
    _proxies: dict[str, str] = field(default_factory=urllib.request.getproxies)

    async def all(self) -> FetchedItem:
        """Fetch all URLs."""
        import aiohttp

        config, fetched_item = self._config, self._found
        # A thread for each concurrent request: by default asyncio has four more threads than cores.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(config.in_flight))

        def opened(factory: Callable[[Any], socket.socket]) -> Any:
            connector = aiohttp.TCPConnector(
                limit=config.in_flight, limit_per_host=config.per_host, socket_factory=factory
            )
            timeout = aiohttp.ClientTimeout(total=config.timeout)
            return aiohttp.ClientSession(
                connector=connector, timeout=timeout, headers={"Accept": _ACCEPTED}, max_field_size=_LARGEST_HEADER
            )

        async with opened(_socket_within_limits) as session, opened(_public_socket) as public:
            sessions = _Sessions(session, public)
            try:
                await asyncio.gather(
                    *(self._work(sessions) for _ in range(min(config.in_flight, len(self._addresses))))
                )
            except asyncio.CancelledError:  # interrupted: wait for the threads
                if self._make is not None:
                    self._make.stop()
                raise
        self._borne.update({name: host.borne for name, host in self._hosts.items()})
        fetched_item.failures.sort()
        del fetched_item.bodies[self._begun :]
        return fetched_item

    async def _work(self, sessions: _Sessions) -> None:
        while self._begun < len(self._addresses) and self._bytes < self._enough:
            number = self._begun
            self._begun += 1
            address = self._addresses[number]
            try:
                body = _unzipped(await self._one(sessions, address, self._foreign[number]))
                self._bytes += len(body)
                self._found.bodies[number] = body
            except _FailedError as error:
                self._found.failures.append((number, error.kind, redact(str(error))))
            self._advance(1)

    async def _one(self, sessions: _Sessions, address: str, is_foreign: bool) -> bytes:
        if self._make is not None:
            return await asyncio.to_thread(_made, self._make, address)
        if not address:
            raise _FailedError("no address", "it is empty")
        if is_redacted(address):
            raise _FailedError("no address", "its signature was removed here: use the list that it comes from")
        if is_foreign and not is_remote(address):
            raise _FailedError("forbidden", "a remote list may only name URLs of the web and of object stores")
        try:
            name = host_of(address) or "local"
        except ValueError as error:
            raise _FailedError("no address", str(error)) from error
        host = self._hosts.setdefault(name, HostLimiter(self._config.per_host, self._borne.get(name)))
        if is_http(address):
            request = functools.partial(_by_http, sessions, address, self._proxy)
        else:
            request = functools.partial(asyncio.to_thread, _by_fsspec, address)
        return await self._patiently(host, lambda: self._asked(name, host, request))

    async def _asked(self, name: str, host: HostLimiter, request: Callable[[], Awaitable[bytes]]) -> bytes:
        """Send a request when the host's limit allows it, and update the limit."""
        async with host.turn() as began:
            self._found.requests[name] += 1
            try:
                body = await request()
            except _PassingError as error:
                if error.is_refusal:
                    wait = self._config.first_wait if error.wait is None else error.wait
                    host.refuse(began, min(wait, self._config.longest_wait))
                raise
            except _FailedError:
                host.answer()
                raise
            host.answer()
            return body

    async def _patiently(self, host: HostLimiter, request: Callable[[], Awaitable[bytes]]) -> bytes:
        """Retry a request after transient errors; while it waits, it occupies no slot of the host."""
        config = self._config
        failed = tries = 0
        answered = host.answered
        while True:
            try:
                return await request()
            except _PassingError as error:
                failed += not (error.is_refusal and host.answered > answered)
                answered = host.answered  # before the pause: others may be answered meanwhile
                if failed > config.retries:
                    raise
                wait = config.first_wait * 2 ** min(tries, _MOST_DOUBLINGS) * self._jitter.uniform(0.5, 1.0)
                await asyncio.sleep(min(max(wait, error.wait or 0.0), config.longest_wait))
                tries += 1

    def _proxy(self, address: str) -> str | None:
        """Return the proxy for a URL from the environment."""
        parts = urlsplit(address)
        if not self._proxies or urllib.request.proxy_bypass(parts.hostname or ""):
            return None
        return self._proxies.get(parts.scheme.lower())


@dataclass(frozen=True, slots=True)
class _Sessions:
    """HTTP sessions.

    Attributes:
        any: connects to any host except cloud metadata services.
        public: connects to the public internet only: used after a redirect of a public host.
    """

    any: Any
    public: Any


def _socket_within_limits(place: Any) -> socket.socket:
    """Open a socket, except to services that hand out a machine's credentials."""
    family, kind, protocol, _, target = place
    if is_metadata_address(target[0]):
        raise _OffLimitsError(f"{target[0]} belongs to this machine's own network, where no items are read from")
    return socket.socket(family, kind, protocol)


def _public_socket(place: Any) -> socket.socket:
    """Open a socket to the public internet."""
    if is_private_address(place[-1][0]):
        raise _OffLimitsError(f"{place[-1][0]} is in a private network, to which a public host redirected")
    return _socket_within_limits(place)


@contextlib.asynccontextmanager
async def _redirected(sessions: _Sessions, address: str, proxy_of: Callable[[str], str | None]) -> AsyncIterator[Any]:
    """Return the response after redirects; none leads from the public internet into a private network."""
    import yarl

    # Unchanged from the list: a signature covers the exact spelling.
    url = yarl.URL(address, encoded=_SPELT.fullmatch(address) is not None)
    is_public = False
    for _ in range(_REDIRECTS + 1):
        host = url.host or ""
        if is_metadata_host(host):  # checked here, too: a proxy may reach cloud services
            raise _FailedError("forbidden", "no items are read from this machine's own network")
        if is_public and is_private_host(host):
            raise _FailedError("forbidden", f"{host} is in a private network, to which a public host redirected")
        proxy = proxy_of(str(url))
        session = sessions.public if is_public and proxy is None else sessions.any  # a proxy may be in any network
        async with session.get(url, proxy=proxy, allow_redirects=False) as answer:
            target = answer.headers.get("Location") or answer.headers.get("URI")
            if answer.status not in _MOVED or not target:
                yield answer
                return
        is_public = is_public or await asyncio.to_thread(is_public_host, host)
        following = yarl.URL(target, encoded=_SPELT.fullmatch(target) is not None)
        if following.scheme not in ("", "http", "https"):
            raise _FailedError("redirects", "the target is not an http(s) URL")
        url = following if following.absolute else url.join(following)
    raise _FailedError("redirects", f"more than {_REDIRECTS}")


async def _by_http(sessions: _Sessions, address: str, proxy_of: Callable[[str], str | None]) -> bytes:
    import aiohttp

    try:
        async with _redirected(sessions, address, proxy_of) as answer:
            if answer.status in _TRANSIENT:
                wait = parse_retry_after({name.lower(): value for name, value in answer.headers.items()})
                is_refusal = answer.status == _TOO_MANY or (answer.status == _UNAVAILABLE and wait is not None)
                raise _PassingError(f"HTTP {answer.status}", answer.reason or "", wait=wait, is_refusal=is_refusal)
            if answer.status != 200:
                raise _FailedError(f"HTTP {answer.status}", answer.reason or "")
            body = bytearray()
            async for piece in answer.content.iter_chunked(1 << 20):
                body += piece
                if len(body) > LARGEST:
                    raise _FailedError("too large", f"more than {LARGEST:,} bytes")
    except asyncio.TimeoutError:
        raise _PassingError("time-out", "the response was incomplete after the timeout") from None
    except aiohttp.ClientConnectorCertificateError as error:
        raise _FailedError("certificate", str(error)) from error
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, _OffLimitsError):
            raise _FailedError("forbidden", str(error.os_error)) from error
        raise _PassingError("connection", str(error)) from error
    except aiohttp.ClientResponseError as error:  # its message contains the whole URL
        raise _PassingError("connection", error.message or type(error).__name__) from error
    except (aiohttp.InvalidURL, ValueError):
        raise _FailedError("no address", f"'{address}' is not a URL") from None
    except aiohttp.ClientError as error:
        raise _PassingError("connection", str(error) or type(error).__name__) from error
    if body.lstrip().startswith(b"{") and not body.rstrip().endswith(b"}"):  # a response without a stated length
        raise _PassingError("cut off", f"the response ends after {len(body):,} bytes")
    return bytes(body)


def _unzipped(body: bytes) -> bytes:
    """Decompress a body that was stored compressed."""
    if not body.startswith(_GZIP):
        return body
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            content = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _FailedError("no JSON", f"damaged gzip: {error}") from error
    if len(content) > LARGEST:
        raise _FailedError("too large", f"more than {LARGEST:,} bytes")
    return content


def _by_fsspec(address: str) -> bytes:
    try:
        files, path = fsspec.url_to_fs(address)
        if "file" in ((files.protocol,) if isinstance(files.protocol, str) else files.protocol):
            return _by_path(Path(path))
        content: bytes = files.cat_file(path, end=LARGEST + 1)
    except _FailedError:
        raise
    except FileNotFoundError:
        raise _FailedError("not found", "the object does not exist") from None
    except (ImportError, ValueError) as error:
        raise _FailedError("no address", str(error)) from error
    except Exception as error:  # every package has exceptions of its own
        if is_permanent(error):
            raise _FailedError("forbidden", str(error)) from error
        raise _PassingError("connection", str(error) or type(error).__name__) from error
    if len(content) > LARGEST:
        raise _FailedError("too large", f"more than {LARGEST:,} bytes")
    return content


def _by_path(path: Path) -> bytes:
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise _FailedError("no file", "the path is a folder or a device")
        if facts.st_size > LARGEST:
            raise _FailedError("too large", f"more than {LARGEST:,} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        raise _FailedError("not found", "the file does not exist") from None
    except (OSError, ValueError) as error:
        raise _FailedError("no file", str(error)) from error


def _made(make: ItemMaker, address: str) -> bytes:
    try:
        return make(address)
    except (Exception, SystemExit) as error:  # hooks are code of others
        raise _FailedError("hook", f"{type(error).__name__}: {error}") from error
