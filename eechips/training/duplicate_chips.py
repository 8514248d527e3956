"""Find duplicate chips by equal fingerprints, and near duplicates by similar perceptual hashes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint8]
"""A row of bytes for each hash."""

_BITS_SET = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)
_AT_ONCE = 20_000_000  # bytes that are compared at a time


def equals(keys: Sequence[str | None]) -> dict[int, int]:
    """Return the index of the first equal key for each later one; None equals no key."""
    first: dict[str, int] = {}
    found = {}
    for index, key in enumerate(keys):
        if key is not None and first.setdefault(key, index) != index:
            found[index] = first[key]
    return found


def alike(
    hashes: Sequence[str | None], distance: int, agree: Callable[[int, int], bool] = lambda one, other: True
) -> dict[int, int]:
    """Return the rows with a hash similar to an earlier one, and the earlier rows.

    A place is a repetition of the first one before it whose hash differs in so few bits, and that is no repetition
    itself: what is found is like what is kept, never like something that is like it.

    Args:
        hashes: hexadecimal, all of one length; None is like nothing.
        distance: bits that may differ.
        agree: whether two places that are alike may count as such, by other features.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for index, text in enumerate(hashes):
        if text is not None:
            places[text].append(index)
    texts = list(places)
    near: dict[int, list[int]] = defaultdict(list)
    for one, other in near_pairs(np.array([list(bytes.fromhex(text)) for text in texts], dtype=np.uint8), distance):
        near[one].append(other)
        near[other].append(one)
    number = {text: index for index, text in enumerate(texts)}
    kept: dict[int, list[int]] = defaultdict(list)
    found = {}
    for index, text in enumerate(hashes):
        if text is None:
            continue
        own = number[text]
        candidates = sorted(place for each in (own, *near[own]) for place in kept[each])
        original = next((place for place in candidates if agree(place, index)), None)
        if original is None:
            kept[own].append(index)
        else:
            found[index] = original
    return found


def near_pairs(hashes: Hashes, distance: int) -> Iterator[tuple[int, int]]:
    """Find all pairs of different hashes that differ in few bits, each once, the lower index first.

    The bits are cut into one part more than may differ: of two hashes that are near, some part is the same. So only
    hashes that share a part are compared.

    Args:
        hashes: (n, bytes), no two the same.
        distance: bits that may differ.
    """
    if len(hashes) < 2 or distance < 1:
        return
    bits = np.unpackbits(hashes, axis=1)
    edges = np.linspace(0, bits.shape[1], distance + 2).astype(int)
    parts = [np.packbits(bits[:, start:end], axis=1) for start, end in pairwise(edges)]
    for number, part in enumerate(parts):
        for group in _groups(part):
            yield from _compared(hashes, group, distance, parts[:number])


def _groups(part: Hashes) -> Iterator[npt.NDArray[np.intp]]:
    """Return the groups of equal rows."""
    _, inverse, counts = np.unique(part, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(inverse.ravel(), kind="stable")
    ends = np.cumsum(counts)
    for start, end in zip((ends - counts)[counts > 1], ends[counts > 1], strict=True):
        yield order[start:end]


def _compared(
    hashes: Hashes, group: npt.NDArray[np.intp], distance: int, earlier: Sequence[Hashes]
) -> Iterator[tuple[int, int]]:
    """Yield the near pairs of a group, without those that share an earlier part, which were found there."""
    rows = max(1, _AT_ONCE // (len(group) * hashes.shape[1]))
    for start in range(0, len(group), rows):
        ones = group[start : start + rows]
        differing = _BITS_SET[hashes[ones][:, None] ^ hashes[group[start:]][None]].sum(axis=-1, dtype=np.int64)
        first, second = np.nonzero(np.triu(differing <= distance, 1))
        for one, other in zip(ones[first].tolist(), group[start:][second].tolist(), strict=True):
            if not any((part[one] == part[other]).all() for part in earlier):
                yield min(one, other), max(one, other)
