"""Find what a function of a script, and those that it calls, read and change of variables that threads share."""

from __future__ import annotations

import ast
from collections import ChainMap, Counter, UserDict, UserList, deque
from collections.abc import Mapping, Sequence
from numbers import Number
from types import MethodType
from typing import Any

import numpy as np

from eechips.scripts.pooling import method_names
from eechips.scripts.pooling.call_variables import executed_function
from eechips.scripts.pooling.called_functions import Place, layers
from eechips.scripts.pooling.function_scope import Scope, step
from eechips.scripts.pooling.place_uses import ADDED, EXTENDED, OTHER, SET, SharedUses, Test
from eechips.scripts.pooling.script_functions import ScriptFunction
from eechips.scripts.pooling.shared_places import CONTAINERS, UNKNOWN, SharedPlaces, is_argument, overlap
from eechips.scripts.pooling.state_changes import is_table
from eechips.scripts.pooling.statement_kinds import (
    COMPARED,
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
    uses, member = SharedUses(), executed_function(function)
    places = SharedPlaces(function)
    for layer in layers(getattr(member, "__func__", member)):
        first = ScriptFunction(layer).parameters()[:1]
        context = dict.fromkeys(first, ("self",)) if isinstance(member, MethodType) else {}
        _Reader(layer, context, places, uses, (), frozenset()).read(is_first=True)
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
        self._inner: dict[str, ast.AST] = {}

    def read(self, *, is_first: bool = False) -> None:
        """Read its definition.

        Args:
            is_first: whether calls of the pool have this function.
        """
        if self._scope.key in self._callers or len(self._callers) > _MOST_LEVELS:
            return
        key, first = (self._scope.key, self._tests), len(self._uses.readings)
        if not is_first and key in self._uses.known:
            for place, tests in self._uses.known[key]:
                self._uses.read(place, tests)
            return
        self._callers |= {self._scope.key}
        for definition in self._scope.definitions(is_first=is_first):
            if isinstance(definition, ast.Lambda):
                self._expression(definition.body, self._tests)
            else:
                self._block(definition.body, self._tests)
        self._uses.known[key] = dict.fromkeys((part.place, part.tests) for part in self._uses.readings[first:])

    def _block(self, statements: Sequence[ast.stmt], tests: tuple[Test, ...]) -> tuple[Test, ...]:
        """Read statements; return the tests for what follows them: one that may return decides on all after it."""
        for statement in statements:
            tests = self._statement(statement, tests)
        return tests

    def _statement(self, node: ast.stmt, tests: tuple[Test, ...]) -> tuple[Test, ...]:
        """See `_block`."""
        match node:
            case ast.If() | ast.While():
                return self._chain(node, tests)
            case ast.Match():
                return self._branches(self._test(node.subject, tests), [case.body for case in node.cases], tests)
            case ast.Assert():
                return (*tests, self._test(node.test, tests))
            case ast.For() | ast.AsyncFor():
                self._expression(node.iter, tests)
                self._scope.bind_items(node.target, node.iter)
                return self._block(node.orelse, self._block(node.body, tests))
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    self._entered(item, tests)
                return self._block(node.body, tests)
            case _ if isinstance(node, TRY):
                return self._attempt(node, tests)
            case ast.Expr(value=ast.Call() as call) if not (is_message(call) or self._only_prints(call)):
                self._call(call, tests)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self._inner[node.name] = node
                self._block(node.body, tests)
            case ast.Assign() | ast.AnnAssign():
                self._assignment(node, tests)
            case ast.AugAssign():
                self._augmented(node, tests)
            case ast.Delete():
                for target in node.targets:
                    self._uses.change(self._scope.place(target), OTHER, tests)
            case ast.Expr(value=ast.Call() as call):
                first, changes = len(self._uses.readings), len(self._uses.changes)
                self._expression(call, tests)
                if len(self._uses.changes) == changes:
                    self._uses.take_readings(first)
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self._expression(child, tests)
        return tests

    def _only_prints(self, call: ast.Call) -> bool:
        """Return whether a call is of a function of the script that only prints or logs."""
        members = [ScriptFunction(member) for member, _ in self._scope.called(call.func)]
        return bool(members) and all(only_prints(part) for member in members for part in member.definitions())

    def _chain(self, node: ast.If | ast.While, tests: tuple[Test, ...]) -> tuple[Test, ...]:
        """Read the branches of ``if`` and ``elif``: each depends on its condition and those before. See `_block`."""
        reads, ends = dict[tuple[Place, str], None](), dict.fromkeys(tests)
        while True:
            known = (*tests, Test(tuple(reads))) if reads else tests
            reads |= dict.fromkeys(self._test(node.test, known).reads)
            following = node.orelse[0] if len(node.orelse) == 1 else None
            blocks = [node.body] if isinstance(following, ast.If) else [node.body, node.orelse]
            ends |= dict.fromkeys(self._branches(Test(tuple(reads)), blocks, tests))
            if not isinstance(following, ast.If):
                return tuple(ends)
            node = following

    def _branches(self, test: Test, blocks: Sequence[Sequence[ast.stmt]], tests: tuple[Test, ...]) -> tuple[Test, ...]:
        """Read the blocks of which a test chooses one; see `_block`."""
        inner = (*tests, test)
        ends = [end for block in blocks for end in self._block(block, inner) if end not in inner]
        ending = [test] if any(map(leaves, blocks)) else []
        return (*tests, *ending, *dict.fromkeys(ends))

    def _attempt(self, node: ast.Try, tests: tuple[Test, ...]) -> tuple[Test, ...]:
        """Read handlers of errors, which may set what follows them reads, or not, and their block. See `_block`."""
        handlers = [line for handler in node.handlers for line in handler.body]
        in_handler = Test((((f"handler {node.lineno}",), UNSET),))
        ends = self._block(handlers, (*tests, in_handler))
        tests = (*tests, *(end for end in ends[len(tests) + 1 :]))
        return self._block([*node.body, *node.orelse, *node.finalbody], tests)

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
            is_called = isinstance(value, ast.Call)
            self._call(value, tests) if isinstance(value, ast.Call) else self._expression(value, tests)
            derived = [] if source is not None and is_called else self._uses.take_readings(first)
            self._scope.bind(target, source, [] if source is not None else derived)
            self._scope.note_link(target, value)
            if isinstance(value, ast.Lambda) and isinstance(target, ast.Name):
                self._inner[target.id] = value
            self._scope.note_clock(target, value)
        elif (added := self._addend(target, value)) is not None:
            if isinstance(value, ast.BinOp) and isinstance(value.left, ast.Call):
                self._expression(value.left, tests)
            self._expression(added, tests)
            place = self._changed_place(target, tests)
            is_new = place is not None and isinstance(self._scope.value(place), (deque, Counter))
            self._uses.change(place, OTHER if place is None or is_new else self._sum(place, added), tests)
        else:
            self._expression(value, tests)
            read = [reading.place for reading in self._uses.readings[first:]]
            self._scope.note_link(target, value)
            place = self._changed_place(target, tests)
            is_own = place is not None and any(overlap(other, place) for other in read)
            is_cut = is_slice(target) and place is not None and isinstance(self._scope.value(place), (list, deque))
            self._uses.change(place, OTHER if is_own or is_cut else SET, tests, read)

    def _addend(self, target: ast.expr, value: ast.expr) -> ast.expr | None:
        """Return what an assignment adds to the value of its target; None if it does something else."""
        is_sum = isinstance(value, ast.BinOp) and isinstance(value.op, (ast.Add, ast.Sub))
        place = self._scope.place(target)
        if not is_sum or place is None or not isinstance(value, ast.BinOp) or is_slice(target) or is_slice(value.left):
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
            is_less = isinstance(node.op, ast.Sub) and isinstance(scope.value(place), Counter)
            is_sum = isinstance(node.op, (ast.Add, ast.Sub)) and not is_less
            kind = self._sum(place, node.value) if is_sum else OTHER
            is_union = isinstance(node.op, ast.BitOr) and isinstance(scope.value(place), (dict, set))
            self._uses.change(place, EXTENDED if is_union else kind, tests)

    def _sum(self, place: Place, value: ast.expr) -> str:
        """Return the kind of a change by ``+`` or ``-``."""
        present = self._scope.value(place)
        if isinstance(present, (list, deque, Counter)):
            return EXTENDED
        if isinstance(present, (bool, np.bool_)):
            return OTHER
        if present is not UNKNOWN:
            return ADDED if isinstance(present, (Number, np.ndarray)) else OTHER
        if isinstance(value, (ast.List, ast.ListComp)):
            return EXTENDED
        is_text = isinstance(value, ast.Constant) and isinstance(value.value, (str, bytes))
        is_text = is_text or last_name(getattr(value, "func", value)) == "str"
        return OTHER if is_text or isinstance(value, (ast.JoinedStr, ast.Tuple)) else ADDED

    def _changed_place(self, target: ast.expr, tests: tuple[Test, ...]) -> Place | None:
        """Return the place that an assignment changes. Its keys are read, but not in ``table.loc[len(table)]``."""
        if self._scope.is_local(target) or self._scope.is_of_call(target):
            return None
        owner = getattr(getattr(target, "value", target), "value", target)
        if not ast.unparse(target).endswith(f".loc[len({ast.unparse(owner)})]"):
            self._keys(target, tests)
        self._named(target, tests)
        return self._scope.place(target)

    def _test(self, node: ast.expr, tests: tuple[Test, ...]) -> Test:
        """Read a condition: what it reads decides on what is done under it."""
        first = len(self._uses.readings)
        self._expression(node, tests)
        places = self._uses.take_readings(first)
        if self._scope.is_clocked(node):  # it only decides when a call prints again
            return Test(())
        of_parts = [(place, kind) for part, kind in tested(node) if (place := self._scope.place(part)) is not None]
        compared = Counter(places) - Counter(place for place, _ in of_parts)
        return Test((*of_parts, *((place, COMPARED) for place in compared)))

    def _expression(self, node: ast.AST, tests: tuple[Test, ...]) -> None:
        scope = self._scope
        if isinstance(node, ast.Call):
            self._call(node, tests)
            if last_name(node.func) == "setdefault" and (place := scope.place(node)) is not None:
                self._uses.read(place, tests)
        elif isinstance(node, (ast.IfExp, ast.BoolOp)):
            first, *rest = [node.test, node.body, node.orelse] if isinstance(node, ast.IfExp) else node.values
            self._expression(first, tests)
            inner = (*tests, self._test(first, tests))
            for part in rest:
                self._expression(part, inner)
        elif isinstance(node, ast.NamedExpr):
            self._assigned(node.target, node.value, tests)
            self._expression(node.target, tests)
        elif isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) and (place := scope.place(node)) is not None:
            self._uses.read(place, tests)
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

    def _named(self, node: ast.AST, tests: tuple[Test, ...]) -> None:
        """Read the functions that a name means: what has them may call them."""
        for member, context in self._scope.named(node):
            key = getattr(member, "__code__", None), tuple(sorted(context.items())), tests
            if key not in self._uses.named:
                self._uses.named.add(key)
                _Reader(member, context, self._places, self._uses, tests, self._callers).read()

    def _call_inner(self, node: ast.Call, tests: tuple[Test, ...]) -> None:
        """Read a function in this one again, with what a call passes to it."""
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        inner = self._inner.pop(name, None)
        if not isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            return
        for parameter, value in zip(inner.args.args, node.args, strict=False):
            if (place := self._scope.place(value)) is not None:
                self._scope.bind(ast.Name(parameter.arg), place)
        if isinstance(inner, ast.Lambda):
            self._expression(inner.body, tests)
        else:
            self._block(inner.body, tests)
        self._inner[name] = inner

    def _entered(self, item: ast.withitem, tests: tuple[Test, ...]) -> None:
        """Read a context manager: its methods, and the name that it gives."""
        place = self._scope.place(item.context_expr)
        if place is None or not self._scope.is_object(place):
            self._expression(item.context_expr, tests)
        for name in ("__enter__", "__exit__", "__aenter__", "__aexit__"):
            for member, context in self._scope.called(ast.Attribute(item.context_expr, name)):
                _Reader(member, context, self._places, self._uses, tests, self._callers).read()
        if item.optional_vars is not None and place is not None:
            self._scope.bind(item.optional_vars, place if self._scope.is_object(place) else None)

    def _call(self, node: ast.Call, tests: tuple[Test, ...]) -> None:
        first = len(self._uses.readings)
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Call):
            self._call(node.func.value, tests)
        if last_name(node.func) in method_names.OF_PROCESSES:  # its initializer changes other processes
            return
        called = self._scope.called(node.func)
        for member, context in called:
            own = {**context, **self._scope.given(member, node, context)}
            _Reader(member, own, self._places, self._uses, tests, self._callers).read()
        is_changing = self._scope.called_name(node.func) in method_names.CHANGING
        for number, argument in enumerate((*node.args, *(keyword.value for keyword in node.keywords))):
            if (called or (is_changing and not number)) and self._scope.place(argument) is not None:
                self._keys(argument, tests)  # the called function reads and changes it
            else:
                self._expression(argument, tests)
        if isinstance(node.func, ast.Attribute):
            self._method(node, node.func, tests, [reading.place for reading in self._uses.readings[first:]])
        elif not called:
            self._expression(node.func, tests)
            bound = self._scope.bound_container(node.func)
            self._uses.change(bound, OTHER, tests)  # add = rows.append
        self._call_inner(node, tests)
        written = [keyword.value for keyword in node.keywords if keyword.arg == "out"]
        written += node.args[:1] if is_changing else []
        for place in map(self._scope.place, written):
            if place is not None and not isinstance(self._scope.value(place), (str, Number)):
                is_sum = ast.unparse(node.func).endswith(("add.at", "subtract.at"))
                self._uses.change(place, ADDED if is_sum else OTHER, tests)

    def _method(self, node: ast.Call, func: ast.Attribute, tests: tuple[Test, ...], read: Sequence[Place]) -> None:
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
        is_changed = name in method_names.ADDING | method_names.REMOVING | method_names.ORDERING
        if isinstance(value, np.ndarray):
            is_changed = name in method_names.OF_ARRAYS
        elif is_table(value):
            is_inplace = any(keyword.arg == "inplace" for keyword in node.keywords)
            is_changed = name in method_names.OF_TABLES and (is_inplace or name in ("insert", "pop", "update"))
        elif isinstance(value, (UserDict, UserList, ChainMap)):
            self._uses.change(place if is_changed or name == "setdefault" else None, OTHER, tests)
            return
        elif value is not UNKNOWN and not isinstance(value, CONTAINERS):  # of a library
            if type(value).__module__ in method_names.OF_THREADS and name in method_names.SIGNALS:
                self._uses.change(place, OTHER, tests)
            return
        elif is_slice(func.value):
            is_changed = False  # a copy
        if name == "setdefault" and node.args:
            item = (*place, step(node.args[0]))
            self._uses.change(item, SET, (*tests, Test(((item, UNSET),))), read)
        elif is_changed and not (name == "update" and is_argument(place)):  # of a bar that shows progress
            is_added = name in method_names.ADDING and not (isinstance(value, np.ndarray) or is_table(value))
            is_added = is_added and getattr(value, "maxlen", None) is None
            self._uses.change(place, EXTENDED if is_added else OTHER, tests)
        elif value is not UNKNOWN or name == "get":
            self._uses.read((*place, step(node.args[0])) if name == "get" and node.args else place, tests)
