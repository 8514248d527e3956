"""Decide whether calls of threads may be sent to other processes: only if what they change of shared variables adds up.

A call may be sent if it only adds to shared numbers and containers, or sets what it does not read otherwise: such
changes of copies are made to the script's variables afterwards. Calls that depend on each other, as by a maximum, stay
in the script's threads, and so do those that change what :mod:`eechips.scripts.pooling.state_changes` does not compare:
pictures, tensors, labelled arrays and large ones. What a call only prints or logs may be of its copy.
"""

from __future__ import annotations

import ctypes
import functools
import inspect
import mmap
from collections import ChainMap, Counter, UserDict, UserList, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from types import FunctionType, MemberDescriptorType, NoneType
from typing import Any

import numpy as np

from eechips.scripts.pooling.call_variables import Call, executed_function
from eechips.scripts.pooling.called_functions import Place, is_own
from eechips.scripts.pooling.rewritten_files import rewritten_files
from eechips.scripts.pooling.shared_places import (
    ADDED,
    CONTAINERS,
    EXTENDED,
    MODULE,
    OBJECT,
    OTHER,
    SET,
    UNKNOWN,
    SharedPlaces,
    SharedUses,
    Use,
    is_argument,
    overlap,
    variable_name,
)
from eechips.scripts.pooling.shared_uses import shared_uses
from eechips.scripts.pooling.state_changes import is_too_large
from eechips.scripts.pooling.statement_kinds import CHOSEN, COMPARED, MEMBERSHIP, UNSET

_PACKAGES = frozenset({"PIL", "_io", "array", "matplotlib", "networkx", "torch", "xarray"})
_CLASSES = frozenset({"GeoSeries", "MaskedArray", "Namespace", "Series", "SimpleNamespace", "bytearray"})
"""Of objects whose changes are not found."""


@dataclass(frozen=True, slots=True)
class LostChanges:
    """What calls of a function lose if each changes copies of what threads share.

    Attributes:
        reason: why the calls stay in the script's threads; empty if they may be sent.
        arguments: names of arguments whose objects only one call may have if the calls are sent.
        changed: names of arguments whose objects the calls may change.
    """

    reason: str
    arguments: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()


def lost_changes(function: Any, *, is_of_processes: bool = False) -> LostChanges:
    """Return what calls of a function that threads make lose in other processes.

    It is an object that the threads share, or a file that each call writes again, as a list of finished items. Calls
    stay in the threads, too, if an object of the script raises an error when it is read.

    Args:
        is_of_processes: whether the script calls it in processes, which share only files and memory that are mapped.
    """
    try:
        uses = shared_uses(function)
        changes = [change.place for change in uses.changes] + uses.called
        changed = frozenset(variable_name(place) for place in changes if is_argument(place))
        if is_of_processes:
            mapped = [place for place in changes if _is_mapped(uses.places.value(place[:1]))]
            reasons = [*map(lost_copy, map(variable_name, mapped)), *_lost_numbers(uses)]
            return LostChanges(next(iter(reasons), ""), changed=changed)
        lost = [place for place in dict.fromkeys(changes) if _is_lost(place, uses.places)]
        tested = {place for change in uses.changes for place, _ in change.tests}
        varying = {place for place in tested if any(overlap(place, change.place) for change in uses.changes)}
        lost += [change.place for change in uses.changes if _is_dependent(change, uses, varying)]
    except Exception as error:  # noqa: BLE001 - of objects of the script
        obstacle = f"what they share is not known ({type(error).__name__}: {error})"
        return LostChanges("" if is_of_processes else obstacle)
    files = [file for code in uses.codes for file in rewritten_files(code, Path(code.co_filename))]
    reasons = [
        f"each would write {file} with its own values only. Return the values, and let the script write them"
        for file in files
    ]
    reasons += [lost_copy(variable_name(place)) for place in lost if not is_argument(place)]
    arguments = frozenset(variable_name(place) for place in lost if is_argument(place))
    return LostChanges(next(iter(reasons), ""), arguments, changed)


def _lost_numbers(uses: SharedUses) -> Iterator[str]:
    """Yield why calls in processes are refused that count with a ``Value`` and use the number, as in file names.

    A variable that the initializer of the pool sets in each process may be None in the script.
    """
    read = [reading.place for reading in uses.readings]
    for change in uses.changes:
        is_shared = isinstance(uses.places.value(change.place[:-1]), (Synchronized, NoneType))
        if change.kind == ADDED and change.place[-1] == ".value" and is_shared and change.place in read:
            name = variable_name(change.place)
            yield f"each would count with a copy of {name}. Number their arguments in the script, as by enumerate()"


def changed_argument(call: Call, names: Collection[str], *, is_of_processes: bool = False) -> str:
    """Return which argument of a call its function changes, so that a copy of it is not enough; empty for none.

    Args:
        names: names of the arguments that it may change.
        is_of_processes: whether only mapped files and memory are meant: processes have copies of others.
    """
    for name, value in _arguments(call, names).items():
        if _is_mapped(value) if is_of_processes else _is_of(value, _PACKAGES) or is_too_large(value):
            return lost_copy(name)
    return ""


def _is_mapped(value: Any) -> bool:
    """Return whether an array is in a file or in memory that forked processes share."""
    if isinstance(value, np.memmap):
        return value.mode in ("r+", "w+")
    owner = value
    while isinstance(owner, np.ndarray):
        owner = owner.base
    owner = owner.obj if isinstance(owner, memoryview) else owner
    return isinstance(value, np.ndarray) and isinstance(owner, (mmap.mmap, ctypes.Array))


def lost_copy(name: str) -> str:
    """Return why calls that change a variable stay in the script's threads."""
    return f"each would change a copy of {name}, which the script needs. Return the values instead"


def argument_objects(call: Call, names: Collection[str]) -> list[Any]:
    """Return the objects that a call has in arguments, also in tuples, and may change.

    Args:
        names: names of the arguments.
    """
    values = _arguments(call, names).values()
    inner = [item for value in values for item in (value if isinstance(value, tuple) else [value])]
    return [item for item in inner if isinstance(item, (*CONTAINERS, np.ndarray)) or hasattr(item, "__dict__")]


def _arguments(call: Call, names: Collection[str]) -> dict[str, Any]:
    """Return the arguments of a call with names; nothing if they do not fit, for which the call raises an error."""
    if not names:
        return {}
    partial, arguments, keywords = call.function, call.arguments, dict(call.keywords)
    while isinstance(partial, functools.partial):
        arguments, keywords = (*partial.args, *arguments), {**partial.keywords, **keywords}
        partial = partial.func
    try:
        bound = inspect.signature(executed_function(call.function)).bind(*arguments, **keywords).arguments
    except (TypeError, ValueError):
        return {}
    return {name: bound[name] for name in sorted(names) if name in bound}


def _is_of(value: Any, packages: Collection[str], classes: Collection[str] = ()) -> bool:
    return type(value).__module__.partition(".")[0] in packages or type(value).__name__ in classes


def _is_lost(place: Place, places: SharedPlaces) -> bool:
    """Return whether changes of a place are not found, as `StateChanges` does not compare an object there."""
    values = [places.value(place[:length]) for length in range(1, len(place) + 1)]
    variable = values[1 if len(place) > 1 and (place[0] == "self" or place[0].startswith(MODULE)) else 0]
    return (
        ".__dict__" in place
        or place[0].startswith(OBJECT)
        or any(_is_of(value, _PACKAGES, _CLASSES) for value in values)
        or any(map(_hides, values, (*place[1:], "")))
        or any(map(places.is_viewed, values))
        or is_too_large(variable, places.module)
    )


def _hides(holder: Any, step: str) -> bool:
    """Return whether changes of an attribute or item are not detected; for an empty step, changes of the content."""
    if isinstance(holder, np.ndarray):
        return holder.dtype.hasobject or not holder.ndim
    if isinstance(holder, CONTAINERS):
        return step.startswith(".") and bool(step.strip("_.")) and type(holder) not in CONTAINERS
    is_slot = isinstance(inspect.getattr_static(type(holder), step[1:], None), MemberDescriptorType)
    return isinstance(holder, (UserDict, UserList, ChainMap)) or (
        step.startswith(".") and (isinstance(holder, FunctionType) or (is_own(holder) and is_slot))
    )


def _is_dependent(change: Use, uses: SharedUses, varying: Collection[Place]) -> bool:
    """Return whether a change depends on the changes of other calls.

    Args:
        varying: places that conditions read and calls change.
    """
    return (
        change.kind == OTHER
        or (change.kind == ADDED and _may_begin(change.place, uses))
        or any(not _is_own(reading, change, uses) for reading in uses.readings if overlap(reading.place, change.place))
        or any(_decides(change, uses, place, kind) for place, kind in change.tests if place in varying)
    )


def _may_begin(place: Place, uses: SharedUses) -> bool:
    """Return whether calls may set a number, or make what holds it, before they add to it: copies do not add up."""
    if any(c.kind == SET and len(c.place) <= len(place) and overlap(c.place, place) for c in uses.changes):
        return True
    inner = next((place[:n] for n in range(1, len(place) - 1) if place[n].startswith("[*")), None)
    holder = UNKNOWN if inner is None else uses.places.value(inner)
    return isinstance(holder, defaultdict) and not _counts(holder.default_factory)


def _counts(factory: Any) -> bool:
    """Return whether what a defaultdict makes counts from nothing."""
    if isinstance(factory, type):
        return issubclass(factory, Counter)
    names = getattr(getattr(factory, "__code__", None), "co_names", ())
    return bool(names) and {"defaultdict", "Counter", "int", "float"}.issuperset(names)


def _is_own(reading: Use, change: Use, uses: SharedUses) -> bool:
    """Return whether a call reads what it has set itself: in an item of its own, just before, or once for all calls."""
    is_within = change.place[: len(reading.place)] == reading.place
    if is_within and reading.place[-1].startswith("[*") and change.kind in (SET, EXTENDED):
        return True
    if change.kind != SET:
        return False
    is_missing = any(kind == UNSET and overlap(place, change.place) for place, kind in change.tests)
    if is_missing and not any(map(is_argument, change.sources)):
        return True
    return any(
        c.kind == SET
        and c.place == reading.place[: len(c.place)]
        and c.order < reading.order
        and c.tests <= reading.tests
        for c in uses.changes
    )


def _decides(change: Use, uses: SharedUses, place: Place, kind: str) -> bool:
    """Return whether a condition on what calls change decides on a change; that something is missing may set it."""
    if not overlap(place, change.place):
        return kind != CHOSEN
    if kind == MEMBERSHIP and change.kind == EXTENDED:
        return not isinstance(uses.places.value(change.place), (set, dict))
    return kind in (COMPARED, CHOSEN) or change.kind != SET
