"""Find the files of a script that each call would write again: a list of finished items has the values of all calls."""

from __future__ import annotations

import ast
import functools
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from types import CodeType

from eechips.scripts.pooling.script_functions import function_definitions, local_names
from eechips.scripts.remade_objects import is_writing
from eechips.scripts.script_source import last_name

_OF_PATHS = frozenset({"Path", "abspath", "join", "str", "with_name", "with_suffix"})
_OPTIONS = frozenset({"buffering", "encoding", "errors", "mode", "newline"})
"""Keywords of ``Path.open``."""


@functools.cache
def rewritten_files(code: CodeType, path: Path) -> tuple[str, ...]:
    """Return the paths of files that a function empties and writes, and that are the same for all its calls.

    The path of the file distinguishes functions of equal code in two files.
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
