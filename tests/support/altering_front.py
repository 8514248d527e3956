"""A front of a server that alters responses, or takes part of them from other requests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

from local_tests.support.loopback import QuietServer, serving
from tests.support.framing_front import Answer, forward

Alter = Callable[[str, bytes, Answer], Answer]
"""Of the path and body of a request and its response: the response that is sent."""


@contextlib.contextmanager
def altering_front(server: str, alter: Alter) -> Iterator[str]:
    """Serve the altered responses of a server at the returned URL, until the block ends.

    Args:
        server: address of the server behind the front.
        alter: see `Alter`; called by several threads.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._exchange()

        def do_POST(self) -> None:
            self._exchange()

        def _exchange(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items() if name.lower() != "accept-encoding"}
            answer = alter(self.path, body, forward(server, self.command, self.path, headers, body))
            with contextlib.suppress(ConnectionError):
                self.wfile.write(answer.plain)

    with QuietServer(("127.0.0.1", 0), Handler) as listening, serving(listening) as url:
        yield url
