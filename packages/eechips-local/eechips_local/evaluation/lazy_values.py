"""Sequences and mappings whose items are made when they are first looked at."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any, TypeVar, overload

T = TypeVar("T")


class LazySequence(Sequence[T]):
    """A sequence whose items are created together on first use.

    Args:
        make: makes the items.
    """

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], Sequence[T]]) -> None:
        self._make = make
        self._made: Sequence[T] | None = None

    def _items(self) -> Sequence[T]:
        if self._made is None:
            self._made = self._make()
        return self._made

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...

    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self._items()[index]

    def __iter__(self) -> Iterator[T]:
        return iter(self._items())

    def __len__(self) -> int:
        return len(self._items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))


class Later:
    """A value of a :class:`LazyMapping` that is computed on first use, and once for all mappings that have it.

    Args:
        make: computes it.
    """

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make: Callable[[], Any] | None = make
        self._made: Any = None

    def value(self) -> Any:
        """Return the value."""
        if self._make is not None:
            self._made = self._make()
            self._make = None  # it may hold much
        return self._made


class LazyMapping(Mapping[str, Any]):
    """A mapping of which some values are computed on first use.

    Args:
        values: values by key; those that are :class:`Later` are computed when they are asked for.
        others: makes the values of all other keys when one of them is asked for.
    """

    __slots__ = ("_others", "_values")

    def __init__(self, values: Mapping[str, Any], others: Callable[[], Mapping[str, Any]] | None = None) -> None:
        self._values = dict(values)
        self._others = others

    def all_values(self) -> dict[str, Any]:
        """Return the values by key; what is computed later stays :class:`Later`."""
        others = self._others
        if others is not None:  # two threads may both make them
            self._values |= others()
            self._others = None
        return self._values

    def __getitem__(self, key: str) -> Any:
        values = self._values if key in self._values else self.all_values()
        value = values[key]
        if isinstance(value, Later):
            value = values[key] = value.value()
        return value

    def __contains__(self, key: object) -> bool:
        return key in self._values or key in self.all_values()

    def __iter__(self) -> Iterator[str]:
        return iter(self.all_values())

    def __len__(self) -> int:
        return len(self.all_values())


def uncomputed(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a mapping in which what is computed later stays :class:`Later`."""
    return dict(mapping.all_values() if isinstance(mapping, LazyMapping) else mapping)


def without(mapping: Mapping[str, Any], keys: Container[str]) -> Mapping[str, Any]:
    """Return a mapping without some keys; what is computed later stays :class:`Later`."""
    rest = {key: value for key, value in uncomputed(mapping).items() if key not in keys}
    return LazyMapping(rest) if isinstance(mapping, LazyMapping) else rest


def updated(mapping: Mapping[str, Any], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a mapping with other values of some keys; what is computed later stays :class:`Later`."""
    is_plain = not isinstance(mapping, LazyMapping) and not isinstance(values, LazyMapping)
    if is_plain and not any(isinstance(value, Later) for value in values.values()):
        return {**mapping, **values}
    return LazyMapping({**uncomputed(mapping), **uncomputed(values)})
