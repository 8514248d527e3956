"""Find the shared places that names in a function of a script mean, in its source."""

from __future__ import annotations

import ast
import inspect
import threading
from collections import defaultdict, deque
from collections.abc import Collection, Mapping
from types import BuiltinMethodType, FunctionType, ModuleType
from typing import Any

import numpy as np

from eechips.scripts.pooling.called_functions import (
    MADE,
    MUTABLE,
    Called,
    Place,
    first_parameter,
    functions_of,
    is_own,
    layers,
    methods,
)
from eechips.scripts.pooling.script_functions import Definition, ScriptFunction, fields, is_of_script, local_names
from eechips.scripts.pooling.shared_places import ARGUMENT, MODULE, UNKNOWN, Decisions, SharedPlaces, Tests, is_argument
from eechips.scripts.pooling.state_changes import is_table
from eechips.scripts.pooling.statement_kinds import CHOSEN, COMPARED, OF_CONTAINERS, UNSET, is_slice
from eechips.scripts.script_source import last_name

_ACCESSORS = frozenset({"at", "flat", "iat", "iloc", "loc", "values"})
_ANY = "[*]"
"""Any item; in a place in a table, its column comes before its row."""

_MOST_RETURNS = 3
_MOST_FUNCTIONS = 100
"""Items of a container that may be functions."""
_ITERATORS = frozenset({"enumerate", "filter", "iter", "list", "next", "reversed", "sorted", "tuple", "zip"})


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
        self.first = next(iter(self._source.parameters()), "")
        self._aliases = {
            name: places.added(value)
            for name, value in self._source.defaults().items()
            if name not in context and (isinstance(value, MUTABLE) or is_own(value))
        } | {name: place for name, place in context.items() if place}
        self._derived: dict[str, tuple[Place, ...]] = {}
        self._locals = set[str]() if self._source.code is None else local_names(self._source.code)
        self._returns: dict[int, Place | None] = {}
        self._decisions: dict[str | int, Decisions] = defaultdict(dict)  # of local names and calls
        self.key = self._source.code, tuple(sorted(context.items()))

    def definitions(self) -> tuple[Definition, ...]:
        """Return the definitions of the function in its file."""
        return self._source.definitions()

    def bind_arguments(self) -> None:
        """Note that the arguments of the function are places: calls of the pool have it."""
        names = {arg.arg for part in self.definitions() for arg in ast.walk(part.args) if isinstance(arg, ast.arg)}
        self._aliases = {name: (f"{ARGUMENT}{name}",) for name in names} | self._aliases

    def bound_container(self, node: ast.AST) -> Place | None:
        """Return the place of a variable that holds a method which changes a container, as ``add = rows.append``."""
        place = self.place(node)
        value = UNKNOWN if place is None else self.value(place)
        is_bound = isinstance(value, BuiltinMethodType) and isinstance(value.__self__, (dict, list, set, deque))
        return place if is_bound and value.__name__ in OF_CONTAINERS else None

    def is_local(self, node: ast.AST) -> bool:
        """Return whether an expression is a local name."""
        return isinstance(node, ast.Name) and node.id in self._locals

    def place(self, node: ast.AST) -> Place | None:
        """Return the shared place that an expression means; None for another value."""
        place = self._place(node)
        while place is not None and place[0].startswith(MADE):
            end = next((n for n in range(len(place), 1, -1) if place[:n] in self._places.links), 0)
            place = (*self._places.links[place[:end]], *place[end:]) if end else None
        return place

    def note_link(self, target: ast.expr, value: ast.expr) -> None:
        """Note that an item or attribute of an object of the call is a shared object, or which items of a display are.

        Args:
            target: name of the display, or the item or attribute.
            value: what is assigned.
        """
        links = self._places.links
        if isinstance(target, ast.Name):
            parts = list(zip(value.keys, value.values, strict=True)) if isinstance(value, ast.Dict) else []
            if isinstance(value, (ast.List, ast.Tuple)):
                parts = [(ast.Constant(number), part) for number, part in enumerate(value.elts)]
            display: Place = (f"{MADE}{target.id}",)
            for key, part in parts:
                if key is not None and (place := self.place(part)) is not None and self.is_object(place):
                    links[(*display, step(key))] = place
                    self._aliases[target.id] = display
        elif (raw := self._place(target)) is not None and raw[0].startswith(MADE):
            place = self.place(value)
            if place is not None and self.is_object(place):
                links[raw] = place

    def _place(self, node: ast.AST) -> Place | None:
        if isinstance(node, ast.Name):
            return self._aliases.get(node.id, self._variable(node.id))
        if isinstance(node, (ast.IfExp, ast.BoolOp, ast.NamedExpr)):
            return self._alternative(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self._of_builtin(node, node.func.id)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            inner = self.place(node.func.value) if node.func.attr in ("get", "setdefault") else None
            is_dict = inner is not None and isinstance(self.value(inner), (dict, type(UNKNOWN)))
            if inner is not None and is_dict:
                return (*inner, step(node.args[0]))
        if isinstance(node, ast.Call):
            return self._returned(node)
        inner = self._place(node.value) if isinstance(node, (ast.Attribute, ast.Subscript)) else None
        if inner is None:
            return None
        value = self.value(inner)
        name = node.attr if isinstance(node, ast.Attribute) else ""
        if name in _ACCESSORS and (isinstance(value, np.ndarray) or is_table(value)):
            return inner
        if isinstance(node, ast.Subscript) and is_table(value) and getattr(node.value, "attr", "") in _ACCESSORS:
            row, column = (node.slice, None) if not isinstance(node.slice, ast.Tuple) else node.slice.elts[:2]
            return (*inner, _ANY if column is None else step(column), step(row))
        item = step(node.slice) if isinstance(node, ast.Subscript) else f".{name}"
        if inner[-2:-1] == (_ANY,) and is_table(table := self.value(inner[:-2])):  # a row
            return (*inner[:-2], f"[{name!r}]" if name in table.columns else item, inner[-1])
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
            return inner
        return (*inner, f"[{name!r}]" if is_table(value) and name in value.columns else item)

    def note_decisions(self, node: ast.expr, decisions: Decisions) -> None:
        """Note which tests have decided on the value of a local name or call."""
        self._decisions[getattr(node, "id", id(node))] |= decisions

    def chosen(self, value: ast.expr, tests: Tests) -> Decisions:
        """Return the tests that decide on what a value is that is assigned or returned under tests."""
        return dict.fromkeys(tests, COMPARED if isinstance(value, ast.Constant) else CHOSEN) | self._decided(value)

    def deciding(self, node: ast.AST, tests: Tests, wanted: str | None = None) -> Tests:
        """Add to tests those that have decided which values the names and calls in an expression have.

        Args:
            wanted: kind of the tests that are added; None for all.
        """
        decided = self._decided(node).items()
        return tests | {(test[0], kind) for test, kind in decided if wanted in (None, kind) and test not in tests}

    def _decided(self, node: ast.AST) -> Decisions:
        decided = (self._decisions.get(getattr(part, "id", id(part)), {}) for part in ast.walk(node))
        return {test: kind for decisions in decided for test, kind in decisions.items()}

    def looked_up(self, statement: ast.stmt) -> Tests:
        """Return the tests for keys that a statement looks up."""
        value = getattr(statement, "value", None) or ast.Constant(None)
        places = (self.place(part) for part in ast.walk(value) if isinstance(part, ast.Subscript))
        return frozenset((place, UNSET) for place in places if place is not None)

    def is_sum_with(self, target: ast.expr, value: ast.BinOp) -> bool:
        """Return whether a value is the sum or difference of what the target has, and something else."""
        if is_slice(target) or isinstance(value.left, ast.Call) or not isinstance(value.op, (ast.Add, ast.Sub)):
            return False
        return self.place(target) == self.place(value.left) is not None

    def is_of_call(self, target: ast.expr) -> bool:
        """Return whether an attribute or item is of an object that the call has made."""
        owner = target.value if isinstance(target, (ast.Attribute, ast.Subscript)) else None
        raw = None if owner is None else self._place(owner)
        return raw is not None and owner is not None and raw[0].startswith(MADE) and self.place(owner) is None

    def _alternative(self, node: ast.IfExp | ast.BoolOp | ast.NamedExpr) -> Place | None:
        """Return the shared object that one of several expressions means."""
        if isinstance(node, ast.NamedExpr):
            parts = [node.value]
        else:
            parts = [node.body, node.orelse] if isinstance(node, ast.IfExp) else node.values
        places = [place for part in parts if (place := self.place(part)) is not None]
        return next((place for place in sorted(places, key=is_argument) if self.is_object(place)), None)

    def _of_builtin(self, node: ast.Call, name: str) -> Place | None:
        """Return the place that a call of ``super``, ``type`` or a function of the script returns."""
        if name == "super":
            return self._aliases.get(self.first)
        if name == "type" and node.args:
            place = self.place(node.args[0])
            return None if place is None else (*place, ".__class__")
        return self._returned(node)

    def _returned(self, node: ast.Call) -> Place | None:
        """Return the shared object that a function of the script returns or yields."""
        if id(node) in self._returns:
            return self._returns[id(node)]
        self._returns[id(node)] = None  # if it calls itself
        if self._places.levels < _MOST_RETURNS:
            self._places.levels += 1
            for member, context in self.called(node.func):
                scope = Scope(member, {**context, **self.given(member, node, context)}, self._places)
                parts = [part for definition in scope.definitions() for part in ast.walk(definition)]
                values = [p.value for p in parts if isinstance(p, (ast.Return, ast.Yield)) and p.value is not None]
                returned = (place for value in values if (place := scope.place(value)) is not None)
                self._returns[id(node)] = next(filter(self.is_object, returned), None)
            self._places.levels -= 1
        return self._returns[id(node)]

    def is_object(self, place: Place) -> bool:
        """Return whether an object that calls may change is at a place."""
        value = self.value(place)
        return isinstance(value, MUTABLE) or is_own(value) or is_table(value)

    def iterated(self, node: ast.expr) -> Place | None:
        """Return the place whose items an expression yields, also by ``values()`` or ``enumerate``."""
        while isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr in ("items", "values", "copy"):
                node = node.func.value
            elif isinstance(node.func, ast.Name) and node.func.id in _ITERATORS and node.args:
                return next((place for part in node.args if (place := self.iterated(part)) is not None), None)
            else:
                return None
        return self.place(node)

    def bind_items(self, target: ast.expr, node: ast.expr) -> None:
        """Note what the names of a loop mean."""
        if isinstance(node, (ast.Tuple, ast.List)):
            places = (place for part in node.elts if (place := self.place(part)) is not None)
            if (inner := next(filter(self.is_object, places), None)) is not None:
                self.bind(target, inner)
        elif (place := self.place(node)) is not None:
            self.bind(target, (*place, _ANY))
        elif (place := self.iterated(node)) is not None and self.is_object((*place, _ANY)):
            for name in (part for part in ast.walk(target) if isinstance(part, ast.Name)):
                self.bind(name, (*place, _ANY))

    def _variable(self, name: str) -> Place | None:
        if name in self._locals or name not in self._variables:
            return None
        value = self._variables[name]
        if isinstance(value, threading.local):
            return None
        if isinstance(value, (ModuleType, type)) and not is_of_script(value):
            return None
        if isinstance(value, ModuleType):
            return (f"{MODULE}{value.__name__}",)
        if (cell := self._source.cells().get(name)) is not None:
            return self._places.inherited(name, cell, value)
        is_own = self._source.module == self._places.module
        return (name,) if is_own else (f"{MODULE}{self._source.module}", f".{name}")

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
            self._aliases.pop(target.id, None)
            self._derived[target.id] = tuple(derived)
            if place is not None:
                self._aliases[target.id] = place
        elif isinstance(target, (ast.Tuple, ast.List)):
            for part in target.elts:
                self.bind(part, None if place is None else (*place, _ANY), derived)

    def derived(self, node: ast.AST) -> tuple[Place, ...]:
        """Return the places from which the value of a local name is made."""
        return self._derived.get(node.id, ()) if isinstance(node, ast.Name) else ()

    def called(self, func: ast.expr) -> list[Called]:
        """Return the functions of the script that an expression may call, with the places of ``self`` or ``cls``."""
        if isinstance(func, ast.Name):
            value = UNKNOWN if func.id in self._locals else self._variables.get(func.id, UNKNOWN)
            return functions_of(value, self._places.added)
        if not isinstance(func, ast.Attribute):
            return []
        name = last_name(func.value)
        owner = self._variables.get(name) if isinstance(func.value, ast.Name) and name not in self._locals else None
        if isinstance(owner, ModuleType):
            return functions_of(vars(owner).get(func.attr), self._places.added)
        if isinstance(owner, type):
            return methods([owner], func.attr, (name,), is_class=True)
        place = self.place(func.value)
        if place is not None and last_name(getattr(func.value, "func", func.value)) == "super":
            value = self.value(place)
            kind = self._variables.get("__class__") if value is UNKNOWN else value
            kinds = kind.__mro__ if isinstance(kind, type) else type(kind).__mro__
            return [method for kind in kinds for method in methods([kind], func.attr, place)]
        value = UNKNOWN if place is None else self.value(place)
        if isinstance(value, type):
            return methods([value], func.attr, place, is_class=True)
        if value is not UNKNOWN:
            held = fields(value).get(func.attr)  # a function that an object has, as a callback
            return functions_of(held, self._places.added) or methods([type(value)], func.attr, place)
        classes = [value for value in self._variables.values() if isinstance(value, type)]
        own = [part for part in classes if is_of_script(part)]
        return methods(own, func.attr, place) if own else []

    def called_name(self, func: ast.expr) -> str:
        """Return the name that a called function has where it is defined."""
        value = self._variables.get(func.id) if isinstance(func, ast.Name) else None
        return str(getattr(value, "__name__", "")) if callable(value) and not is_own(value) else last_name(func)

    def named(self, node: ast.AST) -> list[Called]:
        """Return the functions that a variable or attribute means, also those in a container of functions."""
        value: Any = UNKNOWN
        while isinstance(node, ast.Subscript):
            node = node.value
        if isinstance(node, ast.Name) and node.id not in self._locals:
            value = self._variables.get(node.id, UNKNOWN)
        elif isinstance(node, ast.Attribute):
            place = self.place(node.value)
            owner = UNKNOWN if place is None else self.value(place)
            value = fields(owner).get(node.attr, UNKNOWN)
            member = inspect.getattr_static(type(owner), node.attr, None)
            if isinstance(member, property) and place is not None:
                return [(m, {first_parameter(m): place}) for f in (member.fget, member.fset) for m in layers(f)]
            if value is UNKNOWN and place is not None and isinstance(member, FunctionType):
                return methods([type(owner)], node.attr, place)
        if isinstance(value, type) or is_own(value):
            return []
        if isinstance(value, (dict, list, tuple)) and len(value) < _MOST_FUNCTIONS:
            items = value.values() if isinstance(value, dict) else value
            return [called for item in items if callable(item) for called in functions_of(item, self._places.added)]
        return functions_of(value, self._places.added) if callable(value) else []

    def given(self, member: Any, node: ast.Call, context: Mapping[str, Place]) -> dict[str, Place]:
        """Return the places that a call passes to parameters of a function, beside those that it has.

        A parameter that receives anything else, in place of its default, has an empty place.
        """
        names = ScriptFunction(member).parameters()
        names = names[1:] if names and names[0] in context else names
        pairs = [*zip(names, node.args, strict=False), *((word.arg or "", word.value) for word in node.keywords)]
        places = {name: self.place(value) or () for name, value in pairs}
        for value in node.args[-1:]:
            if isinstance(value, ast.Starred) and (place := self.place(value.value)) is not None:
                places |= dict.fromkeys(names[len(node.args) - 1 :], (*place, _ANY))
        return places


def step(key: ast.expr) -> str:
    """Return the step of a place to an item."""
    return f"[{key.value!r}]" if isinstance(key, ast.Constant) and key.value is not ... else f"[*{ast.unparse(key)}]"
