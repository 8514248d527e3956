"""Find what a function of a script, and those that it calls, read and change of variables that threads share."""

from __future__ import annotations

import ast
from collections import ChainMap, Counter, UserDict, UserList, deque
from collections.abc import Mapping, Sequence
from numbers import Number
from types import MethodType
from typing import Any, cast

import numpy as np

from eechips.scripts.pooling.call_variables import executed_function
from eechips.scripts.pooling.called_functions import Place, layers
from eechips.scripts.pooling.function_scope import Scope, step
from eechips.scripts.pooling.script_functions import ScriptFunction
from eechips.scripts.pooling.shared_places import (
    ADDED,
    CONTAINERS,
    EXTENDED,
    OTHER,
    READ,
    SET,
    UNKNOWN,
    Decisions,
    SharedPlaces,
    SharedUses,
    Test,
    Tests,
    is_argument,
    overlap,
    sum_kind,
)
from eechips.scripts.pooling.state_changes import is_table
from eechips.scripts.pooling.statement_kinds import (
    ADDING,
    CHANGING,
    COMPARED,
    OF_ARRAYS,
    OF_PROCESSES,
    OF_TABLES,
    OF_THREADS,
    ORDERING,
    REMOVING,
    SIGNALS,
    TRY,
    UNSET,
    is_message,
    is_slice,
    leaves,
    only_prints,
    tested,
)
from eechips.scripts.script_source import last_name

_MOST_LEVELS = 12  # functions that call each other


def shared_uses(function: Any) -> SharedUses:
    """Return what a call of a function uses; nothing for a function that is not in a file of the script."""
    uses, member = SharedUses(SharedPlaces(function)), executed_function(function)
    for layer in layers(getattr(member, "__func__", member)):
        first = ScriptFunction(layer).parameters()[:1]
        context = dict.fromkeys(first, ("self",)) if isinstance(member, MethodType) else {}
        _Reader(layer, context, uses, frozenset(), frozenset()).read(is_first=True)
    return uses


def _compared(test: Tests) -> Tests:
    """Return tests on values that other calls change, not only on whether there is one."""
    return frozenset((place, COMPARED) for place, _ in test)


class _Reader:
    """Read a function. Each method has the tests under which a statement or expression is executed.

    Args:
        member: the function or method.
        context: places of its parameters.
        uses: what is found is added.
        tests: what the conditions read under which it is called.
        callers: functions that are being read, with the places of their parameters.
    """

    def __init__(
        self, member: Any, context: Mapping[str, Place], uses: SharedUses, tests: Tests, callers: frozenset[Any]
    ) -> None:
        self._uses, self._tests, self._callers = uses, tests, callers
        self._scope = Scope(member, context, uses.places)
        self._inner = set[str]()
        self._outcome: Decisions = {}  # of what it returns
        self._is_search = False  # whether a loop is read that ends by break

    def read(self, *, is_first: bool = False) -> Decisions:
        """Read its definition; return the tests that decide what it returns.

        Args:
            is_first: whether calls of the pool have this function.
        """
        if self._scope.key in self._callers or len(self._callers) > _MOST_LEVELS:
            return {}
        key, first = (self._scope.key, self._tests), len(self._uses.readings)
        if not is_first and key in self._uses.known:
            for use in self._uses.known[key]:
                self._uses.add(READ, use.place, use.tests)
            return self._uses.outcomes[key]
        self._callers |= {self._scope.key}
        if is_first:
            self._scope.bind_arguments()
        for definition in self._scope.definitions():
            if isinstance(definition, ast.Lambda):
                self._expression(definition.body, self._tests)
            else:
                self._block(definition.body, self._tests)
        self._uses.known[key] = list({(use.place, use.tests): use for use in self._uses.readings[first:]}.values())
        self._uses.outcomes[key] = {t: k for t, k in self._outcome.items() if t not in self._tests}
        return self._uses.outcomes[key]

    def _read(self, member: Any, context: Mapping[str, Place], tests: Tests) -> Decisions:
        return _Reader(member, context, self._uses, tests, self._callers).read()

    def _block(self, statements: Sequence[ast.stmt], tests: Tests) -> Tests:
        """Read statements; return the tests for what follows them: one that may return decides on all after it."""
        for statement in statements:
            tests = self._statement(statement, tests)
        return tests

    def _statement(self, node: ast.stmt, tests: Tests) -> Tests:
        """See `_block`."""
        match node:
            case ast.For() | ast.AsyncFor() | ast.While():
                return self._loop(node, tests)
            case ast.If():
                test, blocks = self._test(node.test, tests), [node.body]
                while len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):  # elif
                    node = node.orelse[0]
                    test |= self._test(node.test, tests | test)
                    blocks.append(node.body)
                return self._branches(test, [*blocks, node.orelse], tests)
            case ast.Match():
                return self._branches(self._test(node.subject, tests), [case.body for case in node.cases], tests)
            case ast.Assert():
                return tests | self._test(node.test, tests)
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    self._entered(item, tests)
                managers = (getattr(item.context_expr, "func", item.context_expr) for item in node.items)
                if any(self._scope.called_name(manager) == "suppress" for manager in managers):
                    return self._attempt(ast.Try(node.body, [], [], [], lineno=node.lineno), tests)
                return self._block(node.body, tests)
            case ast.Return(value=ast.expr() as value):
                self._expression(value, tests)
                self._outcome |= self._scope.chosen(value, tests)
            case _ if isinstance(node, TRY):
                return self._attempt(node, tests)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self._inner.add(node.name)
                self._block(node.body, tests)
            case ast.Assign() | ast.AnnAssign():
                self._assignment(node, tests)
            case ast.AugAssign():
                self._augmented(node, tests)
            case ast.Delete():
                for target in node.targets:
                    self._uses.add(OTHER, self._scope.place(target), tests)
            case ast.Expr(value=ast.Call() as call) if is_message(call) or self._only_prints(call):
                first, changes = len(self._uses.readings), len(self._uses.changes)
                self._call(call, tests)
                if len(self._uses.changes) == changes:
                    self._uses.take_readings(first)
            case ast.Expr(value=ast.Call() as call):
                self._call(call, tests)
                if isinstance(call.func, ast.Attribute) and (place := self._scope.place(call.func.value)) is not None:
                    self._uses.called.append(place)
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self._expression(child, tests)
        return tests

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While, tests: Tests) -> Tests:
        """See `_block`. A condition that ends a loop, as when a name is free, decides on what follows it."""
        is_search, self._is_search = self._is_search, any(isinstance(part, ast.Break) for part in ast.walk(node))
        if isinstance(node, ast.While):
            test = _compared(self._test(node.test, tests))
            tests = self._branches(test, [node.body, node.orelse], tests) | test
        else:
            self._expression(node.iter, tests)
            self._scope.bind_items(node.target, node.iter)
            tests = self._block(node.orelse, self._block(node.body, tests))
        self._is_search = is_search
        return tests

    def _only_prints(self, call: ast.Call) -> bool:
        """Return whether a call is of a function of the script that only prints or logs."""
        members = [ScriptFunction(member) for member, _ in self._scope.called(call.func)]
        return bool(members) and all(only_prints(part) for member in members for part in member.definitions())

    def _branches(self, test: Tests, blocks: Sequence[Sequence[ast.stmt]], tests: Tests) -> Tests:
        """Read the blocks of which a test chooses one; see `_block`."""
        test = _compared(test) if self._is_search else test
        inner = tests | test
        ends = frozenset[Test]().union(*(self._block(block, inner) - inner for block in blocks))
        return tests | ends | (test if ends or any(map(leaves, blocks)) else frozenset())

    def _attempt(self, node: ast.Try, tests: Tests) -> Tests:
        """Read handlers of errors, which may set what later lines read, then their block. See `_block`.

        That a key is missing decides on what is done in a handler, and without an error.
        """
        handlers = [line for handler in node.handlers for line in handler.body]
        looked_up = list(map(self._scope.looked_up, node.body))
        missing = frozenset[Test]().union(*looked_up)
        inner = tests | {((f"handler {node.lineno}",), UNSET)} | missing
        ends = self._block(handlers, inner) - inner
        is_decisive = leaves(node.body) or any(leaves(part.body) for part in node.handlers)
        tests |= ends | (missing if is_decisive else frozenset())
        added = missing - tests
        for line, keys in zip(node.body, looked_up, strict=True):
            tests = self._statement(line, tests) | keys
        tests = self._block(node.orelse, tests) - added
        return self._block(node.finalbody, tests)

    def _assignment(self, node: ast.Assign | ast.AnnAssign, tests: Tests) -> None:
        value = node.value
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            pairs = [(target, value)]
            if isinstance(target, (ast.Tuple, ast.List)) and isinstance(value, (ast.Tuple, ast.List)):
                is_each = len(target.elts) == len(value.elts)
                pairs = list(zip(target.elts, value.elts, strict=True)) if is_each else pairs
            for part, item in pairs:
                if item is not None:
                    self._assigned(part, item, tests)

    def _assigned(self, target: ast.expr, value: ast.expr, tests: Tests) -> None:
        """Read an assignment of a value to a target."""
        first, source = len(self._uses.readings), self._scope.place(value)
        if isinstance(target, (ast.Tuple, ast.List)):
            self._expression(value, tests)
            for part in target.elts:
                self._uses.add(SET, self._changed_place(part, tests), tests)
            self._scope.bind(target, source)
        elif self._scope.is_local(target):
            is_called = isinstance(value, ast.Call)
            self._call(value, tests) if isinstance(value, ast.Call) else self._expression(value, tests)
            derived = [] if source is not None and is_called else self._uses.take_readings(first)
            self._scope.bind(target, source, [] if source is not None else derived)
            self._scope.note_link(target, value)
            self._scope.note_decisions(target, self._scope.chosen(value, tests))
            if isinstance(value, ast.Lambda) and isinstance(target, ast.Name):
                self._inner.add(target.id)
        elif isinstance(value, ast.BinOp) and self._scope.is_sum_with(target, value):
            self._augmented(ast.AugAssign(cast("ast.Name", target), value.op, value.right), tests, is_new=True)
        else:
            self._expression(value, tests)
            read = [reading.place for reading in self._uses.readings[first:]]
            self._scope.note_link(target, value)
            place = self._changed_place(target, tests)
            is_own = place is not None and any(overlap(other, place) for other in read)
            is_cut = is_slice(target) and place is not None and isinstance(self._scope.value(place), (list, deque))
            tests = self._scope.deciding(target, self._scope.deciding(value, tests, COMPARED))
            self._uses.add(OTHER if is_own or is_cut else SET, place, tests, read)

    def _augmented(self, node: ast.AugAssign, tests: Tests, *, is_new: bool = False) -> None:
        """Read a change of what a target has.

        Args:
            is_new: whether the target is set to a new object.
        """
        first, scope = len(self._uses.readings), self._scope
        self._expression(node.value, tests)
        place = scope.place(node.target)
        present = UNKNOWN if place is None else scope.value(place)
        if not scope.is_local(node.target):
            place = self._changed_place(node.target, tests)
        elif not isinstance(present, (dict, list, set, deque, np.ndarray)):
            derived = [*scope.derived(node.target), *self._uses.take_readings(first), *([place] if place else [])]
            scope.bind(node.target, None, derived)
            scope.note_decisions(node.target, scope.chosen(node.value, tests))
            return
        self._uses.add(sum_kind(present, node, is_new=is_new), place, tests)

    def _changed_place(self, target: ast.expr, tests: Tests) -> Place | None:
        """Return the place that an assignment changes. Its keys are read, but not in ``table.loc[len(table)]``."""
        if self._scope.is_local(target) or self._scope.is_of_call(target):
            return None
        owner = getattr(getattr(target, "value", target), "value", target)
        if not ast.unparse(target).endswith(f".loc[len({ast.unparse(owner)})]"):
            self._keys(target, tests)
        self._named(target, tests)
        return self._scope.place(target)

    def _test(self, node: ast.expr, tests: Tests) -> Tests:
        """Read a condition: what it reads decides on what is done under it."""
        first = len(self._uses.readings)
        self._expression(node, tests)
        places = self._uses.take_readings(first)
        flags = self._scope.deciding(node, frozenset(), COMPARED)
        of_parts = [(place, kind) for part, kind in tested(node) if (place := self._scope.place(part)) is not None]
        compared = Counter(places) - Counter(place for place, _ in of_parts)
        itself = (f"condition {ast.unparse(node)}",)
        return frozenset({(itself, COMPARED), *flags, *of_parts, *((place, COMPARED) for place in compared)})

    def _expression(self, node: ast.AST, tests: Tests) -> None:
        scope = self._scope
        if isinstance(node, ast.Call):
            self._call(node, tests)
            if last_name(node.func) == "setdefault":
                self._uses.add(READ, scope.place(node), tests)
        elif isinstance(node, (ast.IfExp, ast.BoolOp)):
            first, *rest = [node.test, node.body, node.orelse] if isinstance(node, ast.IfExp) else node.values
            self._expression(first, tests)
            inner = tests | self._test(first, tests)
            for part in rest:
                self._expression(part, inner)
        elif isinstance(node, ast.NamedExpr):
            self._assigned(node.target, node.value, tests)
            self._expression(node.target, tests)
        elif isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) and (place := scope.place(node)) is not None:
            self._uses.add(READ, place, tests)
            self._keys(node, tests)
            self._named(node, tests)
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            for loop in node.generators:
                self._expression(loop.iter, tests)
                scope.bind_items(loop.target, loop.iter)
                for condition in loop.ifs:
                    self._expression(condition, tests)
            for value in [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]:
                self._expression(value, tests)
        else:
            self._named(node, tests)
            for place in scope.derived(node):
                self._uses.add(READ, place, tests)
            for child in ast.iter_child_nodes(node):
                self._expression(child, tests)

    def _keys(self, node: ast.AST, tests: Tests) -> None:
        """Read the keys that lead to a place."""
        while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
            if isinstance(node, ast.Call) and self._scope.called(node.func):
                self._call(node, tests)
                return
            keys = [node.slice] if isinstance(node, ast.Subscript) else getattr(node, "args", [])
            for key in keys:
                self._expression(key, tests)
            node = node.func if isinstance(node, ast.Call) else node.value

    def _named(self, node: ast.AST, tests: Tests) -> None:
        """Read the functions that a name means: what has them may call them."""
        for member, context in self._scope.named(node):
            key = getattr(member, "__code__", None), tuple(sorted(context.items())), tests
            if key not in self._uses.named:
                self._uses.named.add(key)
                self._read(member, context, tests)

    def _entered(self, item: ast.withitem, tests: Tests) -> None:
        """Read a context manager: its methods, and the name that it gives."""
        place = self._scope.place(item.context_expr)
        if place is None or not self._scope.is_object(place):
            self._expression(item.context_expr, tests)
        for name in ("__enter__", "__exit__", "__aenter__", "__aexit__"):
            for member, context in self._scope.called(ast.Attribute(item.context_expr, name)):
                self._read(member, context, tests)
        if item.optional_vars is not None and place is not None:
            self._scope.bind(item.optional_vars, place if self._scope.is_object(place) else None)

    def _call(self, node: ast.Call, tests: Tests) -> None:
        first, name = len(self._uses.readings), last_name(node.func)
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Call):
            self._call(node.func.value, tests)
        if name in OF_PROCESSES:  # its initializer changes other processes
            return
        called = self._scope.called(node.func)
        for member, context in called:
            context = {**context, **self._scope.given(member, node, context)}
            self._scope.note_decisions(node, self._read(member, context, tests))
        is_changing = self._scope.called_name(node.func) in CHANGING
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        for number, argument in enumerate(arguments):
            if (called or (is_changing and not number)) and self._scope.place(argument) is not None:
                self._keys(argument, tests)  # the called function reads and changes it
            else:
                self._expression(argument, tests)
        if isinstance(node.func, ast.Attribute):
            self._method(node, node.func, tests, [reading.place for reading in self._uses.readings[first:]])
        elif not called:
            self._expression(node.func, tests)
            self._uses.add(OTHER, self._scope.bound_container(node.func), tests)  # add = rows.append
        self._uses.add(OTHER, ("globals",) if name == "globals" else None, tests)
        written = [keyword.value for keyword in node.keywords if keyword.arg == "out"]
        written += node.args[:1] if is_changing else []
        if isinstance(node.func, ast.Name) and name in self._inner:  # a function in this one may change them
            written += [
                part for part in arguments if (place := self._scope.place(part)) and self._scope.is_object(place)
            ]
        for place in map(self._scope.place, written):
            if place is not None and not isinstance(self._scope.value(place), (str, Number)):
                is_sum = ast.unparse(node.func).endswith(("add.at", "subtract.at"))
                self._uses.add(ADDED if is_sum else OTHER, place, tests)
        files = (self._scope.place(keyword.value) for keyword in node.keywords if keyword.arg == "file")
        self._uses.called += [place for place in files if place is not None]

    def _method(self, node: ast.Call, func: ast.Attribute, tests: Tests, read: Sequence[Place]) -> None:
        """Read a call of a method: of a container, it may change it.

        Args:
            read: places that its arguments read.
        """
        place, name = self._scope.place(func.value), func.attr
        if not isinstance(func.value, ast.Call) and place is None:
            self._expression(func.value, tests)
        elif not isinstance(func.value, ast.Call):
            self._keys(func.value, tests)
        if place is None:
            return
        value = self._scope.value(place)
        is_changed = name in ADDING | REMOVING | ORDERING
        if isinstance(value, np.ndarray):
            is_changed = name in OF_ARRAYS
        elif is_table(value):
            is_inplace = any(keyword.arg == "inplace" for keyword in node.keywords)
            is_changed = name in OF_TABLES and (is_inplace or name in ("insert", "pop", "update"))
        elif isinstance(value, (UserDict, UserList, ChainMap)):
            self._uses.add(OTHER, place if is_changed or name == "setdefault" else None, tests)
            return
        elif value is not UNKNOWN and not isinstance(value, CONTAINERS):  # of a library
            is_mark = name == "acquire" and bool(node.args or node.keywords)  # the first to acquire it acts once
            if is_mark or (type(value).__module__ in OF_THREADS and name in SIGNALS):
                self._uses.add(OTHER, place, tests)
            return
        elif is_slice(func.value):
            is_changed = False  # a copy
        if name == "setdefault" and node.args:
            item = (*place, step(node.args[0]))
            self._uses.add(SET, item, tests | {(item, UNSET)}, read)
        elif is_changed and not (name == "update" and is_argument(place)):  # of a bar that shows progress
            is_added = name in ADDING and not (isinstance(value, np.ndarray) or is_table(value))
            is_added = is_added and getattr(value, "maxlen", None) is None
            self._uses.add(EXTENDED if is_added else OTHER, place, self._scope.deciding(node, tests))
        else:
            self._uses.add(READ, (*place, step(node.args[0])) if name == "get" and node.args else place, tests)
