"""Find what a function of a script reads and changes of variables that threads share, in its source.

Functions and methods of the script that it calls are read too. What it prints or logs is left out.
"""

from __future__ import annotations

import ast
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Number
from types import MethodType
from typing import Any

import numpy as np

from eechips.scripts.pooling.call_variables import executed_function
from eechips.scripts.pooling.script_functions import wrapped_functions
from eechips.scripts.pooling.shared_places import (
    CONTAINERS,
    UNKNOWN,
    Place,
    Scope,
    SharedPlaces,
    is_argument,
    overlap,
    step,
)
from eechips.scripts.pooling.state_changes import is_table
from eechips.scripts.script_source import last_name

ADDED, EXTENDED, SET, OTHER = "added", "extended", "set", "other"
"""Changes: a number is added; items are added to a container; a value is set; any other."""

MEMBERSHIP, UNSET, COMPARED = "membership", "unset", "compared"
"""Tests: whether a key is there; whether a value is None, empty or false; any other."""

_MESSAGES = frozenset({"print", "debug", "info", "warning", "error", "exception", "critical", "log", "display"})
_MESSAGES |= {"set_description", "set_description_str", "set_postfix", "set_postfix_str"}
_WRITERS = frozenset({"bar.write", "pbar.write", "sys.stderr.write", "sys.stdout.write", "tqdm.write"})
_ADDING = frozenset({"append", "extend", "add", "update"})
_REMOVING = frozenset({"clear", "discard", "pop", "popitem", "popleft", "remove"})
_ORDERING = frozenset({"appendleft", "extendleft", "insert", "move_to_end", "reverse", "rotate", "sort", "subtract"})
_CHANGING = frozenset({"delattr", "heapify", "heappush", "heappop", "heapreplace", "heappushpop", "setattr", "shuffle"})
_CHANGING |= {"at", "copyto", "fill_diagonal", "insort", "insort_left", "insort_right", "next", "place", "putmask"}
"""Functions that change their first argument."""
_OF_ARRAYS = frozenset({"fill", "itemset", "partition", "put", "resize", "sort"})
_OF_TABLES = frozenset({"drop", "fillna", "insert", "pop", "rename", "replace", "sort_values", "update"})
_MOST_LEVELS = 12
"""Functions that call each other and are read."""


@dataclass(frozen=True, slots=True)
class Test:
    """A condition under which something is done.

    Attributes:
        reads: places that it reads, with the kind of test.
    """

    reads: tuple[tuple[Place, str], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a place.

    Attributes:
        tests: conditions under which it is made.
        order: number of the change or reading in the order of the source.
        sources: places from which a value that is set is made.
    """

    place: Place
    kind: str
    tests: tuple[Test, ...]
    order: int
    sources: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading of a place. For the other attributes see `Change`."""

    place: Place
    tests: tuple[Test, ...]
    order: int


@dataclass(slots=True)
class SharedUses:
    """Changes and readings of shared places, in the order of the source."""

    changes: list[Change] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)

    def change(self, place: Place | None, kind: str, tests: tuple[Test, ...], sources: Sequence[Place] = ()) -> None:
        """Add a change; none if the place is not shared."""
        if place is not None:
            order = len(self.changes) + len(self.readings)
            self.changes.append(Change(place, kind, tests, order, tuple(sources)))

    def read(self, place: Place, tests: tuple[Test, ...]) -> None:
        """Add a reading."""
        self.readings.append(Reading(place, tests, len(self.changes) + len(self.readings)))

    def take_readings(self, first: int) -> list[Place]:
        """Remove the readings from a number on, and return their places."""
        places = [reading.place for reading in self.readings[first:]]
        del self.readings[first:]
        return places


def shared_uses(function: Any) -> SharedUses:
    """Return what a call of a function uses; nothing for a function that is not in a file of the script."""
    uses, member = SharedUses(), executed_function(function)
    context = {"self": ("self",)} if isinstance(member, MethodType) else {}
    for part in wrapped_functions(member):
        _Reader(part, context, SharedPlaces(function), uses, (), frozenset()).read(is_first=True)
    return uses


class _Reader:
    """Read a function.

    Args:
        member: the function or method.
        context: places of its parameters.
        places: values at the places.
        uses: what is found is added.
        tests: conditions under which it is called.
        callers: functions that are being read, with the places of their parameters.
    """

    def __init__(
        self, member: Any, context: Mapping[str, Place], places: SharedPlaces, uses: SharedUses,
        tests: tuple[Test, ...], callers: frozenset[Any],
    ) -> None:  # fmt: skip
        self._places, self._uses, self._tests, self._callers = places, uses, tests, callers
        self._scope = Scope(member, context, places)

    def read(self, *, is_first: bool = False) -> None:
        """Read its definition.

        Args:
            is_first: whether calls of the pool have this function.
        """
        if self._scope.key in self._callers or len(self._callers) > _MOST_LEVELS:
            return
        self._callers |= {self._scope.key}
        for definition in self._scope.definitions(is_first=is_first):
            if isinstance(definition, ast.Lambda):
                self._expression(definition.body, self._tests)
            else:
                self._block(definition.body, self._tests)

    def _block(self, statements: Sequence[ast.stmt], tests: tuple[Test, ...]) -> tuple[Test, ...]:
        """Read statements; return the tests for what follows them: one that may return decides on all after it."""
        for statement in statements:
            tests = self._statement(statement, tests)
        return tests

    def _statement(self, node: ast.stmt, tests: tuple[Test, ...]) -> tuple[Test, ...]:
        """Read a statement; see `_block`."""
        match node:
            case ast.If() | ast.While():
                return self._branches(self._test(node.test, tests), [node.body, node.orelse], tests)
            case ast.Match():
                return self._branches(self._test(node.subject, tests), [case.body for case in node.cases], tests)
            case ast.Assert():
                return (*tests, self._test(node.test, tests))
            case ast.For() | ast.AsyncFor():
                self._expression(node.iter, tests)
                if (place := self._scope.place(node.iter)) is not None:
                    self._scope.bind(node.target, (*place, "[*]"))
                return self._block(node.orelse, self._block(node.body, tests))
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    self._argument(item.context_expr, tests, is_read=self._scope.place(item.context_expr) is None)
                    for name in ("__enter__", "__exit__"):
                        self._read_members(self._scope.methods(item.context_expr, name), None, tests)
                return self._block(node.body, tests)
            case ast.Try():
                handlers = [line for handler in node.handlers for line in handler.body]
                return self._block([*node.body, *handlers, *node.orelse, *node.finalbody], tests)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._block(node.body, tests)
            case ast.Assign() | ast.AnnAssign():
                self._assignment(node, tests)
            case ast.AugAssign():
                self._augmented(node, tests)
            case ast.Delete():
                for target in node.targets:
                    self._uses.change(self._scope.place(target), OTHER, tests)
            case ast.Expr() if _is_message(node.value):
                pass
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self._expression(child, tests)
        return tests

    def _branches(self, test: Test, blocks: Sequence[Sequence[ast.stmt]], tests: tuple[Test, ...]) -> tuple[Test, ...]:
        """Read the blocks of which a test chooses one; see `_block`."""
        inner = (*tests, test)
        ends = [end for block in blocks for end in self._block(block, inner) if end not in inner]
        leaves = [test] if any(map(_leaves, blocks)) else []
        return (*tests, *leaves, *dict.fromkeys(ends))

    def _assignment(self, node: ast.Assign | ast.AnnAssign, tests: tuple[Test, ...]) -> None:
        value = node.value
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            pairs = [(target, value)]
            if isinstance(target, (ast.Tuple, ast.List)) and isinstance(value, (ast.Tuple, ast.List)):
                is_each = len(target.elts) == len(value.elts)
                pairs = list(zip(target.elts, value.elts, strict=True)) if is_each else pairs
            for part, item in pairs:
                if item is not None:
                    self._assigned(part, item, tests)

    def _assigned(self, target: ast.expr, value: ast.expr, tests: tuple[Test, ...]) -> None:
        """Read an assignment of a value to a target."""
        first, source = len(self._uses.readings), self._scope.place(value)
        if isinstance(target, (ast.Tuple, ast.List)):
            self._expression(value, tests)
            for part in target.elts:
                self._uses.change(self._changed_place(part, tests), SET, tests)
            self._scope.bind(target, source)
        elif self._scope.is_local(target):
            self._expression(value, tests)
            is_called = isinstance(value, ast.Call)
            derived = [] if source is not None and is_called else self._uses.take_readings(first)
            self._scope.bind(target, source, [] if source is not None else derived)
            self._scope.note_clock(target, value)
        elif (added := self._addend(target, value)) is not None:
            if isinstance(value, ast.BinOp) and isinstance(value.left, ast.Call):
                self._expression(value.left, tests)
            self._expression(added, tests)
            place = self._changed_place(target, tests)
            self._uses.change(place, OTHER if place is None else self._sum(place, added), tests)
        else:
            self._expression(value, tests)
            read = [reading.place for reading in self._uses.readings[first:]]
            place = self._changed_place(target, tests)
            is_own = place is not None and any(overlap(other, place) for other in read)
            self._uses.change(place, OTHER if is_own else SET, tests, read)

    def _addend(self, target: ast.expr, value: ast.expr) -> ast.expr | None:
        """Return what an assignment adds to the value of its target; None if it does something else."""
        is_sum = isinstance(value, ast.BinOp) and isinstance(value.op, (ast.Add, ast.Sub))
        place = self._scope.place(target)
        if not is_sum or place is None or not isinstance(value, ast.BinOp):
            return None
        return value.right if self._scope.place(value.left) == place else None

    def _augmented(self, node: ast.AugAssign, tests: tuple[Test, ...]) -> None:
        first, scope = len(self._uses.readings), self._scope
        self._expression(node.value, tests)
        place = scope.place(node.target)
        if scope.is_local(node.target):
            is_in_place = place is not None and isinstance(scope.value(place), (dict, list, set, deque, np.ndarray))
            if not is_in_place:
                derived = [*scope.derived(node.target), *self._uses.take_readings(first), *([place] if place else [])]
                scope.bind(node.target, None, derived)
                return
        elif place is not None:
            self._keys(node.target, tests)
        if place is not None:
            kind = self._sum(place, node.value) if isinstance(node.op, (ast.Add, ast.Sub)) else OTHER
            is_union = isinstance(node.op, ast.BitOr) and isinstance(scope.value(place), (dict, set))
            self._uses.change(place, EXTENDED if is_union else kind, tests)

    def _sum(self, place: Place, value: ast.expr) -> str:
        """Return the kind of a change by ``+`` or ``-``."""
        present = self._scope.value(place)
        if isinstance(present, (list, deque, Counter)):
            return EXTENDED
        if present is not UNKNOWN:
            return ADDED if isinstance(present, (Number, np.ndarray)) else OTHER
        if isinstance(value, (ast.List, ast.ListComp)):
            return EXTENDED
        is_text = isinstance(value, ast.Constant) and isinstance(value.value, (str, bytes))
        is_text = is_text or last_name(getattr(value, "func", value)) == "str"
        return OTHER if is_text or isinstance(value, (ast.JoinedStr, ast.Tuple)) else ADDED

    def _changed_place(self, target: ast.expr, tests: tuple[Test, ...]) -> Place | None:
        """Return the place that an assignment changes. Its keys are read, but not in ``table.loc[len(table)]``."""
        if self._scope.is_local(target):
            return None
        owner = getattr(getattr(target, "value", target), "value", target)
        if not ast.unparse(target).endswith(f".loc[len({ast.unparse(owner)})]"):
            self._keys(target, tests)
        return self._scope.place(target)

    def _test(self, node: ast.expr, tests: tuple[Test, ...]) -> Test:
        """Read a condition: what it reads decides on what is done under it."""
        first = len(self._uses.readings)
        self._expression(node, tests)
        places = self._uses.take_readings(first)
        if self._scope.is_clocked(node):  # it only decides when a call prints again
            return Test(())
        tested = [(place, kind) for part, kind in _tested(node) if (place := self._scope.place(part)) is not None]
        compared = Counter(places) - Counter(place for place, _ in tested)
        return Test((*tested, *((place, COMPARED) for place in compared)))

    def _expression(self, node: ast.AST, tests: tuple[Test, ...]) -> None:
        scope = self._scope
        if isinstance(node, ast.Call):
            self._call(node, tests)
        elif isinstance(node, (ast.IfExp, ast.BoolOp)):
            first, *rest = [node.test, node.body, node.orelse] if isinstance(node, ast.IfExp) else node.values
            self._expression(first, tests)
            inner = (*tests, self._test(first, tests))
            for part in rest:
                self._expression(part, inner)
        elif isinstance(node, ast.NamedExpr):
            self._assigned(node.target, node.value, tests)
        elif isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) and (place := scope.place(node)) is not None:
            self._uses.read(place, tests)
            self._keys(node, tests)
        else:
            for place in scope.derived(node):
                self._uses.read(place, tests)
            for child in ast.iter_child_nodes(node):
                self._expression(child, tests)

    def _keys(self, node: ast.AST, tests: tuple[Test, ...]) -> None:
        """Read the keys that lead to a place."""
        while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
            keys = [node.slice] if isinstance(node, ast.Subscript) else getattr(node, "args", [])
            for key in keys:
                self._expression(key, tests)
            node = node.func if isinstance(node, ast.Call) else node.value

    def _call(self, node: ast.Call, tests: tuple[Test, ...]) -> None:
        called = self._scope.called(node.func)
        self._read_members(called, node, tests)
        is_changing = last_name(node.func) in _CHANGING
        for number, argument in enumerate((*node.args, *(keyword.value for keyword in node.keywords))):
            self._argument(argument, tests, is_read=not (called or (is_changing and number == 0)))
        if isinstance(node.func, ast.Attribute):
            self._method(node, node.func, tests)
        else:
            self._argument(node.func, tests, is_read=not called)
        written = [keyword.value for keyword in node.keywords if keyword.arg == "out"]
        written += node.args[:1] if is_changing else []
        is_sum = ast.unparse(node.func).endswith(("add.at", "subtract.at"))
        for place in map(self._scope.place, written):
            if place is not None and not isinstance(self._scope.value(place), (str, Number)):
                self._uses.change(place, ADDED if is_sum else OTHER, tests)

    def _argument(self, node: ast.expr, tests: tuple[Test, ...], *, is_read: bool) -> None:
        """Read an expression whose value is passed on.

        Args:
            is_read: whether that reads a shared place; otherwise what receives it, reads it.
        """
        if is_read or self._scope.place(node) is None:
            self._expression(node, tests)
        else:
            self._keys(node, tests)

    def _read_members(
        self, members: Iterable[tuple[Any, Mapping[str, Place]]], node: ast.Call | None, tests: tuple[Test, ...]
    ) -> None:
        """Read functions that are called, with what they wrap.

        Args:
            node: the call that has their arguments; None for none.
        """
        for member, context in members:
            for part in wrapped_functions(member):
                passed = {} if node is None else self._scope.given(part, node)
                _Reader(part, {**context, **passed}, self._places, self._uses, tests, self._callers).read()

    def _method(self, node: ast.Call, func: ast.Attribute, tests: tuple[Test, ...]) -> None:
        """Read a call of a method: of a container, it may change it."""
        place, name = self._scope.place(func.value), func.attr
        if place is None or isinstance(func.value, ast.Call):  # as groups.setdefault(key, []).append(value)
            self._expression(func.value, tests)
        else:
            self._keys(func.value, tests)
        if place is None:
            return
        value = self._scope.value(place)
        is_changed = name in _ADDING | _REMOVING | _ORDERING
        if isinstance(value, np.ndarray):
            is_changed = name in _OF_ARRAYS
        elif is_table(value):
            is_inplace = any(keyword.arg == "inplace" for keyword in node.keywords)
            is_changed = name in _OF_TABLES and (is_inplace or name in ("insert", "pop", "update"))
        elif value is not UNKNOWN and not isinstance(value, CONTAINERS):
            return  # of a library
        elif isinstance(func.value, ast.Subscript) and isinstance(func.value.slice, ast.Slice):
            is_changed = False  # a copy
        is_bounded = isinstance(value, deque) and value.maxlen is not None
        if name == "setdefault" and node.args:
            self._uses.change((*place, step(node.args[0])), SET, tests)
        elif is_changed and not (name == "update" and is_argument(place)):  # of a bar that shows progress
            is_added = name in _ADDING and not (isinstance(value, np.ndarray) or is_table(value) or is_bounded)
            self._uses.change(place, EXTENDED if is_added else OTHER, tests)
        elif value is not UNKNOWN or name == "get":
            self._uses.read((*place, step(node.args[0])) if name == "get" and node.args else place, tests)


def _tested(node: ast.expr) -> Iterator[tuple[ast.expr, str]]:
    """Yield the expressions of which a condition tests whether they hold a key, or are set."""
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from _tested(value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield from _tested(node.operand)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        if isinstance(node.ops[0], (ast.In, ast.NotIn)):
            yield node.comparators[0], MEMBERSHIP
        elif isinstance(node.ops[0], (ast.Is, ast.IsNot)):
            yield node.left, UNSET
    elif isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
        yield node, UNSET


def _is_message(node: ast.expr) -> bool:
    """Return whether an expression only prints or logs something."""
    if not isinstance(node, ast.Call) or any(keyword.arg == "file" for keyword in node.keywords):
        return False
    return last_name(node.func) in _MESSAGES or ast.unparse(node.func) in _WRITERS


def _leaves(block: Sequence[ast.stmt]) -> bool:
    """Return whether statements end with a jump."""
    return bool(block) and isinstance(block[-1], (ast.Return, ast.Raise, ast.Continue, ast.Break))
