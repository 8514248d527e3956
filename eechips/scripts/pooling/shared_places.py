"""Hold the places of variables that threads share, with their values before the calls, and how a function uses them.

A place is a variable, with the attributes and keys that lead from it to what is used: ``state.text`` and ``rows[n]``.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from multiprocessing.sharedctypes import Synchronized
from numbers import Number
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.scripts.pooling.call_variables import executed_function
from eechips.scripts.pooling.called_functions import Place
from eechips.scripts.pooling.script_functions import ScriptFunction, fields, unwrapped, wrapped_functions
from eechips.scripts.script_source import last_name

READ, ADDED, EXTENDED, SET, OTHER = "read", "added", "extended", "set", "other"
"""Uses: a value is read, a number is added, items are added to a container, a value is set; any other change."""

UNKNOWN: Any = object()
CONTAINERS = (dict, list, set, deque, tuple)
MODULE, ARGUMENT, OBJECT = "module ", "argument ", "object "
"""Beginnings of the variables of other modules, of arguments, and of what no variable of the call has."""


def overlap(one: Place, other: Place) -> bool:
    """Return whether two places are the same, or one is within the other; a key that differs may be any."""
    return all(map(may_equal, one, other))


def may_equal(one: str, other: str) -> bool:
    """Return whether two steps of places may lead to the same."""
    is_any = one.startswith("[*") or other.startswith("[*")
    return one == other or (is_any and one[0] == other[0] == "[")


def is_argument(place: Place) -> bool:
    """Return whether a place is an argument of the call, or in one."""
    return place[0].startswith(ARGUMENT)


def variable_name(place: Place) -> str:
    """Return the name of the variable, argument or field of ``self`` that a place is in."""
    return f"self{place[1]}" if place[0] == "self" and len(place) > 1 else place[0].rpartition(" ")[2]


class SharedPlaces:
    """The values at places of a call's variables, before the call.

    Attributes:
        module: name of the function's module.
        links: items and attributes of objects that a call makes, and the shared objects that they are.
        levels: functions that are being searched for what they return.
    """

    def __init__(self, function: Any) -> None:
        member = executed_function(function)
        source = ScriptFunction(unwrapped(member))
        self.module = source.module
        self.links: dict[Place, Place] = {}
        self.levels = 0
        self._cells = [cell for part in wrapped_functions(member) for cell in ScriptFunction(part).cells().values()]
        self._variables = source.variables() | {"self": getattr(member, "__self__", UNKNOWN)}

    def added(self, thing: Any) -> Place:
        """Return the place of an object that no variable of the call has by its name, as of a bound method."""
        names = (name for name, value in self._variables.items() if value is thing)
        name = next(names, f"{OBJECT}{type(thing).__name__}")
        self._variables.setdefault(name, thing)
        return (
            (name,) if self._variables[name] is thing else (f"{OBJECT}{len(self._variables)} {type(thing).__name__}",)
        )

    def inherited(self, name: str, cell: Any, value: Any) -> Place:
        """Return the place of a variable of the functions around a called one: the call itself may not have it."""
        if any(cell is own for own in self._cells):
            return (name,)
        names = (n for n, other in self._variables.items() if other is value and isinstance(value, CONTAINERS))
        return (next(names, f"{OBJECT}{name}"),)

    def is_viewed(self, array: Any) -> bool:
        """Return whether a variable of the call has another array in the same memory: their copies share none."""
        if not isinstance(array, np.ndarray):
            return False
        return any(other is not array and np.may_share_memory(array, other) for other in self._held_arrays)

    @cached_property
    def _held_arrays(self) -> list[npt.NDArray[Any]]:
        return [array for value in self._variables.values() for array in _arrays(value, _MOST_LEVELS)]

    def value(self, place: Place) -> Any:
        """Return what is at a place; for a key that differs, one of the items; UNKNOWN for what is not known."""
        name, *steps = place
        is_module = name.startswith(MODULE)
        value = sys.modules.get(name.removeprefix(MODULE)) if is_module else self._variables.get(name, UNKNOWN)
        for step in steps:
            value = _inner(value, step)
        return value


_MOST_LEVELS, _MOST_ITEMS = 2, 1000
"""Levels of containers and objects, and items of each, whose arrays are compared."""


def _arrays(value: Any, levels: int) -> Iterator[npt.NDArray[Any]]:
    """Yield an array, the columns of a table, and the arrays of the items and attributes of anything else."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (type, ModuleType, FunctionType)) or not levels:
        return
    elif type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "to_numpy"):
        columns = [part for _, part in value.items()] if getattr(value, "ndim", 0) == 2 else [value]
        yield from (np.asarray(part) for part in columns if isinstance(getattr(part, "dtype", None), np.dtype))
    else:
        parts = value if isinstance(value, CONTAINERS) else fields(value)
        for part in islice(parts.values() if isinstance(parts, Mapping) else parts, _MOST_ITEMS):
            yield from _arrays(part, levels - 1)


def _inner(value: Any, step: str) -> Any:
    """Return an attribute or item, without executing a property."""
    if step == ".__class__":
        return UNKNOWN if value is UNKNOWN else type(value)
    if step == ".__dict__":
        return dict(fields(value))
    if step == ".value" and isinstance(value, Synchronized):
        return 0
    if step.startswith("."):
        own = fields(value)
        return own.get(
            step[1:], inspect.getattr_static(value if isinstance(value, type) else type(value), step[1:], UNKNOWN)
        )
    if isinstance(value, defaultdict) and not value:
        return value.default_factory() if value.default_factory in (int, float, str, list, set, dict) else UNKNOWN
    if isinstance(value, dict) and not step.startswith("[*"):
        return dict.get(value, _key(step), UNKNOWN)
    if isinstance(value, CONTAINERS):
        return next(iter(value.values() if isinstance(value, dict) else value), UNKNOWN)
    return value.dtype.type(0) if isinstance(value, np.ndarray) and not value.dtype.hasobject else UNKNOWN


def _key(step: str) -> Any:
    """Return the key of a step to an item."""
    try:
        return ast.literal_eval(step[1:-1])
    except ValueError:  # of an infinite number
        return UNKNOWN


Test = tuple[Place, str]
"""What a condition reads, and the kind of test."""

Tests = frozenset[Test]
"""What the conditions read under which a statement is executed."""

Decisions = dict[Test, str]
"""Tests that have decided which value there is: COMPARED for a constant, as a flag, else CHOSEN."""


@dataclass(frozen=True, slots=True)
class Use:
    """A reading or change of a place.

    Attributes:
        tests: what the conditions read under which it is done.
        order: its number in the order of the source.
        sources: places from which a value that is set is made.
    """

    place: Place
    kind: str
    tests: Tests
    order: int
    sources: tuple[Place, ...] = ()


@dataclass(slots=True)
class SharedUses:
    """How a function uses shared places, in the order of the source.

    Attributes:
        called: places of objects that a called method may change, or that it prints into.
        named, known, outcomes: functions that are read, what they read, and the tests that decide what they return.
    """

    places: SharedPlaces
    changes: list[Use] = field(default_factory=list)
    readings: list[Use] = field(default_factory=list)
    called: list[Place] = field(default_factory=list)
    named: set[Any] = field(default_factory=set)
    known: dict[Any, list[Use]] = field(default_factory=dict)
    outcomes: dict[Any, Decisions] = field(default_factory=dict)

    def add(self, kind: str, place: Place | None, tests: Tests, sources: Iterable[Place] = ()) -> None:
        """Add a use; none if the place is not shared."""
        if place is not None:
            uses = self.readings if kind == READ else self.changes
            uses.append(Use(place, kind, tests, len(self.changes) + len(self.readings), tuple(sources)))

    def take_readings(self, first: int) -> list[Place]:
        """Remove the readings from a number on, and return their places."""
        places = [reading.place for reading in self.readings[first:]]
        del self.readings[first:]
        return places

    @property
    def codes(self) -> list[CodeType]:
        """Codes of the functions of the script that it consists of, with those that it calls."""
        return list(dict.fromkeys(code for (code, _), _ in self.known))


def sum_kind(present: Any, node: ast.AugAssign, *, is_new: bool) -> str:
    """Return the kind of a change of what is present by ``+=``, ``-=`` or another operation.

    Args:
        is_new: whether a new object has the sum.
    """
    value, is_sum = node.value, isinstance(node.op, (ast.Add, ast.Sub))
    if isinstance(node.op, ast.BitOr) and isinstance(present, (dict, set)):
        return EXTENDED
    if not is_sum or isinstance(present, (bool, np.bool_)):
        return OTHER
    if isinstance(present, (deque, Counter)):
        return OTHER if is_new or isinstance(node.op, ast.Sub) else EXTENDED
    if isinstance(present, list) or (present is UNKNOWN and isinstance(value, (ast.List, ast.ListComp))):
        return EXTENDED
    if present is not UNKNOWN:
        return ADDED if isinstance(present, (Number, np.ndarray)) else OTHER
    is_text = isinstance(value, ast.Constant) and isinstance(value.value, (str, bytes))
    is_text = is_text or last_name(getattr(value, "func", value)) == "str"
    return OTHER if is_text or isinstance(value, (ast.JoinedStr, ast.Tuple)) else ADDED
