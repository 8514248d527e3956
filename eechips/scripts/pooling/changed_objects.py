"""Find objects that threads of a script share and change in a way that a run cannot carry over.

Calls in other processes change copies. :mod:`eechips.scripts.pooling.state_changes` carries over changes of containers,
arrays, tables and objects of the script's own classes. It finds no changes of pictures, tensors, labelled arrays or
large ones: calls that make such changes stay in the script's threads.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

from eechips.scripts.pooling.call_variables import SharedCall, executed_function, variables
from eechips.scripts.pooling.dependent_changes import dependent_changes
from eechips.scripts.pooling.script_functions import function_definitions, local_names, parameters, reached_functions
from eechips.scripts.pooling.shared_places import is_argument, variable_name
from eechips.scripts.pooling.state_changes import is_too_large
from eechips.scripts.remade_objects import is_writing
from eechips.scripts.script_source import last_name

_PACKAGES = frozenset({"PIL", "_io", "array", "matplotlib", "networkx", "torch", "xarray"})
_CLASSES = frozenset({"MaskedArray", "Namespace", "Series", "SimpleNamespace", "bytearray"})
_CONTAINERS = (dict, list, set)

_OF_PATHS = frozenset({"Path", "abspath", "join", "str", "with_name", "with_suffix"})
_OPTIONS = frozenset({"buffering", "encoding", "errors", "mode", "newline"})
"""Keywords of ``Path.open``."""


@dataclass(frozen=True, slots=True)
class LostChanges:
    """What calls of a function lose if each changes copies of what threads share.

    Attributes:
        reason: why the calls stay in the script's threads; empty if they may be sent.
        arguments: names of arguments whose objects only one call may have if the calls are sent.
    """

    reason: str
    arguments: frozenset[str]


def lost_changes(function: Any) -> LostChanges:
    """Return what calls of a function that threads make lose in other processes.

    It is an object that the threads share, or a file that each call writes again, as a list of what is done. The calls
    stay in the threads, too, if an object of the script raises an error when it is read.
    """
    try:
        places = dependent_changes(function)
    except Exception as error:  # noqa: BLE001 - of objects of the script
        return LostChanges(f"what they share is not known ({type(error).__name__}: {error})", frozenset())
    arguments = frozenset(variable_name(place) for place in places if is_argument(place))
    names = (variable_name(place) for place in places if not is_argument(place))
    return LostChanges(_lost_object(function) or next(map(lost_copy, names), ""), arguments)


def _lost_object(function: Any) -> str:
    for member in reached_functions(executed_function(function)):
        code = member.__code__
        own = variables(member)
        path = Path(code.co_filename)
        for name in sorted(_changed_names(code, path).difference(parameters(code))):
            if _is_of(value := own.get(name), _PACKAGES, _CLASSES) or is_too_large(value, member.__module__):
                return lost_copy(name)
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
            return lost_copy(name)
    return ""


def changed_file(function: Any) -> str:
    """Return which file, mapped to memory, a function of a pool of processes changes; empty for none."""
    for member in reached_functions(executed_function(function)):
        own = variables(member)
        for name in _changed_names(member.__code__, Path(member.__code__.co_filename)):
            if name not in parameters(member.__code__) and _is_file(own.get(name)):
                return lost_copy(name)
    return ""


def _is_file(value: Any) -> bool:
    return isinstance(value, np.memmap) and value.mode in ("r+", "w+")


def lost_copy(name: str) -> str:
    """Return why calls that change a variable stay in the script's threads."""
    return f"each would change a copy of {name}, which the script needs. Return the values instead"


def argument_objects(call: SharedCall, names: Collection[str]) -> list[Any]:
    """Return the objects that a call has in arguments, also in tuples, and may change.

    Args:
        names: names of the arguments.
    """
    values = _arguments(call, names).values()
    inner = [item for value in values for item in (value if isinstance(value, tuple) else [value])]
    return [item for item in inner if isinstance(item, (*_CONTAINERS, np.ndarray)) or hasattr(item, "__dict__")]


def _changed_arguments(call: SharedCall) -> dict[str, Any]:
    """Return the arguments of a call that its function changes, by name."""
    function = executed_function(call.function)
    code = getattr(inspect.unwrap(getattr(function, "__func__", function)), "__code__", None)
    if not isinstance(code, CodeType):
        return {}
    return _arguments(call, [name for name in _changed_names(code, Path(code.co_filename)) if name in parameters(code)])


def _arguments(call: SharedCall, names: Collection[str]) -> dict[str, Any]:
    """Return the arguments of a call with names; nothing if they do not fit, for which the call raises an error."""
    if not names:
        return {}
    partial, arguments, keywords = call.function, call.arguments, dict(call.keywords)
    while isinstance(partial, functools.partial):
        arguments, keywords = (*partial.args, *arguments), {**partial.keywords, **keywords}
        partial = partial.func
    try:
        bound = inspect.signature(executed_function(call.function)).bind(*arguments, **keywords).arguments
    except (TypeError, ValueError):
        return {}
    return {name: bound[name] for name in names if name in bound}


def _is_of(value: Any, packages: Collection[str], classes: Collection[str] = ()) -> bool:
    return type(value).__module__.partition(".")[0] in packages or type(value).__name__ in classes


@functools.cache
def _rewritten_files(code: CodeType, path: Path) -> tuple[str, ...]:
    """Return the paths of files that a function empties and writes, and that are the same for all its calls.

    Equal codes of two files are told apart by the path of their file.
    """
    paths: list[str] = []
    for definition in function_definitions(code, path):
        nodes = list(ast.walk(definition))
        assigned = {
            node.targets[0].id: node.value
            for node in nodes
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
        }
        bound = Counter(node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
        bound.update(node.arg for node in nodes if isinstance(node, ast.arg))
        differing = local_names(code).difference(_imported(nodes))
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
def _changed_names(code: CodeType, path: Path) -> frozenset[str]:
    """Return the variables whose objects a function of the script may change. See `_rewritten_files`."""
    definitions = function_definitions(code, path)
    names = {name for part in definitions for node in _changed_expressions(part) for name in _variable_or_field(node)}
    return frozenset(names - local_names(code).difference(parameters(code)))


def _changed_expressions(function: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions whose values a function may change: by an assignment or a method, or where it writes."""
    for node in ast.walk(function):
        if isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
            yield node.value
        elif isinstance(node, ast.AugAssign):
            yield node.target
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield node.value.func
        if isinstance(node, ast.Call):
            yield from (keyword.value for keyword in node.keywords if keyword.arg in ("file", "out"))


def _variable_or_field(node: ast.AST) -> list[str]:
    """Return the variable at the beginning of attributes, items and calls; a field of ``self`` as ``self.name``."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        inner = node.func if isinstance(node, ast.Call) else node.value
        if isinstance(node, ast.Attribute) and isinstance(inner, ast.Name) and inner.id == "self":
            return [f"self.{node.attr}"]
        node = inner
    return [node.id] if isinstance(node, ast.Name) else []
