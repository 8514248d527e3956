"""Bind threads to the transport of the run that they work for: a process may have several runs after one another."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eechips.client.transport import Transport

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
