"""Make the changes that calls made to copies of the script's variables in other processes, as threads would."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from eechips.scripts.pooling.call_variables import Call, CallVariables
from eechips.scripts.pooling.called_functions import Place
from eechips.scripts.pooling.script_functions import fields
from eechips.scripts.pooling.shared_places import ADDED, EXTENDED, may_equal, variable_name
from eechips.scripts.pooling.shared_uses import shared_uses
from eechips.scripts.pooling.state_changes import Removal, StateChange, equal, is_number, is_table


def apply(changes: Iterable[tuple[StateChange, Call]]) -> set[str]:
    """Make the changes that calls in other processes made to copies of their variables, in their order.

    A process may have made a later call first: what that has added, an earlier one has changed. Such a change waits
    until its place is there.

    Args:
        changes: with the call.

    Returns:
        Names of variables in which calls have set one place to different values, and no source of their function shows
        how: that of the last call remains, or the sum of numbers.
    """
    left, merging = list(changes), dict[int, _Merging]()
    for _, call in left:
        if id(call.function) not in merging:
            merging[id(call.function)] = _Merging(call.function)
    count, values = len(left) + 1, dict[Any, tuple[int, Any]]()
    unclear = set[str]()
    while len(left) < count:
        count, waiting = len(left), list[tuple[StateChange, Call]]()
        for change, call in left:
            rules = merging[id(call.function)]
            if (holder := _holder(change, call, rules)) is None:
                waiting.append((change, call))
            elif rules.is_unclear(change):
                place = (id(holder) if len(change.path) > 1 else 0, change.path[-1])
                first, value = values.setdefault(place, (id(call), change.value))
                if first != id(call) and not _is_same(value, change.value):
                    unclear.add(str(change.path[0]))
        left = waiting
    return unclear


def _holder(change: StateChange, call: Call, merging: _Merging) -> Any:
    """Make a change; return what holds its place, or None if that is not there.

    Another call adds it, or the script has replaced it.
    """
    holders: list[Any] = [CallVariables(call)]
    try:
        for step in change.path:
            holders.append(_get(holders[-1], step))
    except (LookupError, AttributeError):
        return None
    with contextlib.suppress(LookupError, AttributeError):  # the script has replaced a part of it meanwhile
        _make(change, holders, merging)
    return holders[-2]


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two values that calls have set are equal; what cannot be compared differs."""
    try:
        return type(one) is type(other) and bool(one == other)
    except (TypeError, ValueError):
        return False


class _Merging:
    """Merge changes that several calls of a function make at one place, by what its source does there."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._changes = [(change.place, change.kind) for change in shared_uses(function).changes]

    def is_unclear(self, change: StateChange) -> bool:
        """Return whether a change sets a value, and nothing in the source of the function does so."""
        is_set = not (change.is_added or isinstance(change.value, Removal)) and change.where is None
        return is_set and not hasattr(change.value, "iloc") and next(self._within(change.path), None) is None

    def is_sum(self, path: tuple[Any, ...]) -> bool:
        """Return whether numbers at a path are added up; otherwise that of the last call remains."""
        kinds = {kind for _, kind in self._within(path)}
        return not kinds or ADDED in kinds

    def is_joined(self, path: tuple[Any, ...]) -> bool:
        """Return whether calls add to what each has put at a path; otherwise that of the last call remains."""
        return not self._changes or any(is_inner or kind == EXTENDED for is_inner, kind in self._within(path))

    def _within(self, path: tuple[Any, ...]) -> Iterator[tuple[bool, str]]:
        """Yield the kinds of changes at a path and in what is there, and whether they are in it."""
        for place, kind in self._changes:
            lengths = [length for length in range(1, len(place) + 1) if _is_at(place[:length], path)]
            if lengths:
                yield lengths[0] < len(place), kind


def _is_at(place: Place, path: tuple[Any, ...]) -> bool:
    """Return whether a place may be the end of a path: its variable may have another name, as of an argument."""
    if len(path) == 1:
        return variable_name(place) == path[0] and (place[0] != "self" or len(place) == 2)
    steps = list(zip(reversed(place[1:]), reversed(path[1:]), strict=False))
    return bool(steps) and all(step == f".{key}" or may_equal(step, f"[{key!r}]") for step, key in steps)


def _make(change: StateChange, holders: Sequence[Any], merging: _Merging) -> None:
    """Make a change.

    Args:
        holders: the variables, and what each step of the path leads to.
        merging: merges the change with the changes of other calls.
    """
    there, value = holders[-1], change.value
    if change.where is not None:
        present = there[change.where]
        if value.dtype.kind in "iufc" and merging.is_sum(change.path):
            value = np.where(equal(present, change.before), value, present + (value - change.before))
        there[change.where] = value
    elif isinstance(value, Removal) and isinstance(there, (list, deque)):
        there.clear()
        there.extend(value.items)
    elif isinstance(value, Removal):
        for key in value.items:
            there.pop(key, None) if isinstance(there, dict) else there.discard(key)
    elif is_table(there) and change.is_added:
        for label, row in value.iterrows():
            taken = isinstance(label, int) and label in there.index  # by the row that another call has added
            place = there.index.max() + 1 if taken else label
            if row.index.equals(there.columns) and not row.isna().any():
                there.loc[place] = list(row)  # by names of columns, pandas before 3 makes whole numbers floats
            else:
                there.loc[place, list(row.index)] = list(row)
    elif is_table(there) and hasattr(value, "items"):
        if change.before is not None and merging.is_sum(change.path) and value.name in there.columns:
            present = there[value.name].reindex(value.index)
            value = value.where(equal(present, change.before), present + (value - change.before))
        for label, cell in value.items():
            there.at[label, value.name] = cell
    elif change.is_added and isinstance(value, dict):
        for key, item in value.items():
            _add(there, key, item, (*change.path, key), merging)
    elif change.is_added:
        there.update(value) if isinstance(there, set) else there.extend(value)
    else:
        is_counted = there != change.before and merging.is_sum(change.path)
        is_sum = is_number(change.before) and is_number(value) and is_number(there) and is_counted
        _set(holders[-2], change.path[-1], there + (value - change.before) if is_sum else value)


def _add(there: Any, key: Any, value: Any, path: tuple[Any, ...], merging: _Merging) -> None:
    """Add an item to a dict, or an attribute to an object; calls may have added the same key to their copies.

    Args:
        path: path to the item.
    """
    present: Any = (there if isinstance(there, dict) else fields(there)).get(key)
    if isinstance(there, (Counter, defaultdict)) and is_number(present):
        _set(there, key, present + value)
    elif type(value) is not type(present) or not merging.is_joined(path):
        _set(there, key, value)
    elif isinstance(present, list):
        present.extend(value)
    elif isinstance(present, dict) and not isinstance(present, Counter):
        for inner, item in value.items():
            _add(present, inner, item, (*path, inner), merging)
    elif isinstance(present, (set, Counter)):
        present.update(value)
    else:
        _set(there, key, value)


def _get(holder: Any, step: Any) -> Any:
    return holder[step] if isinstance(holder, (dict, list, deque, tuple, CallVariables)) else getattr(holder, step)


def _set(holder: Any, step: Any, value: Any) -> None:
    if isinstance(holder, (dict, list, deque, CallVariables)):
        holder[step] = value
    else:
        setattr(holder, step, value)
