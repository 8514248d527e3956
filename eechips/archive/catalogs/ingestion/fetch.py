"""Fetch items from their URLs: many at a time, within the limits of their hosts, repeated after transient errors, at
most 20 MB each.
"""

from __future__ import annotations

import gzip
import io
import math
import random
import stat
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import fsspec

from eechips.archive.catalogs.ingestion.item_hooks import ItemMaker
from eechips.archive.catalogs.options import IN_FLIGHT, PER_HOST, RETRIES, TIMEOUT
from eechips.archive.downloads.document_reader import read_content
from eechips.archive.downloads.host_sessions import HostSessions
from eechips.errors import (
    ConfigurationError,
    EechipsError,
    RequestError,
    ResponseTimeoutError,
    TransientError,
    UsageError,
)
from eechips.storage.store_errors import translate_error
from eechips.web.redaction import is_redacted, redact
from eechips.web.urls import host_of, is_http, is_remote

LARGEST = 20_000_000
"""Maximum bytes of an item."""

_ACCEPTED = "application/geo+json, application/json, */*;q=0.5"  # some servers send HTML by default
_GZIP = b"\x1f\x8b"
_TOO_MANY = 429
_UNAVAILABLE = 503
_MOST_DOUBLINGS = 16
_JITTER = random.SystemRandom()  # a wait leaves the generator of the caller as it is
_FIRST = 4
"""Concurrent requests before the first response. Each response allows one more: a server queues few connections (five
with Python's ``http.server``), and others that arrive at once are lost for half a minute."""


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
class FetchedItems:
    """Result of fetching URLs.

    Attributes:
        bodies: in the order of the URLs; None for failures. Shorter than the URLs if ``enough`` bytes were received.
        failures: index of the URL, kind, reason.
        requests: number of requests, by host.
    """

    bodies: list[bytes | None]
    failures: list[tuple[int, str, str]] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)


class _FailedError(Exception):
    """A URL has no item."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class HostLimiter:
    """Limit the concurrent requests to one host. Threads share it.

    A host that rejects requests (429, or 503 with ``Retry-After``) receives none for as long as it demands, and then
    half as many at once; each response raises the limit a little, up to the first one. Connections are opened as fast
    as the host responds, not all at once.

    Attributes:
        answered: requests that were not rejected; grows while the host serves requests.

    Args:
        most: maximum number of concurrent requests.
    """

    def __init__(self, most: int) -> None:
        self.answered = 0
        self._most, self._borne = most, float(most)
        self._busy = self._ended = 0
        self._changed = threading.Condition()
        self._closed_until = self._refused = -math.inf  # moments of the monotonic clock

    @property
    def limit(self) -> int:
        """Present limit of concurrent requests."""
        return int(min(self._borne, _FIRST + self._ended))

    @contextmanager
    def turn(self) -> Iterator[float]:
        """Wait until a request may be sent; yield the moment, for :meth:`refuse`."""
        with self._changed:
            while (wait := self._closed_until - time.monotonic()) > 0 or self._busy >= self.limit:
                self._changed.wait(wait if wait > 0 else None)
            self._busy += 1
        try:
            yield time.monotonic()
        finally:
            with self._changed:
                self._busy -= 1
                self._ended += 1
                self._changed.notify_all()

    def answer(self) -> None:
        """Record a response."""
        with self._changed:
            self.answered += 1
            self._borne = min(self._most, self._borne + 1.0 / self._borne)

    def refuse(self, began: float, wait: float) -> None:
        """Record a rejection.

        Args:
            began: when the request was sent. A request sent before the last rejection does not lower the limit again.
            wait: seconds without further requests.
        """
        with self._changed:
            now = time.monotonic()
            if began >= self._refused:
                self._borne = max(1.0, self._borne / 2)
                self._refused = now
            self._closed_until = max(self._closed_until, now + wait)


class ItemFetcher:
    """Fetch URLs by HTTP or by fsspec, or call a hook for each. Use it in a ``with`` block.

    Connections, and what is known of the limits of hosts, are kept from one call to the next.

    Args:
        make: the hook; None to fetch.
    """

    def __init__(self, config: FetchConfig, make: ItemMaker | None = None) -> None:
        self._config, self._make = config, make
        self._sessions = HostSessions(config.per_host, config.timeout, config.timeout)
        self._hosts: dict[str, HostLimiter] = {}
        self._stopped = threading.Event()
        self._turn = threading.Lock()

    @property
    def has_hook(self) -> bool:
        """Return whether a hook makes the items."""
        return self._make is not None

    def __enter__(self) -> ItemFetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._sessions.close()

    def fetch(
        self,
        addresses: Sequence[str],
        foreign: Sequence[bool] | None = None,
        advance: Callable[[int], object] = lambda _: None,
        enough: float = math.inf,
    ) -> FetchedItems:
        """Fetch URLs.

        Args:
            foreign: whether each URL is from a remote list, which must not name local files; None if none is. Hooks
                receive all URLs.
            advance: called after each URL, by one thread at a time.
            enough: bytes after which no further URL is requested.
        """
        fetched = FetchedItems([])
        strange = [False] * len(addresses) if foreign is None else foreign
        size = 0

        def work() -> None:
            """Fetch URLs that no other thread has begun, until there are none, or enough bytes."""
            nonlocal size
            while True:
                with self._turn:
                    number = len(fetched.bodies)
                    if number == len(addresses) or size >= enough or self._stopped.is_set():
                        return
                    fetched.bodies.append(None)
                body, failures = self._result(number, addresses[number], strange[number], fetched.requests)
                with self._turn:
                    size += len(body or b"")
                    fetched.bodies[number] = body
                    fetched.failures += failures
                    advance(1)

        with ThreadPoolExecutor(self._config.in_flight, "eechips-item") as pool:
            try:
                for done in [pool.submit(work) for _ in range(min(self._config.in_flight, len(addresses)))]:
                    done.result()
            except BaseException:  # interrupted: the threads end after what they are doing
                self._stopped.set()
                if self._make is not None:
                    self._make.stop()
                raise
        fetched.failures.sort()
        return fetched

    def _result(
        self, number: int, address: str, is_foreign: bool, requests: Counter[str]
    ) -> tuple[bytes | None, list[tuple[int, str, str]]]:
        """Return the item of a URL, or its failure in a list."""
        try:
            if self._make is not None:
                return _unzipped(_made(self._make, address)), []
            return _unzipped(self._read(_checked(address, is_foreign), requests)), []
        except _FailedError as error:
            return None, [(number, error.kind, redact(str(error)))]
        except EechipsError as error:
            return None, [(number, _kind_of(error), redact(str(error)))]

    def _read(self, address: str, requests: Counter[str]) -> bytes:
        """Read a URL; retry after transient errors, and occupy no slot of the host while waiting."""
        config, name = self._config, host_of(address) or "local"
        with self._turn:
            host = self._hosts.setdefault(name, HostLimiter(config.per_host))
        failed = tries = 0
        answered = host.answered
        while True:
            try:
                return self._request(name, host, address, requests)
            except TransientError as error:
                failed += not (_is_refusal(error) and host.answered > answered)
                answered = host.answered  # before the pause: others may be answered meanwhile
                if failed > config.retries:
                    raise
                wait = config.first_wait * 2 ** min(tries, _MOST_DOUBLINGS) * _JITTER.uniform(0.5, 1.0)
                self._stopped.wait(min(max(wait, error.retry_after or 0.0), config.longest_wait))
                tries += 1

    def _request(self, name: str, host: HostLimiter, address: str, requests: Counter[str]) -> bytes:
        """Send a request when the host's limit allows it, and update the limit."""
        with host.turn() as began:
            if self._stopped.is_set():
                raise _FailedError("interrupted", "no further requests are sent")
            with self._turn:
                requests[name] += 1
            try:
                body = self._by_http(address) if is_http(address) else _by_fsspec(address)
            except TransientError as error:
                if _is_refusal(error):
                    wait = self._config.first_wait if error.retry_after is None else error.retry_after
                    host.refuse(began, min(wait, self._config.longest_wait))
                raise
            except (EechipsError, _FailedError):
                host.answer()
                raise
            host.answer()
            return body

    def _by_http(self, address: str) -> bytes:
        with self._sessions.get(address, {"Accept": _ACCEPTED}, lambda _: {}) as response:
            body = read_content(self._sessions, response, address, LARGEST)
        if body.lstrip().startswith(b"{") and not body.rstrip().endswith(b"}"):  # a response without a stated length
            raise TransientError(f"truncated: the response ends after {len(body):,} bytes")
        return body


def _is_refusal(error: TransientError) -> bool:
    """Return whether a host rejects a request for too many requests."""
    return error.status == _TOO_MANY or (error.status == _UNAVAILABLE and error.retry_after is not None)


def _kind_of(error: EechipsError) -> str:
    """Return the kind of a failure, by which they are counted."""
    if isinstance(error, RequestError) and error.status is not None:
        return f"HTTP {error.status}"
    if isinstance(error, ResponseTimeoutError):
        return "time-out"
    if isinstance(error, TransientError):
        return "connection"
    return "certificate" if isinstance(error, ConfigurationError) else "refused"


def _checked(address: str, is_foreign: bool) -> str:
    """Return a URL that may be requested."""
    if not address:
        raise _FailedError("no address", "it is empty")
    if is_redacted(address):
        raise _FailedError("no address", "its signature was removed here: use the list that it comes from")
    if is_foreign and not is_remote(address):
        raise _FailedError("refused", "a remote list may only name URLs of the web and of object stores")
    try:
        host_of(address)
    except ValueError as error:
        raise _FailedError("no address", str(error)) from error
    return address


def _unzipped(body: bytes) -> bytes:
    """Decompress a body that was stored compressed."""
    if not body.startswith(_GZIP):
        return body
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            content = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _FailedError("no JSON", f"damaged gzip: {error}") from error
    return _bounded(content)


def _bounded(content: bytes) -> bytes:
    if len(content) > LARGEST:
        raise _FailedError("refused", f"more than {LARGEST:,} bytes")
    return content


def _by_fsspec(address: str) -> bytes:
    try:
        files, path = fsspec.url_to_fs(address)
        if "file" in ((files.protocol,) if isinstance(files.protocol, str) else files.protocol):
            return _by_path(Path(path))
        return _bounded(files.cat_file(path, end=LARGEST + 1))
    except _FailedError:
        raise
    except FileNotFoundError:
        raise _FailedError("not found", "the object does not exist") from None
    except (ImportError, ValueError) as error:
        raise _FailedError("no address", str(error)) from error
    except Exception as error:  # every package has exceptions of its own
        raise translate_error(error, "read the object") from error


def _by_path(path: Path) -> bytes:
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise _FailedError("no file", "the path is a folder or a device")
        if facts.st_size > LARGEST:
            raise _FailedError("refused", f"more than {LARGEST:,} bytes")
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
