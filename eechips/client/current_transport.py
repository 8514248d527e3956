"""Give the functions of a recipe access to the transport of their process.

Recipes that read through GDAL need its retry policy, its quota, and its signal to stop.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

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
