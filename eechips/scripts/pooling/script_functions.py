"""Find the definitions of a script's functions in its files, and the functions, classes and modules that they use."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from eechips.errors import EechipsError
from eechips.scripts.pooling.call_variables import closure
from eechips.scripts.pooling.original_pools import is_installed
from eechips.scripts.script_source import read_source

_PACKAGE = Path(__file__).parents[2]
_MOST_DECORATORS = 20
"""Functions that wrap each other; a cycle has no end."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class ScriptFunction:
    """A function or method of a script. What it wraps as a decorator is another one: see `unwrapped`.

    Attributes:
        code: its code; None for a function of C.
        module: name of its module.
    """

    def __init__(self, member: Any) -> None:
        self._function = getattr(member, "__func__", member)
        code = getattr(self._function, "__code__", None)
        self.code: CodeType | None = code if isinstance(code, CodeType) else None
        self.module: str = getattr(self._function, "__module__", None) or ""

    def definitions(self) -> tuple[Definition, ...]:
        """Return its definitions: see `function_definitions`."""
        return () if self.code is None else function_definitions(self.code, Path(self.code.co_filename))

    def parameters(self) -> tuple[str, ...]:
        """Return the names of its parameters."""
        return () if self.code is None else parameters(self.code)

    def variables(self) -> dict[str, Any]:
        """Return its global variables, and the variables of the functions around it."""
        if not isinstance(self._function, FunctionType):
            return {}
        return self._function.__globals__ | closure(self._function)

    def defaults(self) -> dict[str, Any]:
        """Return the values that its parameters have if a call gives none."""
        names = self.parameters()
        positional = names[: self.code.co_argcount] if self.code is not None else ()
        values = getattr(self._function, "__defaults__", None) or ()
        pairs = zip(positional[len(positional) - len(values) :], values, strict=True)
        return dict(pairs) | (getattr(self._function, "__kwdefaults__", None) or {})

    def cells(self) -> dict[str, Any]:
        """Return the cells of variables of the functions around it: functions that share a variable share its cell."""
        names = () if self.code is None else self.code.co_freevars
        return dict(zip(names, getattr(self._function, "__closure__", None) or (), strict=False))


def function_definitions(code: CodeType, path: Path) -> tuple[Definition, ...]:
    """Return the definitions of a function in its file: two on one line are not told apart."""
    if not is_file_of_script(path):
        return ()
    status = path.stat()
    return _definitions(path, status.st_mtime_ns, status.st_size).get((code.co_name, code.co_firstlineno), ())


def is_of_script(value: Any) -> bool:
    """Return whether a function, class or module is the script's, or of a module of its own."""
    if isinstance(value, ModuleType):
        path = getattr(value, "__file__", None)
        return path is not None and is_file_of_script(Path(path))
    if isinstance(value, type) and (module := sys.modules.get(value.__module__)) is not None:
        return value.__module__ == "__main__" or is_of_script(module)
    if isinstance(value, type):  # of a file that has been executed, as that of a script
        return any(is_of_script(member) for member in vars(value).values() if isinstance(member, FunctionType))
    inner = unwrapped(value)
    return isinstance(inner, FunctionType) and is_file_of_script(Path(inner.__code__.co_filename))


def wrapped_functions(value: Any) -> Iterator[Any]:
    """Yield a function, and the functions that it wraps as a decorator does, without executing code of an object."""
    for _ in range(_MOST_DECORATORS):
        value = value.__func__ if isinstance(value, (MethodType, classmethod, staticmethod)) else value
        yield value
        value = fields(value).get("__wrapped__")
        if value is None:
            return


def unwrapped(value: Any) -> Any:
    """Return the function inside decorators."""
    return list(wrapped_functions(value))[-1]


def fields(value: Any) -> Mapping[str, Any]:
    """Return the attributes that an object has of its own, without executing its code."""
    try:
        own = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return own if isinstance(own, Mapping) else {}


def is_file_of_script(path: Path) -> bool:
    """Return whether a file is neither of Python nor of an installed package."""
    return not is_installed(path) and not path.is_relative_to(_PACKAGE) and path.is_file()


def parameters(code: CodeType) -> tuple[str, ...]:
    """Return the names of a function's parameters."""
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def local_names(code: CodeType) -> set[str]:
    """Return the variables of a function, and of the functions and comprehensions in it."""
    inner = (part for part in code.co_consts if isinstance(part, CodeType))
    return {*code.co_varnames, *code.co_cellvars}.union(*map(local_names, inner))


@functools.lru_cache
def _definitions(path: Path, modified: int, size: int) -> dict[tuple[str, int], tuple[Definition, ...]]:
    """Return the definitions in a file by their names and lines."""
    by_place: dict[tuple[str, int], tuple[Definition, ...]] = {}
    for node in ast.walk(_tree(path, modified, size)):
        if isinstance(node, Definition):
            by_place[_place(node)] = (*by_place.get(_place(node), ()), node)
    return by_place


@functools.lru_cache
def _tree(path: Path, _modified: int, _size: int) -> ast.AST:
    """Return the tree of a version of a file: a process may execute a script again after it is edited."""
    try:
        tree = read_source(path).tree
    except EechipsError:  # no script: a program that calls eechips
        return ast.Module([], [])
    _Attributes().visit(tree)
    return tree


def _place(node: Definition) -> tuple[str, int]:
    """Return the name of a function's code and its first line, that of a decorator if it has one."""
    decorators = () if isinstance(node, ast.Lambda) else node.decorator_list
    name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
    return name, min(part.lineno for part in (node, *decorators))


class _Attributes(ast.NodeTransformer):
    """Write ``getattr(value, "name")`` as ``value.name``, and ``vars(value)`` as ``value.__dict__``."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Return an attribute for such a call."""
        self.generic_visit(node)
        match node:
            case ast.Call(ast.Name("getattr"), [value, ast.Constant(str(name)), *_]):
                return ast.copy_location(ast.Attribute(value, name, ast.Load()), node)
            case ast.Call(ast.Name("vars"), [value]):
                return ast.copy_location(ast.Attribute(value, "__dict__", ast.Load()), node)
        return node
