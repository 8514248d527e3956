"""Find changes of shared variables that depend on the changes of other calls, such as a maximum.

A call may be sent to another process if it only adds to shared numbers and containers, or sets what it does not read
otherwise: such changes of copies are made to the script's variables afterwards. What a call only prints or logs may be
of its copy.
"""

from __future__ import annotations

import inspect
from argparse import Namespace
from collections import ChainMap, Counter, UserDict, UserList, defaultdict
from types import FunctionType, MemberDescriptorType, SimpleNamespace
from typing import Any

import numpy as np

from eechips.scripts.pooling.called_functions import Place, is_own
from eechips.scripts.pooling.place_uses import ADDED, EXTENDED, OTHER, SET, PlaceChange, Reading, SharedUses
from eechips.scripts.pooling.script_functions import fields
from eechips.scripts.pooling.shared_places import CONTAINERS, UNKNOWN, SharedPlaces, is_argument, overlap
from eechips.scripts.pooling.shared_uses import shared_uses
from eechips.scripts.pooling.statement_kinds import COMPARED, MEMBERSHIP, UNSET


def dependent_changes(function: Any) -> list[Place]:
    """Return the places that calls of a function change depending on each other.

    Those in arguments depend on each other only for calls that have the same object.
    """
    uses, places = shared_uses(function), SharedPlaces(function)
    return [change.place for change in uses.changes if _is_dependent(change, uses, places)]


def _is_dependent(change: PlaceChange, uses: SharedUses, places: SharedPlaces) -> bool:
    return (
        change.kind == OTHER
        or is_unseen(change.place, places)
        or (change.kind == ADDED and _may_begin(change.place, uses, places))
        or any(not _is_own(reading, change, uses) for reading in uses.readings if overlap(reading.place, change.place))
        or any(_decides(change, uses, places, *read) for test in change.tests for read in test.reads)
    )


def is_unseen(place: Place, places: SharedPlaces) -> bool:
    """Return whether a change is made in an object whose changes a run does not find: see `StateChanges`."""
    holders = [(places.value(place[:n]), place[n]) for n in range(1, len(place))]
    return any(_hides(holder, step) for holder, step in holders) or _hides(places.value(place), "")


def _hides(holder: Any, step: str) -> bool:
    if isinstance(holder, np.ndarray):
        return holder.dtype.hasobject or not holder.ndim
    if isinstance(holder, CONTAINERS):
        return step.startswith(".") and bool(step.strip("_.")) and type(holder) not in CONTAINERS
    if not step:
        return isinstance(holder, (UserDict, UserList, ChainMap))
    if is_own(holder):
        return step.startswith(".") and step[1:] not in fields(holder) and is_slot(type(holder), step[1:])
    return isinstance(holder, (FunctionType, Namespace, SimpleNamespace, UserDict, UserList, ChainMap)) or (
        step.startswith("[") and type(holder).__name__ in ("Series", "GeoSeries")
    )


def is_slot(kind: type, name: str) -> bool:
    """Return whether an attribute is in ``__slots__`` of a class."""
    return isinstance(inspect.getattr_static(kind, name, None), MemberDescriptorType)


def _may_begin(place: Place, uses: SharedUses, places: SharedPlaces) -> bool:
    """Return whether calls may set a number, or make what holds it, before they add to it: copies do not add up."""
    if any(c.kind == SET and len(c.place) <= len(place) and overlap(c.place, place) for c in uses.changes):
        return True
    inner = next((place[:n] for n in range(1, len(place) - 1) if place[n].startswith("[*")), None)
    holder = UNKNOWN if inner is None else places.value(inner)
    return isinstance(holder, defaultdict) and not _counts(holder.default_factory)


def _counts(factory: Any) -> bool:
    """Return whether what a defaultdict makes counts from nothing."""
    if isinstance(factory, type):
        return issubclass(factory, Counter)
    names = getattr(getattr(factory, "__code__", None), "co_names", ())
    return bool(names) and {"defaultdict", "Counter", "int", "float"}.issuperset(names)


def _is_own(reading: Reading, change: PlaceChange, uses: SharedUses) -> bool:
    """Return whether a call reads what it has set itself: in an item of its own, just before, or once for all calls."""
    if reading.place[-1].startswith("[*") and change.kind in (SET, EXTENDED) and change.place == reading.place:
        return True
    if change.kind != SET:
        return False
    is_missing = any(
        kind == UNSET and overlap(place, change.place) for test in change.tests for place, kind in test.reads
    )
    if is_missing and not any(map(is_argument, change.sources)):
        return True
    return any(
        c.kind == SET
        and c.place == reading.place[: len(c.place)]
        and c.order < reading.order
        and set(c.tests) <= set(reading.tests)
        for c in uses.changes
    )


def _decides(change: PlaceChange, uses: SharedUses, places: SharedPlaces, place: Place, kind: str) -> bool:
    """Return whether what other calls change decides on a change. That a key or value is missing may only set it."""
    if not any(overlap(place, other.place) for other in uses.changes):
        return False
    if not overlap(place, change.place):
        return True
    if kind == MEMBERSHIP and change.kind == EXTENDED:
        return not isinstance(places.value(change.place), (set, dict))
    return kind == COMPARED or change.kind != SET
