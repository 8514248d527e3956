"""Digests by the names that checksums have."""

from __future__ import annotations

import hashlib
from typing import Any


def new_digest(algorithm: str) -> Any:
    """A digest of nothing as yet.

    Args:
        algorithm: of hashlib; of BLAKE2 with the bytes of the digest, as ``blake2b-32``.
    """
    name, _, size = algorithm.partition("-")
    if size:
        return {"blake2b": hashlib.blake2b, "blake2s": hashlib.blake2s}[name](digest_size=int(size))
    return hashlib.new(name, usedforsecurity=False)
