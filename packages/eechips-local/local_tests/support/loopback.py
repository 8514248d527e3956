"""Servers of HTTP on loopback."""

from __future__ import annotations

from http.server import ThreadingHTTPServer


class LoopbackServer(ThreadingHTTPServer):
    """A server that loses no connection when many come at once: of Python's own, the sixth may wait half a minute."""

    request_queue_size = 128


class QuietServer(LoopbackServer):
    """One whose clients go away, as they are killed or interrupted: that is nothing to be told of."""

    def handle_error(self, *_: object) -> None:
        """Says nothing."""
