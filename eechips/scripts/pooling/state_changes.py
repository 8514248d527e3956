"""Find the changes that a call of a thread pool makes to the script's variables.

Threads share variables; a call in a worker has a copy of each. What it adds to a container, assigns to an item of it or
adds to a number is found by comparing the variables with how they were before.
"""

from __future__ import annotations

import itertools
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, time, timedelta, tzinfo
from enum import Enum
from numbers import Number
from pathlib import PurePath
from typing import Any

import numpy as np

from eechips.scripts.pooling.call_variables import Call, executed_function, variables_of

_MOST_OBJECTS = 10_000
"""Objects of a variable that are compared one by one before and after each call; of others, additions are found."""

_MOST_ITEMS = 100_000
"""Items of a list that are compared, but not what is in them."""

_MOST_LEVELS = 8
"""Containers in each other that are compared."""

_MOST_BYTES = 16_000_000
"""Size of an array of numpy whose elements are compared before and after each call; a larger one is read-only."""

_SEQUENCES = (list, deque, tuple)
_CONTAINERS = (dict, set, *_SEQUENCES)
_PLAIN = (type(None), str, bytes, Number, np.generic, frozenset, date, time, timedelta, tzinfo, PurePath, Enum)
_TRANSFERRED = (*_PLAIN, *_CONTAINERS, np.ndarray)


def is_too_large(value: Any, module: str = "__main__") -> bool:
    """Return whether changes in a value may not be found by :class:`StateChanges`.

    Args:
        module: name of the module whose objects are compared.
    """
    waiting, room, seen = [value], _MOST_OBJECTS, set[int]()
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, np.ndarray) or is_table(thing):
            if (thing.nbytes if isinstance(thing, np.ndarray) else thing.memory_usage().sum()) > _MOST_BYTES:
                return True
        elif isinstance(thing, _CONTAINERS) or type(thing).__module__ == module:
            fields = thing if isinstance(thing, _CONTAINERS) else getattr(thing, "__dict__", {})
            room -= len(fields) + 1
            inner = [item for _, item in _items(fields) if not isinstance(item, _PLAIN)]
            if room < 0 and (inner or (isinstance(fields, _SEQUENCES) and len(fields) > _MOST_ITEMS)):
                return True
            waiting += inner
    return False


@dataclass(frozen=True, slots=True)
class Removal:
    """Keys that were removed from a dict, or items from a set; or all that is left of a list.

    It is a value of `StateChange`, whose records in folders of earlier versions have no further field.
    """

    items: list[Any]


@dataclass(frozen=True, slots=True)
class StateChange:
    """A change of a variable of the script by a call.

    Attributes:
        path: name of the variable or argument, then keys, positions and names of attributes of what has changed in it.
        value: what was added to a container; or what a variable or item was set to, elements of an array, or cells of
            a column of a DataFrame.
        is_added: whether it was added.
        before: former value of a number, of these elements or of cells with numbers; None for other changes.
        where: indices of the elements of an array, one array for each axis; None for other values.
    """

    path: tuple[Any, ...]
    value: Any
    is_added: bool = False
    before: Any = None
    where: tuple[np.ndarray[Any, Any], ...] | None = None


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """A container as it was.

    Attributes:
        of: the container.
        items: by key or position, with snapshots of containers among them; None for a long list.
        size: number of items.
        is_alias: whether the changes of its content are found by another name.
    """

    of: Any
    items: Mapping[Any, Any] | None
    size: int
    is_alias: bool = False


class StateChanges:
    """Record a call's changes of the script's variables.

    Attributes:
        has_locked: whether an array is too large to be compared, and is read-only now.

    Args:
        call: its function's globals and closure, the fields of its object, and the arguments are compared.
        modules: names of the modules of the script, whose variables are compared as well.
    """

    def __init__(self, call: Call, modules: Iterable[str] = ()) -> None:
        self._call, self._names = call, tuple(modules)
        self.has_locked = False
        self._modules = {"__main__", executed_function(call.function).__module__, *self._names}
        self._known: dict[int, _Snapshot | None] = {}
        present = variables_of(call, self._names)
        self._before = {name: self._taken(value, [_MOST_OBJECTS]) for name, value in present.items()}

    def found(self) -> tuple[StateChange, ...]:
        """Return the changes since the snapshot."""
        now = variables_of(self._call, self._names)
        return tuple(
            change
            for name, before in self._before.items()
            if name in now
            for change in self._changes((name,), before, now[name])
        )

    def _taken(self, value: Any, room: list[int], level: int = 0) -> Any:
        """Return a snapshot of a container, a copy of an array, or the value itself; also if it has another name.

        Args:
            room: number of objects that may still be taken, reduced by this one's.
        """
        if id(value) in self._known:
            known = self._known[id(value)]
            return value if known is None else replace(known, is_alias=True)
        if isinstance(value, np.ndarray):
            self._known[id(value)] = None
            if value.nbytes > _MOST_BYTES and value.flags.writeable:
                self.has_locked = True
                value.flags.writeable = False  # an error, instead of a change that is lost
            return value.copy() if value.nbytes <= _MOST_BYTES and not value.dtype.hasobject else value
        if is_table(value):
            self._known[id(value)] = None
            return value.copy() if value.memory_usage().sum() <= _MOST_BYTES else value
        fields = self._fields(value)
        if fields is None or level > _MOST_LEVELS:
            return value
        self._known[id(value)] = None
        room[0] -= len(fields) + 1
        if room[0] < 0:
            is_long = isinstance(fields, _SEQUENCES) and len(fields) > _MOST_ITEMS
            items = None if is_long else dict(_items(fields))
        else:
            items = {key: self._taken(item, room, level + 1) for key, item in _items(fields)}
        snapshot = self._known[id(value)] = _Snapshot(value, items, len(fields))
        return snapshot

    def _fields(self, value: Any) -> Any:
        """Return a container, or the attributes of an object, class or module of the script; None for anything else."""
        if isinstance(value, tuple) and all(isinstance(item, _PLAIN) for item in value):
            return None
        if isinstance(value, _CONTAINERS):
            return value
        is_module = isinstance(value, types.ModuleType) and value.__name__ in self._names
        if is_module or (isinstance(value, type) and value.__module__ in self._modules):
            return {name: item for name, item in vars(value).items() if not name.startswith("__")}
        is_own = type(value).__module__ in self._modules and not isinstance(value, (type, types.FunctionType))
        return getattr(value, "__dict__", None) if is_own else None

    def _changes(self, path: tuple[Any, ...], before: Any, now: Any, *, is_item: bool = False) -> Iterator[StateChange]:
        """Yield the changes of a value.

        Args:
            is_item: whether it is an item of a list or dict, which may be replaced by anything.
        """
        if isinstance(before, _Snapshot):
            fields = self._fields(now)
            if now is before.of and before.is_alias:
                return
            if now is before.of or (type(now) is type(before.of) and _extends(fields, before)):
                yield from self._changed_items(path, before, fields)
            elif is_item or isinstance(now, _TRANSFERRED):
                yield StateChange(path, now)
        elif is_table(before) and is_table(now):
            if before is not now and now.index.is_unique and now.columns.is_unique:
                yield from (replace(change, path=path) for change in _changed_cells(before, now))
        elif isinstance(before, np.ndarray) and np.shape(now) == before.shape and before.ndim:
            if before is not now:
                where = np.nonzero(~equal(before, now))
                if where[0].size:
                    yield StateChange(path, now[where], before=before[where], where=where)
        elif before is not now and (
            is_item or (isinstance(before, (*_PLAIN, tuple)) and (isinstance(now, _TRANSFERRED) or is_table(now)))
        ):
            is_plain = isinstance(before, _PLAIN) and isinstance(now, _PLAIN)
            if not is_plain or before != now:
                yield StateChange(path, now, before=before if is_number(before) else None)

    def _changed_items(self, path: tuple[Any, ...], before: _Snapshot, fields: Any) -> Iterator[StateChange]:
        if isinstance(fields, (list, deque)) and len(fields) < before.size:
            yield StateChange(path, Removal(list(fields)))
            return
        is_item = isinstance(before.of, _CONTAINERS)
        if isinstance(before.of, (dict, set)) and before.items is not None:
            removed = [key for key in before.items if key not in fields]
            if removed:
                yield StateChange(path, Removal(removed))
        if isinstance(fields, set):
            added: Any = fields - before.items.keys() if before.items is not None else set()
        elif isinstance(fields, _SEQUENCES):
            added = list(itertools.islice(fields, before.size, None))
        else:
            added = {key: item for key, item in list(fields.items()) if key not in (before.items or ())}
        if before.items is not None and not isinstance(fields, set):
            present = dict(_items(fields))
            for key, item in before.items.items():
                yield from self._changes((*path, key), item, present.get(key, item), is_item=is_item)
        if not is_item:
            added = {key: item for key, item in added.items() if isinstance(item, _TRANSFERRED) or is_table(item)}
            for key in [key for key in added if is_number(getattr(type(before.of), key, None))]:
                yield StateChange((*path, key), added.pop(key), before=getattr(type(before.of), key))
        if added:
            yield StateChange(path, added, is_added=True)


def _items(fields: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(fields, _SEQUENCES):
        return enumerate(list(fields))
    return dict.fromkeys(fields).items() if isinstance(fields, set) else list(fields.items())


def _extends(fields: Any, before: _Snapshot) -> bool:
    """Return whether a container has what another had, and more, as ``rows + [row]`` has."""
    if not isinstance(fields, list) or before.items is None or len(fields) < before.size:
        return False
    former = (item.of if isinstance(item, _Snapshot) else item for item in before.items.values())
    return all(one is other for one, other in zip(former, fields, strict=False))


def equal(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> Any:
    """Return where arrays have the same values, NaN included."""
    return (one == other) | ((one != one) & (other != other))


def is_table(value: Any) -> bool:
    """Return whether a value is a DataFrame, without an import of pandas."""
    return type(value).__name__ in ("DataFrame", "GeoDataFrame") and hasattr(value, "memory_usage")


def _changed_cells(before: Any, now: Any) -> Iterator[StateChange]:
    """Yield the changed cells of each column of a DataFrame, as a Series, and the new rows; without their path."""
    former = before.index.get_indexer(now.index)
    kept = former >= 0
    for name in now.columns:
        known = before[name] if name in before.columns else before.index.to_series().map(lambda _: np.nan)
        changed = np.zeros(len(now), bool)
        changed[kept] = _differs(known.iloc[former[kept]], now[name][kept])
        if changed.any():
            cells = now.loc[changed, name]
            is_numeric = all(isinstance(s.dtype, np.dtype) and s.dtype.kind in "iuf" for s in (cells, known))
            yield StateChange((), cells, before=known.reindex(cells.index) if is_numeric else None)
    if not kept.all():
        yield StateChange((), now[~kept], is_added=True)


def _differs(one: Any, other: Any) -> Any:
    """Return which cells of two Series of the same rows differ."""
    if one.equals(other):
        return False
    if all(isinstance(cells.dtype, np.dtype) and not cells.dtype.hasobject for cells in (one, other)):
        return ~equal(np.asarray(one), np.asarray(other))
    return [not _is_same(*cells) for cells in zip(one, other, strict=True)]


def _is_same(one: Any, other: Any) -> bool:
    """Return whether cells of a DataFrame are the same object, or equal ones, as NaN is to itself."""
    if one is other:
        return True
    if one is None or other is None or type(one).__hash__ is None:
        return False
    is_equal: Any = one == other
    return isinstance(is_equal, (bool, np.bool_)) and bool(is_equal or (one != one and other != other))


def is_number(value: Any) -> bool:
    """Return whether a value is a number, and not a truth value."""
    return isinstance(value, Number) and not isinstance(value, (bool, np.bool_))
