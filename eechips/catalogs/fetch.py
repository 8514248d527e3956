"""Items from their addresses: many at a time, within what a host bears."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from eechips.errors import UsageError

Maker = Callable[[str], bytes]
"""Makes the JSON of an item from an address; may take long, and is called in threads."""

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_LARGEST = 50_000_000  # bytes of an answer


@dataclass(frozen=True, slots=True)
class Pace:
    """How addresses are fetched.

    Attributes:
        in_flight: requests at once.
        per_host: of them to one host.
        retries: of a request, after what may pass.
        timeout: seconds that an answer may take.
        first_wait: seconds before the first retry; each further one waits twice as long, up to ``longest_wait``.
        longest_wait: seconds; no answer can ask for more.
    """

    in_flight: int = 64
    per_host: int = 32
    retries: int = 5
    timeout: float = 30.0
    first_wait: float = 0.5
    longest_wait: float = 30.0

    def __post_init__(self) -> None:
        if self.in_flight < 1 or self.per_host < 1 or self.retries < 0 or self.timeout <= 0:
            raise UsageError("requests in flight, requests per host and the time-out must be positive")


PACE = Pace()
"""What is usual."""


@dataclass(slots=True)
class Fetched:
    """What came of addresses.

    Attributes:
        bodies: in the order of the addresses; None where nothing came.
        failures: number of the address, kind, reason.
        requests: sent, by host.
    """

    bodies: list[bytes | None]
    failures: list[tuple[int, str, str]] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)


class _FailedError(Exception):
    """An address has no item."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class _PassingError(Exception):
    """An address may have an item later."""

    def __init__(self, kind: str, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.kind, self.wait = kind, wait


def fetch(
    addresses: Sequence[str], pace: Pace, *, make: Maker | None = None, advance: Callable[[int], object], seed: int = 0
) -> Fetched:
    """Fetches addresses: by HTTP, or what else fsspec knows; or has a hook make items of them.

    Args:
        addresses: of items.
        pace: how many at a time.
        make: the hook; None to fetch.
        advance: told of each that is through.
        seed: of the jitter in waiting.
    """
    whole = _all(addresses, pace, make, advance, random.Random(seed))
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(whole)
    with ThreadPoolExecutor(1) as elsewhere:  # a notebook has a loop of its own
        return elsewhere.submit(asyncio.run, whole).result()


async def _all(
    addresses: Sequence[str], pace: Pace, make: Maker | None, advance: Callable[[int], object], jitter: random.Random
) -> Fetched:
    import aiohttp

    found = Fetched([None] * len(addresses))
    waiting = iter(enumerate(addresses))
    timeout = aiohttp.ClientTimeout(total=pace.timeout)
    connector = aiohttp.TCPConnector(limit=pace.in_flight, limit_per_host=pace.per_host)
    hosts: dict[str, asyncio.Semaphore] = {}
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def once(address: str) -> bytes:
            if make is not None:
                return await asyncio.to_thread(_made, make, address)
            parts = urlsplit(address)
            async with hosts.setdefault(parts.netloc, asyncio.Semaphore(pace.per_host)):
                found.requests[parts.netloc or "local"] += 1
                if parts.scheme in ("http", "https"):
                    return await _by_http(session, address)
                return await asyncio.to_thread(_by_fsspec, address)

        async def work() -> None:
            for number, address in waiting:
                try:
                    found.bodies[number] = await _patiently(lambda a=address: once(a), pace, jitter)  # type: ignore[misc]
                except (_FailedError, _PassingError) as error:
                    found.failures.append((number, error.kind, str(error)))
                advance(1)

        await asyncio.gather(*(work() for _ in range(min(pace.in_flight, len(addresses)))))
    found.failures.sort()
    return found


async def _patiently(request: Callable[[], Awaitable[bytes]], pace: Pace, jitter: random.Random) -> bytes:
    """Makes a request again while that may help; whoever waits holds no place at its host."""
    for attempt in range(pace.retries):
        try:
            return await request()
        except _PassingError as error:
            wait = pace.first_wait * 2**attempt * jitter.uniform(0.5, 1.0)
            await asyncio.sleep(min(max(wait, error.wait), pace.longest_wait))
    return await request()


async def _by_http(session: Any, address: str) -> bytes:
    import aiohttp

    try:
        async with session.get(address) as answer:
            if answer.status in _TRANSIENT:
                text = answer.headers.get("Retry-After", "")
                raise _PassingError(
                    f"HTTP {answer.status}", answer.reason or "", float(text) if text.isdigit() else 0.0
                )
            if answer.status != 200:
                raise _FailedError(f"HTTP {answer.status}", answer.reason or "")
            body = bytearray()
            async for piece in answer.content.iter_chunked(1 << 20):
                body += piece
                if len(body) > _LARGEST:
                    raise _FailedError("too large", f"more than {_LARGEST:,} bytes")
    except asyncio.TimeoutError:
        raise _PassingError("time-out", "no whole answer came in time") from None
    except aiohttp.InvalidURL:
        raise _FailedError("no address", f"'{address}' is no address") from None
    except aiohttp.ClientError as error:
        raise _PassingError("connection", str(error) or type(error).__name__) from error
    return bytes(body)


def _by_fsspec(address: str) -> bytes:
    import fsspec

    try:
        files, path = fsspec.url_to_fs(address)
        content: bytes = files.cat_file(path)
    except FileNotFoundError:
        raise _FailedError("not found", "there is no such object") from None
    except PermissionError as error:
        raise _FailedError("forbidden", str(error)) from error
    except (ImportError, ValueError) as error:
        raise _FailedError("no address", str(error)) from error
    except OSError as error:
        raise _PassingError("connection", str(error)) from error
    return content


def _made(make: Maker, address: str) -> bytes:
    try:
        return make(address)
    except Exception as error:  # a hook is somebody else's code
        raise _FailedError("hook", f"{type(error).__name__}: {error}") from error
