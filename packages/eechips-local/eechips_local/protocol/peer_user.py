"""Reject requests of other users of the machine than the one who started the server.

A port of the loopback interface can be reached by all users of a machine, such as the login node of a cluster. Requests
read the assets of the server's user and write to its folders; those to a recorder have that user's credentials.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from eechips_local.protocol.http import http_response
from eechips_local.protocol.messages import error_response
from eechips_local.protocol.request_errors import EarthEngineError, UnavailableError
from eechips_local.protocol.source_checks import ForbiddenError

# https://man7.org/linux/man-pages/man7/sock_diag.7.html
_SOCK_DIAG, _BY_FAMILY, _REQUEST, _ERROR = 4, 20, 1, 2
_ALL_STATES = 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_QUESTION = struct.Struct("=BBBxI")  # inet_diag_req_v2, before the socket
_SOCKET = struct.Struct("!HH4s12x4s12x12s")  # inet_diag_sockid; the last are the interface and the cookie
_NO_COOKIE = bytes(4) + b"\xff" * 8
_USER_OFFSET = _HEADER.size + 4 + _SOCKET.size + 12  # of uid and inode in inet_diag_msg
_ANY = ("0.0.0.0", 0)
_ROOT = 0
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Address = tuple[str, int]
"""IPv4 address and port."""


@dataclass(frozen=True, slots=True)
class SocketOwner:
    """Who owns a socket.

    Attributes:
        user: id of the user; of no meaning if its process has closed it.
        inode: number of the open socket; 0 if its process has closed it.
    """

    user: int
    inode: int


class OwnUserOnly:
    """Middleware that rejects requests of other users of this machine, where the system tells them apart (Linux).

    Whether it does is found out once: a request is then answered only if its sender is known, also where the system
    has no file descriptors left, which other users can bring about. A closed socket has no owner.

    Args:
        app: the application.
        users: ids of the users who are answered; None for that of this process and root.

    Raises:
        OSError: if the system has no file descriptors or memory left.
    """

    def __init__(self, app: ASGIApp, users: frozenset[int] | None = None) -> None:
        self._app = app
        self._users = frozenset((os.getuid(), _ROOT)) if users is None else users
        self._is_checked = _tells_owners()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Process a request, or reject it."""
        if scope["type"] == "http" and self._is_checked:
            try:
                self._check(scope["client"], scope["server"])
            except EarthEngineError as error:
                await http_response(error_response(error))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, client: Address | None, server: Address) -> None:
        try:
            owner = None if client is None else find_owner(client, server)
        except OSError as error:
            raise UnavailableError(f"The system does not tell whose request this is: {error.strerror}.") from error
        if owner is None or not owner.inode or owner.user not in self._users:
            raise ForbiddenError("This server answers the user who has started it, and no other user of the machine.")


def _tells_owners() -> bool:
    """Return whether this system tells whose sockets are, by asking for one; some sandboxes do not.

    Raises:
        OSError: if it has no file descriptors or memory left.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        try:
            return find_owner(listener.getsockname(), _ANY) is not None
        except OSError as error:
            if error.errno in _EXHAUSTED:
                raise
            return False


def find_owner(local: Address, remote: Address) -> SocketOwner | None:
    """Return the owner of a TCP socket of this machine, also of one of IPv6 with IPv4 addresses; None if not known.

    Args:
        local: address of the socket.
        remote: address that it is connected to; 0.0.0.0 and port 0 for one that listens.

    Raises:
        OSError: if the system does not answer.
    """
    family = getattr(socket, "AF_NETLINK", None)
    if family is None:
        return None
    ports, addresses = (local[1], remote[1]), (socket.inet_aton(local[0]), socket.inet_aton(remote[0]))
    question = _QUESTION.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, _ALL_STATES)
    question += _SOCKET.pack(*ports, *addresses, _NO_COOKIE)
    with socket.socket(family, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.sendto(_HEADER.pack(_HEADER.size + len(question), _BY_FAMILY, _REQUEST, 0, 0) + question, (0, 0))
        answer = kernel.recv(4096)
    if _HEADER.unpack_from(answer)[1] == _ERROR:
        number = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        if number == errno.ENOENT:
            return None
        raise OSError(number, os.strerror(number))
    if _SOCKET.unpack_from(answer, _HEADER.size + 4)[:2] != ports:
        return None  # no such socket, but one that listens at its port
    return SocketOwner(*struct.unpack_from("=II", answer, _USER_OFFSET))
