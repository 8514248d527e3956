"""A local Earth Engine as a process of its own, and the real client that talks to it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Server:
    """A local Earth Engine that is running."""

    url: str

    def stats(self) -> dict[str, Any]:
        """Return its statistics: requests by kind, responses by status, requests in flight."""
        with urlopen(f"{self.url}/_stats") as response:
            found: dict[str, Any] = json.load(response)
        return found

    def requests(self) -> dict[str, int]:
        """Return the number of requests by kind."""
        counted: dict[str, int] = self.stats()["requests"]
        return counted


@dataclass(frozen=True)
class ServerProcess(Server):
    """One that is a process of its own."""

    process: subprocess.Popen[str]


def add_workers(arguments: Sequence[str]) -> list[str]:
    """Have a server compute in one process unless its arguments say otherwise.

    Each of several would draw the demo planet again.
    """
    return [*arguments] if "--workers" in arguments else [*arguments, "--workers", "1"]


def start_server(*arguments: str) -> ServerProcess:
    """Start a local Earth Engine in a process of its own, which ends when its standard input does."""
    process = start_process(
        "-m", "eechips_local.run_server", "--port", "0", "--exit-with-parent", *add_workers(arguments)
    )
    return ServerProcess(read_announcement(process)["url"], process)


def start_process(*arguments: str, folder: Path | None = None) -> subprocess.Popen[str]:
    """Start Python, in a folder if one is given, with pipes for its input and output."""
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def read_announcement(process: subprocess.Popen[str]) -> dict[str, str]:
    """Return what a process says of a server that it has started."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"The local Earth Engine did not start: exit status {process.wait()}.")
    found: dict[str, str] = json.loads(line)
    return found


def stop_server(server: ServerProcess) -> None:
    """Close its standard input and wait for its end."""
    stop_process(server.process)


def stop_process(process: subprocess.Popen[str]) -> None:
    """Close the standard input of a process, which makes it exit, and wait for that."""
    with process:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)  # of a busy machine


class Host:
    """A process that runs several local Earth Engines; see `server_host`. Started by :func:`hosting`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, *arguments: str, **recordings: str) -> Server:
        """Start a local Earth Engine by the arguments of ``python -m eechips_local.run_server``.

        Keyword arguments are `record` and `replay`, folders of recordings, and `upstream`; see `server_host`.
        """
        return Server(self._ask(arguments=add_workers(arguments), **recordings))

    def stop(self, server: Server) -> None:
        """Stop a server that has been started without recordings, if it is running, and wait for its end."""
        self._ask(stop=server.url)

    def _ask(self, **order: object) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return read_announcement(self._process)["url"]


@contextmanager
def hosting() -> Iterator[Host]:
    """Run a process for local Earth Engines, which is quicker than one each."""
    process = start_process("-c", "from local_tests.support.server_host import main; main()", folder=ROOT)
    try:
        yield Host(process)
    finally:
        stop_process(process)


@contextmanager
def computations_in_flight(server: Server, count: int) -> Iterator[None]:
    """Keep a number of computations in flight inside the block; they receive no response and then disconnect."""
    faults = json.dumps({"seed": 0, "faults": [{"type": "stall", "times": count}]}).encode()
    with urlopen(Request(f"{server.url}/_faults", faults, {"Content-Type": "application/json"})):
        pass
    parts = urlsplit(server.url)
    body = b'{"expression": {"result": "0", "values": {"0": {"constantValue": 7}}}}'
    head = (
        f"POST /v1/projects/local/value:compute HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection((parts.hostname, parts.port), timeout=60))
            connection.sendall(head.encode() + body)
        wait_until(lambda: server.stats()["in_flight"]["now"] == count)
        yield
    wait_until(lambda: server.stats()["in_flight"]["now"] == 0)


def wait_until(holds: Callable[[], object], process: subprocess.Popen[Any] | None = None) -> None:
    """Wait for a condition, for two minutes at most.

    Args:
        process: brings it about; it must not end before.
    """
    start = time.monotonic()
    while not holds():
        assert process is None or process.poll() is None, process.communicate()
        waited = time.monotonic() - start
        assert waited < 120
        # A condition may be a request, which takes as long. A process may soon be past what it is waited for.
        time.sleep(min(0.01 + waited / 100, 0.1) if process is None else 0.01)


@dataclass
class _Initialized:
    """What ``ee.Initialize`` left in the client of this process.

    Attributes:
        listed: SHA-256 digest of the list of functions that it read last.
        functions: the functions that it has made of that list.
        container: ``ee.Algorithms``, which is another after a reset: then the classes of the client may lack functions.
        states: its state for each server, by URL, with the digest of the server's list of functions: that of a test
            may have fewer than others, or other arguments.
    """

    listed: bytes = b""
    functions: Any = None
    container: Any = None
    states: dict[str, tuple[Any, bytes]] = field(default_factory=dict)


_initialized = _Initialized()


def initialize(server: Server) -> Any:
    """Initialize the real client for a server.

    For a server that it was initialized for before, the client gets a copy of the state that it had then. It keeps its
    functions if the server has the same, and nothing else has replaced them. Reading a thousand functions takes 60 ms,
    the rest 14 ms.
    """
    import ee
    from ee import _state
    from google.auth.credentials import AnonymousCredentials

    # With an entry that no asset matches, the client fetches no list of deprecated assets.
    deprecated = {"": ee.deprecation.DeprecatedAsset("", None, None, None)}
    state, listed = _initialized.states.get(server.url, (None, b""))
    is_intact = ee.ApiFunction._api is _initialized.functions and ee.Algorithms is _initialized.container
    if state is None or not is_intact or listed != _initialized.listed:
        with urlopen(f"{server.url}/v1/projects/local/algorithms?prettyPrint=false&alt=json") as response:
            listed = sha256(response.read()).digest()  # by the client's own request, which recorders know
        if is_intact and listed == _initialized.listed:
            ee.data.reset()
            ee.data.initialize(AnonymousCredentials(), f"{server.url}/api", server.url, server.url, project="local")
        else:
            ee.Reset()
            ee.deprecation.deprecated_assets = deprecated
            ee.Initialize(AnonymousCredentials(), url=server.url, project="local")
        ee.data.setMaxRetries(0)
        state = ee.data._get_state()
        _initialized.states[server.url] = state, listed
        _initialized.listed, _initialized.functions = listed, ee.ApiFunction._api
        _initialized.container = ee.Algorithms
    ee.deprecation.deprecated_assets = deprecated
    _state._state = replace(state, workload_tag=type(state.workload_tag)())
    return ee
