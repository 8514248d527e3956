"""What tells items from each other: keys of 16 bytes in the place of ids, of which many millions fit into memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

KEY = np.dtype("S16")
"""Of keys: bytes that are compared as a whole."""

_DIGITS = 16  # of the key of a hash


@dataclass(frozen=True, slots=True)
class KeyIndex:
    """Of rows.

    Attributes:
        keys: see :func:`keys_of`; shape (n,).
        stamps: when they were updated, see :func:`~eechips.catalogs.columns.stamps_of`; shape (n,).
    """

    keys: npt.NDArray[np.bytes_]
    stamps: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.keys)


def keys_of(ids: pa.ChunkedArray | pa.Array, owner: str) -> npt.NDArray[np.bytes_]:
    """Keys of items; shape (n,), dtype ``S16``.

    They are two SipHashes of the id (https://131002.net/siphash/), each of 64 bits, under keys that are made of the
    owner: of a billion items two agree by chance once in 7e20 catalogues.

    Args:
        ids: of the items.
        owner: that gives each id once: the folder of a collection.
    """
    from pandas.util import hash_array

    secret = hashlib.sha256(owner.encode()).hexdigest()
    texts = ids.to_numpy(zero_copy_only=False) if isinstance(ids, pa.Array) else ids.to_numpy()
    found = np.empty((len(texts), 2), np.uint64)
    for half in range(2):
        key = secret[half * _DIGITS : (half + 1) * _DIGITS]
        found[:, half] = hash_array(texts.astype(object), hash_key=key, categorize=False)
    return found.view(KEY).ravel()


def found_in(
    wanted: npt.NDArray[np.bytes_], keys: npt.NDArray[np.bytes_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where keys stand among others.

    Args:
        wanted: sorted, each of them once.
        keys: in any order.

    Returns:
        Numbers in ``keys`` and in ``wanted`` of those that both have.
    """
    if not len(wanted):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    order = np.argsort(keys, kind="stable")  # neighbours are looked up one after the other: ten times as fast
    places = np.minimum(np.searchsorted(wanted, keys[order]), len(wanted) - 1)
    is_there = wanted[places] == keys[order]
    return order[is_there], places[is_there]
