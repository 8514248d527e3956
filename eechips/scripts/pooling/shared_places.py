"""Name the places of variables that threads share, as a function of a script names them in its source.

A place is a variable, with the attributes and keys that lead from it to what is used: ``state.text`` and ``rows[n]``.
"""

from __future__ import annotations

import ast
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from eechips.scripts.pooling.call_variables import executed_function
from eechips.scripts.pooling.script_functions import Definition, ScriptFunction, is_of_script
from eechips.scripts.pooling.state_changes import is_table
from eechips.scripts.script_source import last_name

Place = tuple[str, ...]
"""A variable, ``self`` or ``argument name``; then ``.attribute``, ``['key']``, or ``[*key]`` for a key that differs."""

UNKNOWN: Any = object()
CONTAINERS = (dict, list, set, deque, tuple)

_MODULE, _ARGUMENT = "module ", "argument "
_ACCESSORS = frozenset({"at", "flat", "iat", "iloc", "loc", "values"})
_CLOCKS = frozenset({"monotonic", "now", "perf_counter", "time", "utcnow"})


def overlap(one: Place, other: Place) -> bool:
    """Return whether two places are the same, or one is within the other; a key that differs may be any."""
    return all(map(may_equal, one, other))


def may_equal(one: str, other: str) -> bool:
    """Return whether two steps of places may lead to the same."""
    is_any = one.startswith("[*") or other.startswith("[*")
    return one == other or (is_any and one[0] == other[0] == "[")


def is_argument(place: Place) -> bool:
    """Return whether a place is an argument of the call, or in one."""
    return place[0].startswith(_ARGUMENT)


def variable_name(place: Place) -> str:
    """Return the name of the variable, argument or field of ``self`` that a place is in."""
    return f"self{place[1]}" if place[0] == "self" and len(place) > 1 else place[0].rpartition(" ")[2]


class SharedPlaces:
    """The values at places of a call's variables, before the call.

    Attributes:
        module: name of the function's module.
    """

    def __init__(self, function: Any) -> None:
        member = executed_function(function)
        source = ScriptFunction(member)
        self.module = source.module
        self._variables = source.variables() | {"self": getattr(member, "__self__", UNKNOWN)}

    def value(self, place: Place) -> Any:
        """Return what is at a place; for a key that differs, one of the items; UNKNOWN for what is not known."""
        name, *steps = place
        is_module = name.startswith(_MODULE)
        value = sys.modules.get(name.removeprefix(_MODULE)) if is_module else self._variables.get(name, UNKNOWN)
        for step in steps:
            value = _inner(value, step)
        return value


def _inner(value: Any, step: str) -> Any:
    """Return an attribute or item, without executing a property."""
    if step.startswith("."):
        own = getattr(value, "__dict__", {})
        return own.get(step[1:], getattr(type(value), step[1:], UNKNOWN))
    if isinstance(value, defaultdict) and not value:
        return value.default_factory() if value.default_factory in (int, float, str, list, set, dict) else UNKNOWN
    if isinstance(value, dict) and not step.startswith("[*"):
        return value.get(ast.literal_eval(step[1:-1]), UNKNOWN)
    if isinstance(value, CONTAINERS):
        return next(iter(value.values() if isinstance(value, dict) else value), UNKNOWN)
    return value.dtype.type(0) if isinstance(value, np.ndarray) and not value.dtype.hasobject else UNKNOWN


class Scope:
    """The names in a function of a script.

    Args:
        member: the function or method.
        context: places of its parameters.
        places: values at the places.
    """

    def __init__(self, member: Any, context: Mapping[str, Place], places: SharedPlaces) -> None:
        self._places = places
        self._source = ScriptFunction(member)
        self._variables = self._source.variables()
        self._aliases = dict(context)
        self._derived: dict[str, tuple[Place, ...]] = {}
        self._locals, self._declared = set[str](), set[str]()
        self._clocked = set[str]()
        self.key = self._source.code, tuple(sorted(context.items()))

    def definitions(self, *, is_first: bool) -> Iterator[Definition]:
        """Yield the definitions of the function in its file, each with its names.

        Args:
            is_first: whether calls of the pool have this function: its arguments are places, too.
        """
        for definition in self._source.definitions():
            self._locals, self._declared = _names_of(definition, self._source.inherited)
            if is_first:
                names = [argument.arg for argument in ast.walk(definition.args) if isinstance(argument, ast.arg)]
                self._aliases = {n: (f"{_ARGUMENT}{n}",) for n in names} | self._aliases
            yield definition

    def is_local(self, node: ast.AST) -> bool:
        """Return whether an expression is a local name."""
        return isinstance(node, ast.Name) and node.id in self._locals

    def place(self, node: ast.AST) -> Place | None:
        """Return the shared place that an expression means; None for another value."""
        if isinstance(node, ast.Name):
            return self._aliases.get(node.id, self._variable(node.id))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            inner = self.place(node.func.value) if node.func.attr in ("get", "setdefault") else None
            is_dict = inner is not None and isinstance(self.value(inner), (dict, type(UNKNOWN)))
            return (*inner, step(node.args[0])) if inner is not None and is_dict else None
        inner = self.place(node.value) if isinstance(node, (ast.Attribute, ast.Subscript)) else None
        if inner is None:
            return None
        if isinstance(node, ast.Subscript):
            return inner if isinstance(node.slice, ast.Slice) else (*inner, step(node.slice))
        name = node.attr if isinstance(node, ast.Attribute) else ""
        is_cells = isinstance(value := self.value(inner), np.ndarray) or is_table(value)
        return inner if is_cells and name in _ACCESSORS else (*inner, f".{name}")

    def _variable(self, name: str) -> Place | None:
        if name in self._locals or not (name in self._variables or name in self._declared):
            return None
        value = self._variables.get(name)
        if isinstance(value, (threading.local, FunctionType)):
            return None
        if isinstance(value, (ModuleType, type)) and not is_of_script(value):
            return None
        if isinstance(value, ModuleType):
            return (f"{_MODULE}{value.__name__}",)
        is_own = self._source.module == self._places.module
        return (name,) if is_own else (f"{_MODULE}{self._source.module}", f".{name}")

    def value(self, place: Place) -> Any:
        """Return what is at a place: see `SharedPlaces.value`."""
        return self._places.value(place)

    def bind(self, target: ast.expr, place: Place | None, derived: Collection[Place] = ()) -> None:
        """Note what a local name means from here on.

        Args:
            place: the place that it is another name of; None for a value of the call's own.
            derived: places from which the value is made.
        """
        if isinstance(target, ast.Name) and target.id in self._locals:
            self._clocked.discard(target.id)
            self._aliases.pop(target.id, None)
            self._derived[target.id] = tuple(derived)
            if place is not None:
                self._aliases[target.id] = place
        elif isinstance(target, (ast.Tuple, ast.List)):
            for part in target.elts:
                self.bind(part, None if place is None else (*place, "[*]"), derived)

    def derived(self, node: ast.AST) -> tuple[Place, ...]:
        """Return the places from which the value of a local name is made."""
        return self._derived.get(node.id, ()) if isinstance(node, ast.Name) else ()

    def note_clock(self, target: ast.expr, value: ast.expr) -> None:
        """Note whether a local name has the time."""
        if isinstance(target, ast.Name) and isinstance(value, ast.Call) and last_name(value.func) in _CLOCKS:
            self._clocked.add(target.id)

    def is_clocked(self, node: ast.expr) -> bool:
        """Return whether an expression depends on the time."""
        parts = list(ast.walk(node))
        return any(isinstance(part, ast.Name) and part.id in self._clocked for part in parts) or any(
            isinstance(part, ast.Call) and last_name(part.func) in _CLOCKS for part in parts
        )

    def called(self, func: ast.expr) -> list[tuple[Any, Mapping[str, Place]]]:
        """Return the functions of the script that an expression may call, with the places of ``self`` or ``cls``."""
        if isinstance(func, ast.Name):
            value = None if func.id in self._locals else self._variables.get(func.id)
            value = vars(value).get("__init__") if isinstance(value, type) else value
            return [(value, {})] if is_of_script(value) else self.methods(func, "__call__")
        if not isinstance(func, ast.Attribute):
            return []
        name = last_name(func.value)
        owner = self._variables.get(name) if isinstance(func.value, ast.Name) and name not in self._locals else None
        if isinstance(owner, (ModuleType, type)):
            member = vars(owner).get(func.attr)
            member = getattr(member, "__func__", member)  # of a class or static method
            return [(member, {"cls": (name,)} if isinstance(owner, type) else {})] if is_of_script(member) else []
        return self.methods(func.value, func.attr)

    def methods(self, owner: ast.expr, name: str) -> list[tuple[Any, Mapping[str, Place]]]:
        """Return the methods of the script that an object at a shared place may have, with the place of ``self``."""
        if (place := self.place(owner)) is None:
            return []
        value = self.value(place)
        is_known = value is not UNKNOWN or name.startswith("__")
        classes = [type(value)] if is_known else [m for m in self._variables.values() if isinstance(m, type)]
        members = (getattr(one, name, None) for one in classes)
        return [(m, {"self": place}) for m in members if isinstance(m, FunctionType) and is_of_script(m)]

    def given(self, member: Any, node: ast.Call) -> dict[str, Place]:
        """Return the places that a call passes to parameters of a function."""
        names = ScriptFunction(member).parameters()
        names = names[1:] if names[:1] in (("self",), ("cls",)) else names
        pairs = [*zip(names, node.args, strict=False), *((k.arg, k.value) for k in node.keywords if k.arg)]
        return {name: place for name, value in pairs if (place := self.place(value)) is not None}


def step(key: ast.expr) -> str:
    """Return the step of a place to an item."""
    return f"[{key.value!r}]" if isinstance(key, ast.Constant) and key.value is not ... else f"[*{ast.unparse(key)}]"


def _names_of(definition: ast.AST, inherited: Collection[str]) -> tuple[set[str], set[str]]:
    """Return the local names of a function, with those of functions in it, and names that it declares as not local.

    Args:
        inherited: names of variables of the functions around it.
    """
    nodes = list(ast.walk(definition))
    declared = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
    declared |= {n for node in nodes if isinstance(node, ast.Nonlocal) for n in node.names if n in inherited}
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    inner = (node for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)))
    bound |= {node.name for node in inner if node is not definition}
    bound |= {node.name for node in nodes if isinstance(node, ast.ExceptHandler) and node.name}
    imports = (node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom)))
    bound |= {alias.asname or alias.name.partition(".")[0] for node in imports for alias in node.names}
    return bound - declared, declared
