"""Servers of HTTP on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from socketserver import TCPServer


class LoopbackServer(ThreadingHTTPServer):
    """A server that loses no connection when many come at once: of Python's own, the sixth may wait half a minute."""

    request_queue_size = 128


class QuietServer(LoopbackServer):
    """One whose clients go away, as they are killed or interrupted: that is nothing to be told of."""

    def handle_error(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def serving(server: TCPServer) -> Iterator[str]:
    """Serve in a thread inside the block; yield the server's address. It is not closed."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
