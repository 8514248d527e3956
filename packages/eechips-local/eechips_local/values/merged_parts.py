"""Walk the elements of collections that follow from others: those that are merged, or mapped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any


@dataclass(frozen=True, slots=True)
class Prefix:
    """What a merge makes of the elements of one part: the same with a text before their indices.

    Attributes:
        text: the text; an underscore follows it.
        check_time: called before every element; raises where the request's time is over.
    """

    text: str
    check_time: Callable[[], None]

    def __call__(self, elements: Iterable[Any]) -> Iterator[Any]:
        """Yield the elements; those without an index have that of their position."""
        for position, element in enumerate(elements):
            self.check_time()
            index = element.properties.get("system:index", position)
            yield element.with_properties({**element.properties, "system:index": f"{self.text}_{index}"})


def elements_of(parts: Sequence[Any]) -> Iterator[Any]:
    """Yield the elements of parts, one part after the other.

    Of a merge within a merge, the parts are walked instead: scripts merge hundreds of collections, each with the result
    so far, and elements would be copied and kept once for each merge.

    Args:
        parts: each a ``values.Part``.
    """
    waiting = [*reversed(parts)]
    while waiting:
        part = waiting.pop()
        inner = part.source.parts if isinstance(part.transform, Prefix) else ()
        if inner and all(isinstance(nested.transform, Prefix) for nested in inner):
            for nested in reversed(inner):
                text = f"{part.transform.text}_{nested.transform.text}"
                waiting.append(replace(nested, transform=replace(part.transform, text=text)))
        else:
            yield from part.transform(part.source)


def elements_from(collection: Any, start: int) -> Iterator[Any]:
    """Return the elements of a collection from a position on; those before are not computed if they are mapped.

    Args:
        collection: a ``values.Collection``.
        start: position of the first element, from 0.
    """
    if start and len(collection.parts) == 1 and collection.parts[0].is_aligned:
        (part,) = collection.parts
        return iter(part.transform(elements_from(part.source, start)))
    return islice(collection, start, None)
