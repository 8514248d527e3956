"""Find objects that threads of a script share and change in a way that a run cannot carry over.

Calls in other processes change copies. :mod:`eechips.scripts.pooling.state_changes` carries over changes of containers,
arrays, tables and objects of the script's own classes. It finds no changes of pictures, tensors or labelled arrays, and
nothing that is removed from a container: calls that make such changes stay in the script's threads.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

from eechips.errors import EechipsError
from eechips.scripts.pooling.call_variables import SharedCall, executed_function, variables
from eechips.scripts.pooling.original_pools import is_installed
from eechips.scripts.script_source import read_source

_PACKAGES = frozenset({"PIL", "_io", "array", "matplotlib", "networkx", "torch", "xarray"})
_CLASSES = frozenset({"MaskedArray", "Namespace", "Series", "SimpleNamespace", "bytearray"})
_CONTAINERS = (dict, list, set)
_REMOVING = frozenset({"clear", "discard", "pop", "popitem", "popleft", "remove"})


def lost_change(call: SharedCall) -> str:
    """Return which object that threads share a call changes, so that a copy of it is not enough; empty for none."""
    function = executed_function(call.function)
    code = getattr(inspect.unwrap(getattr(function, "__func__", function)), "__code__", None)
    changed = _changed_names(code) if isinstance(code, CodeType) else {}
    if not changed:
        return ""
    arguments, own = _arguments(function, call), variables(function)
    for name, is_removal in changed.items():
        value = arguments[name] if name in arguments else own.get(name)
        is_own = name not in arguments  # a call may change a row that only it has
        is_lost = type(value).__module__.partition(".")[0] in _PACKAGES or (is_own and type(value).__name__ in _CLASSES)
        if is_lost or (is_own and is_removal and isinstance(value, _CONTAINERS)):
            return f"each would change a copy of {name}, which the script needs. Return the values instead"
    return ""


def _arguments(function: Any, call: SharedCall) -> dict[str, Any]:
    partial, arguments, keywords = call.function, call.arguments, dict(call.keywords)
    while isinstance(partial, functools.partial):
        arguments, keywords = (*partial.args, *arguments), {**partial.keywords, **keywords}
        partial = partial.func
    try:
        return inspect.signature(function).bind(*arguments, **keywords).arguments
    except (TypeError, ValueError):  # the call itself raises the error
        return {}


@functools.cache
def _changed_names(code: CodeType) -> dict[str, bool]:
    """Return the variables whose objects a function of the script may change, and whether it removes something."""
    path = Path(code.co_filename)
    if not path.is_file() or is_installed(path):
        return {}
    names: dict[str, bool] = {}
    for node in ast.walk(_tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and _is_of(node, code):
            for name, is_removal in _changes(node):
                names[name] = names.get(name, False) or is_removal
    parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    own = {*code.co_varnames, *code.co_cellvars}.difference(parameters)
    return {name: is_removal for name, is_removal in names.items() if name not in own}


@functools.cache
def _tree(path: Path) -> ast.AST:
    try:
        return read_source(path).tree
    except EechipsError:  # no script: a program that calls eechips
        return ast.Module([], [])


def _is_of(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, code: CodeType) -> bool:
    decorators = () if isinstance(node, ast.Lambda) else node.decorator_list
    name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
    return name == code.co_name and min(part.lineno for part in (node, *decorators)) == code.co_firstlineno


def _changes(function: ast.AST) -> Iterator[tuple[str, bool]]:
    """Yield the variables whose objects a function changes by an assignment or a method, and whether it removes."""
    for node in ast.walk(function):
        if isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
            yield from ((name, isinstance(node.ctx, ast.Del)) for name in _root(node.value))
        elif isinstance(node, ast.AugAssign):
            yield from ((name, False) for name in _root(node.target))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield from ((name, False) for name in _root(node.value.func))
            files = [keyword.value for keyword in node.value.keywords if keyword.arg == "file"]
            yield from ((name, False) for file in files for name in _root(file))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _REMOVING:
            yield from ((name, True) for name in _root(node.func.value))


def _root(node: ast.AST) -> list[str]:
    """Return the variable at the beginning of attributes, items and calls, as ``self.name`` for a field."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        inner = node.func if isinstance(node, ast.Call) else node.value
        if isinstance(node, ast.Attribute) and isinstance(inner, ast.Name) and inner.id == "self":
            return [f"self.{node.attr}"]
        node = inner
    return [node.id] if isinstance(node, ast.Name) else []
