"""Find objects that threads of a script share and change in a way that a run cannot carry over.

Calls in other processes change copies. :mod:`eechips.scripts.pooling.state_changes` carries over changes of containers,
arrays, tables and objects of the script's own classes. It finds no changes of pictures, tensors, labelled arrays or
large ones, and nothing that is removed from a container: calls that make such changes stay in the script's threads.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from eechips.errors import EechipsError
from eechips.scripts.pooling.call_variables import SharedCall, executed_function, variables
from eechips.scripts.pooling.original_pools import is_installed
from eechips.scripts.pooling.state_changes import is_too_large
from eechips.scripts.remade_objects import is_writing
from eechips.scripts.script_source import last_name, read_source

_PACKAGES = frozenset({"PIL", "_io", "array", "matplotlib", "networkx", "torch", "xarray"})
_CLASSES = frozenset({"MaskedArray", "Namespace", "Series", "SimpleNamespace", "bytearray"})
_CONTAINERS = (dict, list, set)
_REPLACED = (str, bytes, tuple)
"""What is replaced when something is added to it."""

_OF_PATHS = frozenset({"Path", "abspath", "join", "str", "with_name", "with_suffix"})
_OPTIONS = frozenset({"buffering", "encoding", "errors", "mode", "newline"})
"""Keywords of ``Path.open``."""

_REMOVING = frozenset({"clear", "discard", "pop", "popitem", "popleft", "remove"})
_ORDERING = frozenset({"appendleft", "extendleft", "insert", "reverse", "rotate", "sort"})
_ORDERED = frozenset({"heapify", "heappush", "insort", "insort_left", "insort_right", "shuffle"})
"""Functions that change the order of a list."""

_CLOCKS = frozenset({"monotonic", "now", "perf_counter", "time", "utcnow"})
_ORDERS = (ast.Gt, ast.GtE, ast.Lt, ast.LtE)
_ADDED, _EXTENDED, _REMOVED, _REORDERED, _ORDER_DEPENDENT = "added", "extended", "removed", "reordered", "dependent"
"""Kinds of changes; the last depends on the value that other calls have left, as a maximum."""
_UNJOINED = frozenset({_REORDERED, _ORDER_DEPENDENT})
"""Kinds of changes that cannot be merged if each call makes them to a copy."""


def lost_change(function: Any) -> str:
    """Return what a function of calls that threads make loses if each changes copies of it; empty for nothing.

    It is an object that the threads share, or a file that each call writes again, as a list of what is done.
    """
    for member in _reached(executed_function(function)):
        code = member.__code__
        own = variables(member)
        path = Path(code.co_filename)
        for name, kinds in _changed_names(code, path).items():
            value = own.get(name)
            if name not in _parameters(code) and (
                _is_of(value, _PACKAGES, _CLASSES)
                or (_REMOVED in kinds and isinstance(value, _CONTAINERS))
                or (_EXTENDED in kinds and isinstance(value, _REPLACED))
                or (kinds & _UNJOINED and not callable(value) and not isinstance(value, ModuleType))
                or is_too_large(value, member.__module__)
            ):
                return _copied(name)
        for file in _rewritten_files(code, path):
            return f"each would write {file} with its own values only. Return the values, and let the script write them"
    return ""


def changed_argument(call: SharedCall, *, is_of_processes: bool = False) -> str:
    """Return which argument of a call its function changes, so that a copy of it is not enough; empty for none.

    Args:
        is_of_processes: whether only files, mapped to memory, are meant: processes have copies of others.
    """
    for name, value in _changed_arguments(call).items():
        if _is_file(value) if is_of_processes else _is_of(value, _PACKAGES) or is_too_large(value):
            return _copied(name)
    return ""


def changed_file(function: Any) -> str:
    """Return which file, mapped to memory, a function of a pool of processes changes; empty for none."""
    for member in _reached(executed_function(function)):
        own = variables(member)
        for name in _changed_names(member.__code__, Path(member.__code__.co_filename)):
            if name not in _parameters(member.__code__) and _is_file(own.get(name)):
                return _copied(name)
    return ""


def _is_file(value: Any) -> bool:
    return isinstance(value, np.memmap) and value.mode in ("r+", "w+")


def _copied(name: str) -> str:
    return f"each would change a copy of {name}, which the script needs. Return the values instead"


def _changed_arguments(call: SharedCall) -> dict[str, Any]:
    """Return the arguments of a call that its function changes, by name."""
    function = executed_function(call.function)
    code = getattr(inspect.unwrap(getattr(function, "__func__", function)), "__code__", None)
    if not isinstance(code, CodeType):
        return {}
    changed = [name for name in _changed_names(code, Path(code.co_filename)) if name in _parameters(code)]
    if not changed:
        return {}
    partial, arguments, keywords = call.function, call.arguments, dict(call.keywords)
    while isinstance(partial, functools.partial):
        arguments, keywords = (*partial.args, *arguments), {**partial.keywords, **keywords}
        partial = partial.func
    try:
        bound = inspect.signature(function).bind(*arguments, **keywords).arguments
    except (TypeError, ValueError):  # the call itself raises the error
        return {}
    return {name: bound[name] for name in changed if name in bound}


def _is_of(value: Any, packages: Collection[str], classes: Collection[str] = ()) -> bool:
    return type(value).__module__.partition(".")[0] in packages or type(value).__name__ in classes


def _reached(function: Any) -> Iterator[FunctionType | MethodType]:
    """Yield a function, and those of the script and its modules that it uses."""
    waiting, reached = [function], set[CodeType]()
    while waiting:
        member = waiting.pop()
        owner = getattr(member, "__self__", None)
        inner = inspect.unwrap(getattr(member, "__func__", member))
        if (
            not isinstance(inner, FunctionType)
            or inner.__code__ in reached
            or not _is_of_script(Path(inner.__code__.co_filename))
        ):
            continue
        reached.add(inner.__code__)
        yield inner if owner is None else MethodType(inner, owner)
        for name in inner.__code__.co_names:
            waiting.append(inner.__globals__.get(name))
            if isinstance(method := getattr(type(owner), name, None), FunctionType):
                waiting.append(MethodType(method, owner))


def _is_of_script(path: Path) -> bool:
    return path.is_file() and not is_installed(path)


def _parameters(code: CodeType) -> tuple[str, ...]:
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _local_names(code: CodeType) -> set[str]:
    """Return the variables of a function, and of the functions and comprehensions in it."""
    inner = (part for part in code.co_consts if isinstance(part, CodeType))
    return {*code.co_varnames, *code.co_cellvars}.union(*map(_local_names, inner))


def _definitions(code: CodeType, path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda]:
    """Yield the definitions of a function in its file: two on one line are not told apart."""
    if not _is_of_script(path):
        return
    status = path.stat()
    for node in ast.walk(_tree(path, status.st_mtime_ns, status.st_size)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and _has_place(node, code):
            yield node


@functools.cache
def _rewritten_files(code: CodeType, path: Path) -> tuple[str, ...]:
    """Return the paths of files that a function empties and writes, and that are the same for all its calls.

    Equal codes of two files are told apart by the path of their file.
    """
    paths: list[str] = []
    for definition in _definitions(code, path):
        nodes = list(ast.walk(definition))
        assigned = {
            node.targets[0].id: node.value
            for node in nodes
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
        }
        bound = Counter(node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
        bound.update(node.arg for node in nodes if isinstance(node, ast.arg))
        differing = _local_names(code).difference(_imported(nodes))
        for name, value in assigned.items():  # in their order, as a name beside that of the file
            if bound[name] == 1 and _is_fixed(value, differing):
                differing.discard(name)
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        files = (file for call in calls if (file := _written_path(call, differing)) is not None)
        written = (file for file in files if _is_fixed(file, differing))
        for text in map(ast.unparse, written):
            if any(_is_read(call, text) for call in calls) or not any(_is_passing(c, text, differing) for c in calls):
                paths.append(text)
    return tuple(paths)


def _is_read(call: ast.Call, path: str) -> bool:
    """Return whether a call reads a file, as that of what is done before it is written again."""
    if last_name(call.func) in ("read_text", "read_bytes"):
        return isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == path
    is_opened = last_name(call.func) in ("open", "read_csv") and any(
        ast.unparse(file) == path for file in call.args[:1]
    )
    return is_opened and not any(map(_is_emptying, (*call.args[1:2], *(k.value for k in call.keywords))))


def _is_passing(call: ast.Call, path: str, differing: set[str]) -> bool:
    """Return whether a call removes a temporary file, renames it to a name of its own, or tests if it is there."""
    name = last_name(call.func)
    method = [call.func.value] if isinstance(call.func, ast.Attribute) else []
    arguments = next((a for a in ([*method, *call.args], call.args) if a and ast.unparse(a[0]) == path), None)
    if arguments is None:
        return False
    is_kept = len(arguments) > 1 and _is_fixed(arguments[1], differing)
    return name in ("exists", "isfile", "is_file", "remove", "unlink") or (
        name in ("move", "rename", "replace") and not is_kept
    )


def _written_path(call: ast.Call, differing: set[str]) -> ast.expr | None:
    """Return the path of the file that a call empties and writes; None for another call.

    It is the first argument of ``open`` and of ``module.open``, and the owner of a method of a path.
    """
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    name = last_name(call.func)
    if owner is not None and name in ("write_text", "write_bytes"):
        return owner
    is_options = {keyword.arg for keyword in call.keywords} <= _OPTIONS
    is_method = owner is not None and (_is_emptying(call.args[0]) if call.args else is_options)
    modes = [*call.args[0 if is_method else 1 :][:1], *(k.value for k in call.keywords if k.arg == "mode")]
    if name != "open" or not any(map(_is_emptying, modes)):
        return None
    if is_method:
        return owner
    is_shared = owner is None or _is_fixed(owner, differing)  # not an archive of the call
    return call.args[0] if is_shared and call.args else None


def _is_emptying(mode: ast.expr) -> bool:
    return isinstance(mode, ast.Constant) and is_writing(mode.value) and "w" in str(mode.value)


def _imported(nodes: Collection[ast.AST]) -> set[str]:
    imports = (node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom)))
    return {alias.asname or alias.name.partition(".")[0] for node in imports for alias in node.names}


def _is_fixed(node: ast.expr, differing: set[str]) -> bool:
    """Return whether an expression has the same value in each call, as the path of a file beside another."""
    is_path = all(last_name(part.func) in _OF_PATHS for part in ast.walk(node) if isinstance(part, ast.Call))
    return is_path and differing.isdisjoint(part.id for part in ast.walk(node) if isinstance(part, ast.Name))


@functools.cache
def _changed_names(code: CodeType, path: Path) -> dict[str, set[str]]:
    """Return the variables whose objects a function of the script may change, with the kinds of changes.

    See `_rewritten_files`.
    """
    names: dict[str, set[str]] = {}
    for definition in _definitions(code, path):
        for name, kind in (*_changes(definition), *((name, _ORDER_DEPENDENT) for name in _order_dependent(definition))):
            names.setdefault(name, set()).add(kind)
    own = _local_names(code).difference(_parameters(code))
    return {name: kinds for name, kinds in names.items() if name not in own}


@functools.lru_cache
def _tree(path: Path, _modified: int, _size: int) -> ast.AST:
    """Return the tree of a version of a file: a process may execute a script again after it is edited."""
    try:
        return read_source(path).tree
    except EechipsError:  # no script: a program that calls eechips
        return ast.Module([], [])


def _has_place(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, code: CodeType) -> bool:
    decorators = () if isinstance(node, ast.Lambda) else node.decorator_list
    name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
    return name == code.co_name and min(part.lineno for part in (node, *decorators)) == code.co_firstlineno


def _changes(function: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the variables whose objects a function changes by an assignment or a method, and the kind of change."""
    for node in ast.walk(function):
        if isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
            kind = _REMOVED if isinstance(node.ctx, ast.Del) else _ADDED
            yield from ((name, kind) for name in _variable_or_field(node.value))
        elif isinstance(node, ast.AugAssign):
            kind = _ADDED if isinstance(node.target, ast.Subscript) else _EXTENDED
            yield from ((name, kind) for name in _variable_or_field(node.target))
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp):
            yield from ((name, _EXTENDED) for name in _names(*node.targets) & _names(node.value))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            call = node.value
            yield from ((name, _ADDED) for name in _variable_or_field(call.func))
            ordered = call.args[:1] if last_name(call.func) in _ORDERED else []
            if isinstance(call.func, ast.Attribute) and call.func.attr in _ORDERING:
                ordered.append(call.func.value)
            for value in ordered:  # not what a call returns
                if not any(isinstance(part, (ast.Call, ast.Slice)) for part in ast.walk(value)):
                    yield from ((name, _REORDERED) for name in _variable_or_field(value))
        if isinstance(node, ast.Call):
            written = [keyword.value for keyword in node.keywords if keyword.arg in ("file", "out")]
            yield from ((name, _ADDED) for value in written for name in _variable_or_field(value))
            owner = [node.func.value] if isinstance(node.func, ast.Attribute) else []
            if owner and last_name(node.func) in _REMOVING:
                yield from ((name, _REMOVED) for name in _variable_or_field(*owner))


def _order_dependent(function: ast.AST) -> Iterator[str]:
    """Yield the variables that a function sets by what they are: to a maximum, or to a count that may be the first.

    Copies of them do not add up. Items at a place that differs between calls are theirs alone.
    """
    nodes = list(ast.walk(function))
    assigned = [(target, node.value) for node in nodes if isinstance(node, ast.Assign) for target in node.targets]
    for target, value in assigned:
        calls = [call for call in ast.walk(value) if isinstance(call, ast.Call)]
        if _is_one_place(target):
            yield from _names(target) & _names(
                *(call for call in calls if last_name(call.func) in ("max", "min", "maximum", "minimum"))
            )
            yield from _names(target) & _names(*(part for part in ast.walk(value) if isinstance(part, ast.IfExp)))
        if isinstance(target, ast.Subscript):
            yield from _names(target) & _names(*(call.func for call in calls if last_name(call.func) == "get"))
    first = {ast.unparse(target) for target, _ in assigned if isinstance(target, ast.Subscript)}
    counted = (node.target for node in nodes if isinstance(node, ast.AugAssign))
    yield from _names(*(target for target in counted if ast.unparse(target) in first))
    clocked = _names(*(t for t, value in assigned if isinstance(value, ast.Call) and last_name(value.func) in _CLOCKS))
    for node in nodes:
        if isinstance(node, ast.If):
            tests = (part for part in ast.walk(node.test) if isinstance(part, ast.Compare))
            compared = [_names(test) for test in tests if isinstance(test.ops[0], _ORDERS)]
            inner = [part for line in node.body for part in ast.walk(line) if isinstance(part, ast.Assign)]
            kept = _names(*(t for part in inner for t in part.targets if _is_one_place(t)))
            for names in compared:
                if not names & clocked:  # a clock only decides when a call prints again
                    yield from names & kept


def _is_one_place(target: ast.expr) -> bool:
    """Return whether an assignment is to the same place in all calls."""
    return all(isinstance(n.slice, ast.Constant) for n in ast.walk(target) if isinstance(n, ast.Subscript))


def _names(*nodes: ast.AST) -> set[str]:
    """Return the variables, and fields of ``self``, in expressions."""
    return {name for node in nodes for part in ast.walk(node) for name in _variable_or_field(part)}


def _variable_or_field(node: ast.AST) -> list[str]:
    """Return the variable at the beginning of attributes, items and calls; a field of ``self`` as ``self.name``."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        inner = node.func if isinstance(node, ast.Call) else node.value
        if isinstance(node, ast.Attribute) and isinstance(inner, ast.Name) and inner.id == "self":
            return [f"self.{node.attr}"]
        node = inner
    return [node.id] if isinstance(node, ast.Name) else []
