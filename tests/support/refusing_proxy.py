"""An HTTP proxy before a server, which refuses requests for some pixels."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from local_tests.support.loopback import QuietServer

Refuse = Callable[[dict[str, Any]], int | None]
"""Return the HTTP status by which a request for a grid (a ``PixelGrid``) is refused; None to pass it on."""


class RefusingProxy:
    """Passes requests on, and counts those for pixels.

    Attributes:
        url: its address.
        passed: grids of the requests that were passed on.
        kinds: kinds of these, such as ``getPixels``.
        refused: grids of those that were refused.
    """

    def __init__(self, target: str, refuse: Refuse) -> None:
        self.target, self.refuse = target, refuse
        self.url = ""
        self.passed: list[dict[str, Any]] = []
        self.kinds: list[str] = []
        self.refused: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    def status_of(self, path: str, body: bytes) -> int | None:
        """Count a request; return the status by which it is refused."""
        if not path.split("?")[0].endswith("Pixels"):
            return None
        grid = json.loads(body)["grid"]
        status = self.refuse(grid)
        with self.lock:
            (self.passed if status is None else self.refused).append(grid)
            self.kinds += [] if status is not None else [path.split("?")[0].rpartition(":")[2]]
        return status


@contextmanager
def refusing_proxy(target: str, refuse: Refuse) -> Iterator[RefusingProxy]:
    """A proxy for the duration of the block."""
    proxy = RefusingProxy(target, refuse)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            status = proxy.status_of(self.path, body)
            if status is not None:
                text = json.dumps({"error": {"code": status, "message": "An internal error has occurred."}})
                self._respond(status, {"content-type": "application/json"}, text.encode())
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            # Not by requests, which eechips throttles in the process of a run.
            connection = HTTPConnection(urlsplit(proxy.target).netloc)
            connection.request(self.command, self.path, body, headers)
            found = connection.getresponse()
            kept = {"content-type": found.headers.get("content-type", "application/octet-stream")}
            self._respond(found.status, kept, found.read())
            connection.close()

        def do_GET(self) -> None:
            self._pass()

        def do_POST(self) -> None:
            self._pass()

        def _respond(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None: ...

    with QuietServer(("127.0.0.1", 0), Handler) as server:
        proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield proxy
        finally:
            server.shutdown()
