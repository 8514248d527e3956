"""Record what calls change in objects that processes share, and repeat the changes in the script's objects.

The process that holds the objects of a ``multiprocessing.Manager`` ends with the script. A resumed script has new
objects, without what completed calls have put into them. Calls have copies of each ``Value`` and ``Array``: what they
add to its numbers is added up; of what they assign, the last in the plan's order remains, or the best, as a maximum.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import managers, sharedctypes
from numbers import Number
from typing import Any
from weakref import WeakSet

from eechips.scripts.pooling.call_variables import Call, variables_of
from eechips.scripts.replacements.name_replacement import replace_names

_CHANGING = frozenset({
    "__delattr__", "__delitem__", "__setattr__", "__setitem__", "append", "clear", "extend", "insert", "pop", "popitem",
    "put", "put_nowait", "remove", "reverse", "set", "setdefault", "sort", "update",
})  # fmt: skip
"""Methods of lists, dicts, queues, values and namespaces."""

_MOST_LEVELS, _MOST_ITEMS = 2, 1000
"""Containers in each other, and items of one, among which managed objects are sought."""


@dataclass(frozen=True, slots=True)
class ManagedChange:
    """A change of a managed object by a call.

    Attributes:
        path: name of the variable or argument, then keys and positions of the object in it.
        method: method of the object.
    """

    path: tuple[Any, ...]
    method: str
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SharedChange:
    """How a call has changed a number of a ``Value`` or ``Array``.

    Attributes:
        name: variable that has it, or number of an argument of the pool's initializer.
        position: 0 for a ``Value``.
        number: what the call has added to the number, or assigned.
        is_assigned: whether the call has assigned it.
        comparisons: what the call has compared the number with: operation, other number, and result.
    """

    name: str
    position: int
    number: Any
    is_assigned: bool
    comparisons: tuple[tuple[str, Any, bool], ...] = ()


_Place = tuple[int, int]
"""Identity of a ``Value`` or ``Array``, and position of a number in it."""

_attached: WeakSet[Any] = WeakSet()
"""Blocks of shared memory that this process has attached."""


@contextlib.contextmanager
def note_memory() -> Iterator[None]:
    """Note blocks of shared memory that are attached inside the block, for `has_memory`."""
    from multiprocessing.shared_memory import SharedMemory

    attach = SharedMemory.__init__

    def attach_noted(self: Any, *arguments: Any, **options: Any) -> None:
        attach(self, *arguments, **options)
        _attached.add(self)

    with replace_names(SharedMemory, __init__=attach_noted):
        yield


def has_memory() -> bool:
    """Return whether calls of this process may change shared memory, which ends with the script."""
    return bool(_attached)


@contextlib.contextmanager
def record_numbers(call: Call, initargs: Iterable[Any]) -> Iterator[list[SharedChange]]:
    """Record, at the end of the block, how a call in it has changed shared numbers."""
    shared = {name: (value, _numbers(value)) for name, value in _shared_numbers(call, initargs).items()}
    changes: list[SharedChange] = []
    if not shared:
        yield changes
        return
    assigned: set[_Place] = set()
    comparisons: dict[_Place, list[tuple[str, Any, bool]]] = {}
    with _tracing(assigned, comparisons):
        yield changes
    for name, (value, before) in shared.items():
        for position, (former, now) in enumerate(zip(before, _numbers(value), strict=True)):
            place = id(value), position
            is_changed = now != former and (now == now or former == former)  # NaN differs from itself
            # Nothing is added to NaN, which an array may have in the place of results.
            if place in assigned or (is_changed and not math.isfinite(former)):
                changes.append(SharedChange(name, position, now, True, tuple(comparisons.get(place, ()))))
            elif is_changed:
                changes.append(SharedChange(name, position, now - former, False))


@contextlib.contextmanager
def _tracing(assigned: set[_Place], comparisons: dict[_Place, list[tuple[str, Any, bool]]]) -> Iterator[None]:
    """Note shared numbers that are compared, and those that are assigned, unless to sums with what they were."""
    of_value, of_array = sharedctypes.Synchronized, sharedctypes.SynchronizedArray
    number, get, put = vars(of_value)["value"], of_array.__getitem__, of_array.__setitem__

    def traced(value: Any, place: _Place) -> Any:
        kind = _TRACED.get(type(value))
        before_assignment = comparisons.setdefault(place, []) if place not in assigned else []
        return value if kind is None else kind.of(value, place, before_assignment)

    def note(new: Any, place: _Place) -> None:
        if getattr(new, "place", None) != place:
            assigned.add(place)

    def set_value(shared: Any, new: Any) -> None:
        note(new, (id(shared), 0))
        number.__set__(shared, new)

    def get_item(shared: Any, key: Any) -> Any:
        stored = get(shared, key)
        return stored if isinstance(key, slice) else traced(stored, (id(shared), range(len(shared))[key]))

    def set_item(shared: Any, key: Any, new: Any) -> None:
        put(shared, key, new)
        positions = range(len(shared))[key]
        for position in positions if isinstance(positions, range) else (positions,):
            note(new, (id(shared), position))

    get_value = property(lambda shared: traced(number.__get__(shared), (id(shared), 0)), set_value)
    with replace_names(of_value, value=get_value), replace_names(of_array, __getitem__=get_item, __setitem__=set_item):
        yield


class _Traced:
    """A number that knows which shared number it was, or is a sum with, and what it is compared with."""

    place: _Place
    comparisons: list[tuple[str, Any, bool]]

    @classmethod
    def of(cls, number: Any, place: _Place, comparisons: list[tuple[str, Any, bool]]) -> _Traced:
        traced = cls(number)  # type: ignore[call-arg]
        traced.place, traced.comparisons = place, comparisons
        return traced

    def __reduce__(self) -> Any:
        kind = type(self).__mro__[2]
        return kind, (kind(self),)


def _operation(kind: type, name: str) -> Callable[[Any, Any], Any]:
    def compared(self: Any, other: Any) -> Any:
        result = getattr(kind, name)(self, other)
        if isinstance(result, bool) and isinstance(other, (int, float)):
            self.comparisons.append((name, kind(other), result))
        return result

    def summed(self: Any, other: Any) -> Any:
        result = getattr(kind, name)(self, other)
        return type(self).of(result, self.place, []) if type(result) is kind else result

    return summed if name in _SUMS else compared


_SUMS = ("__add__", "__radd__", "__sub__")
_COMPARISONS = ("__lt__", "__le__", "__gt__", "__ge__")
_TRACED: dict[type, Any] = {
    kind: type(f"Traced_{kind.__name__}", (_Traced, kind), {n: _operation(kind, n) for n in (*_SUMS, *_COMPARISONS)})
    for kind in (int, float)
}


def repeat_numbers(changes: Iterable[SharedChange], call: Call, initargs: Iterable[Any]) -> None:
    """Change the script's shared numbers as a call has changed its copies.

    What the call would not have assigned, by its comparisons, remains: a maximum of other calls.
    """
    changes = tuple(changes)
    shared = _shared_numbers(call, initargs) if changes else {}
    for change in changes:
        if (value := shared.get(change.name)) is None:
            continue
        with value.get_lock():
            content, present = value.get_obj(), _numbers(value)[change.position]
            if any(getattr(operator, name)(present, other) != result for name, other, result in change.comparisons):
                continue
            number = change.number if change.is_assigned else present + change.number
            if isinstance(content, ctypes.Array):
                content[change.position] = number
            else:
                content.value = number


def _shared_numbers(call: Call, initargs: Iterable[Any]) -> dict[str, Any]:
    """Return shared numbers by name, each once: the initializer may make an argument a variable in the worker only."""
    named = {**{f"initializer {number}": value for number, value in enumerate(initargs)}, **variables_of(call)}
    shared: dict[int, tuple[str, Any]] = {}
    for name, value in named.items():
        if isinstance(value, sharedctypes.SynchronizedBase) and all(isinstance(n, Number) for n in _numbers(value)):
            shared.setdefault(id(value), (name, value))
    return dict(shared.values())


def _numbers(value: Any) -> tuple[Any, ...]:
    content = value.get_obj()
    return tuple(content) if isinstance(content, ctypes.Array) else (getattr(content, "value", None),)


@contextlib.contextmanager
def record_changes(call: Call, initargs: Iterable[Any]) -> Iterator[list[ManagedChange]]:
    """Record the changes of managed objects inside the block, which makes a call.

    Args:
        initargs: arguments of the pool's initializer, which may make its objects variables.
    """
    changes: list[ManagedChange] = []
    if not managers.BaseProxy._address_to_local:  # this process has none
        yield changes
        return
    paths = {_key(managed): path for path, managed in _managed_objects(call, initargs)}
    original = managers.BaseProxy._callmethod

    def call_method(self: Any, methodname: str, args: tuple[Any, ...] = (), kwds: Any = None) -> Any:
        value = original(self, methodname, args, kwds or {})
        path = paths.get(_key(self)) if methodname in _CHANGING else None
        if path is not None and not any(isinstance(argument, managers.BaseProxy) for argument in args):  # lost, too
            changes.append(ManagedChange(path, methodname, tuple(args), dict(kwds or {})))
        return value

    with replace_names(managers.BaseProxy, _callmethod=call_method):
        yield changes


def repeat_changes(changes: Iterable[ManagedChange], call: Call, initargs: Iterable[Any]) -> None:
    """Make the changes that the same call has made in an earlier run of the script."""
    changes = tuple(changes)
    managed_objects = dict(_managed_objects(call, initargs)) if changes else {}
    for change in changes:
        if (managed := managed_objects.get(change.path)) is not None:
            with contextlib.suppress(LookupError, ValueError):  # the script has removed an item
                managed._callmethod(change.method, change.arguments, dict(change.keywords))


def _managed_objects(call: Call, initargs: Iterable[Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    for name, value in {**variables_of(call), "initargs": tuple(initargs)}.items():
        yield from _within((name,), value)


def _within(path: tuple[Any, ...], value: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, managers.BaseProxy):
        yield path, value
    elif isinstance(value, (tuple, list, dict)) and len(value) <= _MOST_ITEMS and len(path) <= _MOST_LEVELS:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _within((*path, key), item)


def _key(managed: Any) -> tuple[Any, Any]:
    return managed._token.address, managed._token.id
