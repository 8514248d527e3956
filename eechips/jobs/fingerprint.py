"""Compute a digest of functions and their dependencies that is the same in every session.

The digest covers the code of a function without comments, docstrings and layout, and recursively the functions that it
calls and the variables that it reads. Objects of installed packages are identified by their names.
"""

from __future__ import annotations

import ast
import dis
import functools
import hashlib
import inspect
import pickle
import textwrap
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from eechips.recipe import canonical_json, hash_code

_GLOBAL_OPERATIONS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_UNPICKLABLE = (pickle.PicklingError, TypeError, ValueError, AttributeError, RuntimeError, NotImplementedError)
_MADE_BY_PYTHON = frozenset(
    {"__dict__", "__weakref__", "__module__", "__qualname__", "__doc__", "__annotations__", "__firstlineno__",
     "__static_attributes__", "__dataclass_params__", "__abstractmethods__", "_abc_impl", "__annotate_func__",
     "__annotations_cache__", "__annotate__", "__parameters__", "__slotnames__"}
)  # fmt: skip


def fingerprint(functions: Iterable[Callable[..., Any]], parameters: Mapping[str, Any]) -> str:
    """Return the SHA-256, hexadecimal, of functions with all their references, and of parameters.

    Functions are represented by their code, or without a source (as at Python's prompt) by their bytecode, which
    differs between versions of Python.

    Args:
        functions: functions of a notebook, a program or a module.
        parameters: values of any type, by name.
    """
    functions = tuple(functions)
    reader = _Reader({_module(function) for function in functions})
    content = {
        "functions": [reader.read(function) for function in functions],
        "parameters": {name: reader.read(value) for name, value in parameters.items()},
    }
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def read_globals(function: Any) -> dict[str, Any]:
    """Return the existing variables of a function's module that it reads, by name."""
    if not isinstance(function, types.FunctionType):
        return {}
    there = function.__globals__
    return {name: there[name] for name in sorted(set(_names(function.__code__))) if name in there}


class _Reader:
    """Convert values to JSON. A repeated value becomes its number, so that circular references end.

    Args:
        homes: names of the modules whose functions and classes are included with their source.
    """

    def __init__(self, homes: set[str]) -> None:
        self._homes = {*homes, "__main__"}
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # keep the object, so that no other has its id

    def read(self, value: Any) -> Any:
        """Describe a value."""
        if value is None or isinstance(value, (bool, int, str)):
            return value if type(value) in (type(None), bool, int, str) else [type(value).__name__, str(value)]
        if isinstance(value, (float, complex)):
            return [type(value).__name__, repr(value)]
        if id(value) in self._seen:
            return {"again": self._seen[id(value)]}
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)
        return self._told(value)

    def _told(self, value: Any) -> Any:
        if isinstance(value, types.ModuleType):
            return {"module": value.__name__}
        if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            return [type(value).__name__, *(self.read(item) for item in value)]
        if type(value) in (set, frozenset):
            return {"set": sorted((self.read(item) for item in value), key=canonical_json)}
        if type(value) is dict:
            return {"dict": [[self.read(key), self.read(item)] for key, item in value.items()]}
        if isinstance(value, functools.partial):
            return {"partial": [self.read(part) for part in (value.func, value.args, value.keywords)]}
        if isinstance(value, types.MethodType):
            return {"method": [self.read(value.__func__), self.read(value.__self__)]}
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, (staticmethod, classmethod)):
            return {type(value).__name__: self.read(value.__func__)}
        if isinstance(value, property):
            return {"property": [self.read(part) for part in (value.fget, value.fset)]}
        if hasattr(value, "__wrapped__") and callable(value):  # by functools.cache and the like
            return {type(value).__name__: self.read(value.__wrapped__)}
        if type(value).__module__.startswith("ee.") and hasattr(value, "serialize"):
            return {"ee": value.serialize()}
        if _module(type(value)) in self._homes and hasattr(value, "__dict__"):
            return {"instance": [self.read(type(value)), self.read(dict(vars(value)))]}
        return {"value": type(value).__qualname__, "sha256": _digest(value)}

    def _function(self, function: types.FunctionType) -> Any:
        name = f"{_module(function)}.{function.__qualname__}"
        if not self._is_ours(function):
            return {"function": name}
        cells = {
            name: self.read(cell.cell_contents)
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
            if _is_filled(cell)
        }
        told: dict[str, Any] = {"function": _source(function), "closure": cells}
        told["defaults"] = [self.read(value) for value in function.__defaults__ or ()]
        told["keywords"] = self.read(dict(function.__kwdefaults__ or {}))
        if function.__globals__.get("__name__") in self._homes:  # not of a package whose decorator wraps it
            told["globals"] = {name: self.read(value) for name, value in read_globals(function).items()}
        return told

    def _class(self, kind: type) -> Any:
        name = f"{_module(kind)}.{kind.__qualname__}"
        if not self._is_ours(kind):
            return {"class": name}
        members = {key: self.read(value) for key, value in vars(kind).items() if key not in _MADE_BY_PYTHON}
        return {"class": name, "bases": [self.read(base) for base in kind.__bases__], "members": members}

    def _is_ours(self, thing: Any) -> bool:
        return _module(thing) in self._homes


def _module(thing: Any) -> str:
    return str(getattr(thing, "__module__", None) or "")


def _is_filled(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _names(code: types.CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in _GLOBAL_OPERATIONS:
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _source(function: types.FunctionType) -> Any:
    try:
        text = textwrap.dedent(inspect.getsource(function)).rstrip()
    except (OSError, TypeError):  # there is none
        return _bytecode(function.__code__)
    try:
        return hash_code(ast.parse(text))
    except (SyntaxError, ValueError):  # a lambda whose lines are a part of a statement
        return text


def _bytecode(code: types.CodeType) -> Any:
    constants = [_bytecode(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), list(code.co_varnames), constants]


def _digest(value: Any) -> str | None:
    """Return the SHA-256 of a value's content; None for values that cannot be pickled, such as locks."""
    try:
        return hashlib.sha256(pickle.dumps(value, protocol=4)).hexdigest()
    except _UNPICKLABLE:
        return None
