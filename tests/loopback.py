"""Servers of HTTP on loopback."""

from __future__ import annotations

from http.server import ThreadingHTTPServer


class LoopbackServer(ThreadingHTTPServer):
    """A server that loses no connection when many come at once: of Python's own, the sixth may wait half a minute."""

    request_queue_size = 128
