"""A server on loopback that responds by a function."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from local_tests.support.loopback import QuietServer, serving

Answer = tuple[int, Mapping[str, str], bytes]
"""Status, headers, body."""


@contextmanager
def serve_function(
    answer: Callable[[str, Mapping[str, str], bytes], Answer], encryption: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Serves until the block ends; gives its address.

    Args:
        answer: answer of path, headers and body of a request; ``Content-Length`` is added if it is not among the
            headers.
        encryption: for https.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            status, headers, body = answer(self.path, dict(self.headers), self.rfile.read(length))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_POST = do_HEAD = do_GET  # noqa: N815 - names of http.server

        def log_message(self, *_: object) -> None:
            pass

    with QuietServer(("127.0.0.1", 0), Handler) as server:
        if encryption is not None:
            server.socket = encryption.wrap_socket(server.socket, server_side=True)
        with serving(server) as url:
            yield url if encryption is None else url.replace("http:", "https:")
