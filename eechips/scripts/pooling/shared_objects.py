"""Record what calls change in objects that processes share, and repeat the changes in the script's objects.

The process that holds the objects of a ``multiprocessing.Manager`` ends with the script. A resumed script has new
objects, without what completed calls have put into them. Calls have copies of each ``Value`` and ``Array``.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import managers, sharedctypes
from numbers import Number
from typing import Any

from eechips.scripts.pooling.call_variables import SharedCall, variables_of
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
class SharedAddition:
    """What a call has added to the numbers of a ``Value`` or ``Array``.

    Attributes:
        name: variable that has it, or number of an argument of the pool's initializer.
        numbers: a single one for a ``Value``.
    """

    name: str
    numbers: tuple[Any, ...]


@contextlib.contextmanager
def record_additions(call: SharedCall, initargs: Iterable[Any]) -> Iterator[list[SharedAddition]]:
    """Record, at the end of the block, what a call in it has added to shared numbers."""
    shared = {name: (value, _numbers(value)) for name, value in _shared_numbers(call, initargs).items()}
    additions: list[SharedAddition] = []
    yield additions
    for name, (value, before) in shared.items():
        numbers = tuple(now - former for now, former in zip(_numbers(value), before, strict=True))
        if any(numbers):
            additions.append(SharedAddition(name, numbers))


def add_up(additions: Iterable[SharedAddition], call: SharedCall, initargs: Iterable[Any]) -> None:
    """Add to the script's shared numbers what a call has added to its copies."""
    additions = tuple(additions)
    shared = _shared_numbers(call, initargs) if additions else {}
    for addition in additions:
        if (value := shared.get(addition.name)) is not None:
            with value.get_lock():
                content = value.get_obj()
                if isinstance(content, ctypes.Array):
                    content[:] = [sum(pair) for pair in zip(content, addition.numbers, strict=True)]
                else:
                    content.value += addition.numbers[0]


def _shared_numbers(call: SharedCall, initargs: Iterable[Any]) -> dict[str, Any]:
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
def record_changes(call: SharedCall, initargs: Iterable[Any]) -> Iterator[list[ManagedChange]]:
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


def repeat_changes(changes: Iterable[ManagedChange], call: SharedCall, initargs: Iterable[Any]) -> None:
    """Make the changes that the same call has made in an earlier run of the script."""
    changes = tuple(changes)
    managed_objects = dict(_managed_objects(call, initargs)) if changes else {}
    for change in changes:
        if (managed := managed_objects.get(change.path)) is not None:
            with contextlib.suppress(LookupError, ValueError):  # the script has removed an item
                managed._callmethod(change.method, change.arguments, dict(change.keywords))


def _managed_objects(call: SharedCall, initargs: Iterable[Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
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
