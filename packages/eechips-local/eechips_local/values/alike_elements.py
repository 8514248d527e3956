"""Know the number and the properties of mapped elements by examples that are alike, without making all of them.

The images of a dataset are of few kinds. What succeeds for one image of each kind, and depends on nothing in which
images of a kind differ, succeeds for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from eechips_local.protocol.request_errors import EarthEngineError
from eechips_local.values.merged_parts import Part

Collection = Any
"""A ``values.Collection``, whose module uses this one."""

_MOST = 64  # examples; with more, as in merges of many collections, the elements are walked
_NONE: frozenset[str] = frozenset()


def examples_of(collection: Collection, names: frozenset[str]) -> Sequence[Any] | None:
    """Return examples of a collection of parts; see ``Collection.examples``."""
    if not collection.parts:
        return None
    examples: list[Any] = []
    for part in collection.parts:
        following = _following(part, names)
        if following is None or len(examples) + len(following) > _MOST:
            return None
        examples.extend(following)
    return examples


def _following(part: Part, names: frozenset[str]) -> Sequence[Any] | None:
    """Return examples of what follows from the elements of a part; None also where that may fail."""
    if not all(map(part.keeps, names)):
        return None
    reads = frozenset() if part.has_same_bands else part.reads()
    sources: Sequence[Any] | None = None if reads is None else part.source.examples(names | reads)
    if sources is None or part.has_same_bands:
        return sources
    try:
        return list(part.transform(sources))
    except EarthEngineError:
        return None  # those that fail may not be among the elements, which will tell


def count_of(parts: Sequence[Part]) -> int | None:
    """Return the number of elements of parts, if that is known without making them."""
    total = 0
    for part in parts:
        if not part.is_aligned or (count := part.source.known_count) is None:
            return None
        if not part.has_same_bands and _following(part, _NONE) is None:
            return None
        total += count
    return total


def bare(collection: Collection, names: frozenset[str] = _NONE) -> Collection:
    """Return as many elements, with the same values of some properties, without what is mapped over them.

    Only what cannot fail is left out: a walk through the elements makes no more of them than it looks at.

    Args:
        collection: a collection whose elements will not be used otherwise.
        names: names of the properties. If there are none, the order may differ.
    """
    if not names and collection.order is not None:
        return bare(collection.order.source)
    if collection.order is not None:
        source = bare(collection.order.source, names | {collection.order.key})
        return collection if source is collection.order.source else source.reordered(*collection.order[1:])
    parts = [_bare_part(part, names) for part in collection.parts]
    if all(new is old for new, old in zip(parts, collection.parts, strict=True)):
        return collection
    return type(collection).of_parts(collection.element, parts)


def _bare_part(part: Part, names: frozenset[str]) -> Part:
    needed = names
    is_sure = part.has_same_bands or _following(part, _NONE) is not None
    is_left_out = part.is_aligned and is_sure and all(map(part.keeps, names))
    if not is_left_out:
        reads = part.reads() if part.has_same_bands else None
        if reads is None:
            return part
        needed = names | reads
    source = bare(part.source, needed)
    if is_left_out:
        return Part(source, iter, lambda name: True, is_aligned=True, has_same_bands=True)
    return part if source is part.source else replace(part, source=source)
