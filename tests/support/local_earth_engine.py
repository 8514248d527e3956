"""A local Earth Engine as a process of its own, and the real client that talks to it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen


@dataclass(frozen=True)
class Server:
    """A local Earth Engine that is running."""

    url: str
    process: subprocess.Popen[str]

    def stats(self) -> dict[str, Any]:
        """Return its statistics: requests by kind, responses by status, requests in flight."""
        with urlopen(f"{self.url}/_stats") as response:
            found: dict[str, Any] = json.load(response)
        return found

    def requests(self) -> dict[str, int]:
        """Return the number of requests by kind."""
        counted: dict[str, int] = self.stats()["requests"]
        return counted


def start_server(*arguments: str) -> Server:
    """Start a local Earth Engine, which ends when its standard input does.

    It computes in one process unless the arguments say otherwise: each of several would draw the demo planet again.
    """
    if "--workers" not in arguments:
        arguments = (*arguments, "--workers", "1")
    process = subprocess.Popen(
        [sys.executable, "-m", "eechips.emulator", "--port", "0", "--exit-with-parent", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"The local Earth Engine did not start: exit status {process.wait()}.")
    return Server(json.loads(line)["url"], process)


def stop_server(server: Server) -> None:
    """Close its standard input and wait for its end."""
    with server.process as process:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(20)


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


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for a condition, for a minute at most."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def initialize(server: Server) -> Any:
    """Initialize the real client for a server."""
    import ee
    from google.auth.credentials import AnonymousCredentials

    ee.Reset()
    ee.Initialize(AnonymousCredentials(), url=server.url, project="local")
    ee.data.setMaxRetries(0)
    return ee
