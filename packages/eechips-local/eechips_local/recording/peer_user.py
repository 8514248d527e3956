"""Answer the user of the recorder alone: its requests have that user's credentials.

A port of the loopback interface can be reached by all users of a machine, such as the login node of a cluster.
"""

from __future__ import annotations

import os
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from eechips_local.protocol.access import ForbiddenError
from eechips_local.protocol.http import http_response
from eechips_local.protocol.messages import error_response

_SOCKETS = Path("/proc/net/tcp")
"""Sockets of IPv4, with the user of each: https://docs.kernel.org/networking/proc_net_tcp.html."""
_LOOPBACK = "0100007F"
_LOCAL, _REMOTE, _USER = 1, 2, 7  # columns
_ROOT = 0


class OwnUserOnly:
    """Middleware that rejects requests of other users of this machine, where the system tells them apart (Linux).

    Args:
        app: the application.
        users: ids of the users who are answered; None for that of this process and root.
    """

    def __init__(self, app: ASGIApp, users: frozenset[int] | None = None) -> None:
        self._app = app
        self._users = frozenset((os.getuid(), _ROOT)) if users is None else users

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Process a request, or reject it."""
        if scope["type"] == "http":
            user = find_user(scope["client"][1], scope["server"][1])
            if user is not None and user not in self._users:
                error = ForbiddenError("The recorder answers the user who has started it, and no other.")
                await http_response(error_response(error))(scope, receive, send)
                return
        await self._app(scope, receive, send)


def find_user(port: int, server: int) -> int | None:
    """Return the id of the user whose socket is connected to a server of this machine; None if that is unknown.

    Args:
        port: port of the socket, on the loopback interface.
        server: port of the server.
    """
    ends = f"{_LOOPBACK}:{port:04X}", f"{_LOOPBACK}:{server:04X}"
    try:
        lines = _SOCKETS.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return None
    for columns in map(str.split, lines):
        if (columns[_LOCAL], columns[_REMOTE]) == ends:
            return int(columns[_USER])
    return None
