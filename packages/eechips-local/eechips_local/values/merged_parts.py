"""Walk the elements of collections that are merged, which puts prefixes before ``system:index``, or mapped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

from eechips_local.evaluation.lazy_values import updated

Collection = Any
"""A ``values.Collection``, whose module uses this one."""


def _nothing_known() -> None:
    return None


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Elements, each of which is derived from one element of a collection.

    Attributes:
        transform: yields what follows from elements of the source, in their order; one or none for each.
        keeps: whether what follows from an element has its value of a property, or for ".geo" its geometry.
        is_aligned: whether each element has one that follows from it.
        reads: returns the names of the properties that decide, perhaps with bands, which bands follow from an element
            and whether that fails; None if anything else may.
        has_same_bands: whether what follows from an element has its bands, whatever these are, and that never fails.
    """

    source: Collection
    transform: Callable[[Iterable[Any]], Iterator[Any]]
    keeps: Callable[[str], bool]
    is_aligned: bool = False
    reads: Callable[[], frozenset[str] | None] = _nothing_known
    has_same_bands: bool = False


class Order(NamedTuple):
    """The order of a collection that has the elements of another one.

    Attributes:
        source: the other one.
        sort: yields its elements in order.
        key: name of the property that decides.
    """

    source: Collection
    sort: Callable[[Collection], Iterator[Any]]
    key: str


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
            yield element.with_properties(updated(element.properties, {"system:index": f"{self.text}_{index}"}))


def elements_of(parts: Sequence[Part]) -> Iterator[Any]:
    """Yield the elements of parts, one part after the other.

    Of a merge within a merge, the parts are walked instead: scripts merge hundreds of collections, each with the result
    so far, and elements would be copied and kept once for each merge.
    """
    waiting = [*reversed(parts)]
    while waiting:
        part = waiting.pop()
        own, inner = part.transform, part.source.parts
        prefixes = [nested.transform for nested in inner if isinstance(nested.transform, Prefix)]
        if isinstance(own, Prefix) and inner and len(prefixes) == len(inner):
            for nested, prefix in zip(reversed(inner), reversed(prefixes), strict=True):
                waiting.append(replace(nested, transform=replace(own, text=f"{own.text}_{prefix.text}")))
        else:
            yield from own(part.source)


def elements_from(collection: Collection, start: int) -> Iterator[Any]:
    """Return the elements of a collection from a position on; those before are not computed if they are mapped.

    Args:
        collection: the collection.
        start: position of the first element, from 0.
    """
    if start and len(collection.parts) == 1 and collection.parts[0].is_aligned:
        (part,) = collection.parts
        return iter(part.transform(elements_from(part.source, start)))
    return islice(collection, start, None)
