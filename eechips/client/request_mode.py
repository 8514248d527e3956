"""Hold how a thread sends its requests: through which transport, and in which mode."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eechips.client.http_messages import HttpRequest
from eechips.client.retry import RetryPolicy
from eechips.client.usage import Usage

if TYPE_CHECKING:
    from eechips.client.transport import Transport


@dataclass(frozen=True, slots=True)
class RequestMode:
    """How the requests of a thread are sent.

    Attributes:
        usage: counts the requests; None outside of :meth:`Transport.metered`.
        policy: policy of retries; None for that of the transport.
        accept: checks the bodies of responses to the client; None outside of :meth:`Transport.checking`.
        captured: receives requests of the client, which are not sent; None to send them.
    """

    usage: Usage | None = None
    policy: RetryPolicy | None = None
    accept: Callable[[bytes], object] | None = None
    captured: list[HttpRequest] | None = None


class ThreadMode(threading.local):
    """The mode of each thread."""

    mode = RequestMode()


_TRANSPORT: ContextVar[Transport | None] = ContextVar("transport", default=None)


@contextlib.contextmanager
def use_transport(transport: Transport) -> Iterator[None]:
    """Make :func:`current_transport` return a transport in this thread, inside the block."""
    token = _TRANSPORT.set(transport)
    try:
        yield
    finally:
        _TRANSPORT.reset(token)


def current_transport() -> Transport | None:
    """Return the transport of the run that this is part of; None outside of one."""
    return _TRANSPORT.get()
