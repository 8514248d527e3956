"""Make objects of a script anew in the workers that cannot leave their process, such as clients of a web service.

With plain Python on Linux, processes of a pool are forks, which have all objects of the script. A worker evaluates the
expression that the script has assigned to the variable instead.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from eechips.errors import EechipsError
from eechips.scripts.script_source import last_name, read_source

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_OPENS = frozenset({"open", "fdopen"})
"""Python's own functions that open files."""

_WITH_MODE = re.compile(r"fdopen|open\w*|\w*File|Dataset|HDFStore")
"""Functions and classes, also of libraries, whose second argument is a mode."""

_WRITING = re.compile(r"(?=.*[wax+])(?:[rwax](?:[bt]?\+?|\+[bt])|[bt][rwax]\+?)(?:-|[:|]\w*)?")
"""Modes in which files are written: a worker would empty such a file if it opened it again."""


@dataclass(frozen=True, slots=True)
class Expression:
    """The expression of an object.

    Attributes:
        text: Python code.
        names: the variables of the script that it reads.
    """

    text: str
    names: dict[str, Any]


def remade_objects(is_sendable: Callable[[Any, dict[int, Expression]], bool]) -> dict[int, Expression]:
    """Return how to make the objects of the running script that cannot be sent, by their ``id``.

    They are values of global variables that one statement assigns from a call, and none changes afterwards. Objects of
    Python's own classes, such as files and connections of SQLite, and files that a library writes are not among them:
    their place or state is lost.

    Args:
        is_sendable: return whether an object can be sent, if others are made anew.
    """
    remade: dict[int, Expression] = {}
    main = sys.modules["__main__"]
    for name, expression in _assigned(main):
        value = vars(main).get(name)
        if type(value).__module__.partition(".")[0] in sys.stdlib_module_names - {"__main__"}:
            continue
        if not is_sendable(value, remade) and not _writes_file(value):
            remade[id(value)] = expression
    return remade


def remake(text: str, names: dict[str, Any]) -> Any:
    """Evaluate the expression of an object, with the variables of the script that it reads."""
    return eval(compile(text, "<script>", "eval", dont_inherit=True), dict(names))


def is_writing(mode: Any) -> bool:
    """Return whether a value is a mode in which files are written, as ``wb``, ``r+``, ``w-`` or ``w:gz``."""
    return isinstance(mode, str) and _WRITING.fullmatch(mode) is not None


def _assigned(main: ModuleType) -> Iterator[tuple[str, Expression]]:
    """Yield the variables that one statement assigns from a call, and none changes, in their order."""
    path = getattr(main, "__file__", None)
    if not isinstance(path, str):
        return
    try:
        tree = read_source(Path(path)).tree
    except EechipsError:  # not a script: a program that calls eechips
        return
    nodes = list(_outside_functions(tree))
    bound = Counter(node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load))
    shared = {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}
    changed = shared.union(*map(_changed, nodes))
    for target, value in _bindings(nodes):
        names = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
        if bound[target] == 1 and target not in changed and not _opens_file(value):
            variables = {name: vars(main)[name] for name in sorted(names) if name in vars(main)}
            yield target, Expression(ast.unparse(value), variables)


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is executed with the script itself, in its order."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, _SCOPES):
            yield from _outside_functions(child)


def _bindings(nodes: list[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    """Yield names and the calls whose result they have: of assignments, and of with statements."""
    for node in nodes:
        match node:
            case (
                ast.Assign([ast.Name(name)], ast.Call() as value)
                | ast.AnnAssign(ast.Name(name), value=ast.Call() as value)
                | ast.withitem(ast.Call() as value, ast.Name(name))
            ):
                yield name, value


def _changed(node: ast.AST) -> set[str]:
    """Return the variables whose objects a statement changes: it sets an attribute or an item, or calls a method."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return _owner(node.value.func)
    if isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
        return _owner(node)
    return set()


def _owner(node: ast.AST) -> set[str]:
    """Return the variable whose attribute, item or result an expression is; none for a plain name."""
    inner = node
    while isinstance(inner, (ast.Attribute, ast.Subscript, ast.Call)):
        inner = inner.func if isinstance(inner, ast.Call) else inner.value
    return {inner.id} if isinstance(inner, ast.Name) and inner is not node else set()


def _opens_file(value: ast.expr) -> bool:
    """Return whether an expression opens a file by Python, or by a mode in which a library writes it."""
    calls = [node for node in ast.walk(value) if isinstance(node, ast.Call)]
    is_opened = any(isinstance(call.func, ast.Name) and call.func.id in _OPENS for call in calls)
    modes = [mode for call in calls for mode in _modes(call)]
    return is_opened or any(isinstance(mode, ast.Constant) and is_writing(mode.value) for mode in modes)


def _modes(call: ast.Call) -> list[ast.expr]:
    """Return the arguments of a call that may be the mode of a file."""
    second = call.args[1:2] if _WITH_MODE.fullmatch(last_name(call.func)) else []
    return [*second, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]


def _writes_file(value: Any) -> bool:
    """Return whether an object of a library is a file that is written, as by rasterio or h5py."""
    try:
        mode = getattr(value, "mode", None)
    except Exception:  # noqa: BLE001 - a closed file of h5py has no mode; objects of libraries raise what they like
        mode = None
    return "Writer" in type(value).__name__ or is_writing(mode)
