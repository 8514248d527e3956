"""Set a context variable for the duration of a block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def context_value(variable: ContextVar[T], value: T) -> Iterator[None]:
    """Give a context variable a value inside the block; blocks nest."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
