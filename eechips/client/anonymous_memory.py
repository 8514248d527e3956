"""Allocate memory that only processes holding its descriptor can reach (memfd_create(2))."""

from __future__ import annotations

import os


def allocate_anonymous_memory(name: str, size: int) -> int | None:
    """Allocate memory that has a descriptor.

    Args:
        name: what the system shows of it in ``/proc``.
        size: bytes. They are zero, and allocated now: a hole would end the process when memory is short.

    Returns:
        The descriptor; None if the system has no such memory (macOS), or forbids it.

    Raises:
        OSError: if there is not enough memory.
    """
    try:
        descriptor = os.memfd_create(name)
    except (AttributeError, OSError):
        return None
    os.pwrite(descriptor, bytes(size), 0)
    return descriptor
