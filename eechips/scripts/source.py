"""A script's text: read, rid of what only notebooks understand, and judged without being executed."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eechips.errors import UsageError
from eechips.recipe import parse_script

POOLS = frozenset({"Pool", "ThreadPool", "ProcessPoolExecutor", "ThreadPoolExecutor", "process_map", "thread_map"})
"""Names under which pools are opened."""

_CLIENT = frozenset({"Initialize", "Authenticate"})
_REQUESTS, _RESULT = ("get_requests", "getRequests"), ("get_result", "getResult")
_MAGIC = re.compile(r"^(?P<indent>\s*)(?:(?P<target>[\w.,\s]+?)\s*=\s*)?(?P<magic>[%!?].*)$")
_CELL_MAGIC = re.compile(r"^\s*%%\s*(\w+)")
_OF_PYTHON = frozenset({"time", "timeit", "capture", "prun"})
"""Cell magics below which there is Python."""
_CELL = re.compile(r"^#\s*(In\s?\[|%%)")


@dataclass(frozen=True, slots=True)
class Source:
    """A script.

    Attributes:
        path: the file.
        text: what Python executes; lines have the numbers that they have in the file.
        tree: the text, parsed.
        ignored: lines that only a notebook understands.
    """

    path: Path
    text: str
    tree: ast.Module
    ignored: tuple[str, ...] = ()

    @property
    def is_recipe(self) -> bool:
        """Whether the file has the two functions of a recipe, and opens no pool outside them."""
        return self.functions is not None and not self._opens_pool(
            {node for node in self.tree.body if isinstance(node, ast.FunctionDef) and node.name in self.functions}
        )

    @property
    def functions(self) -> tuple[str, str] | None:
        """Names of the two functions of a recipe, if it has both."""
        there = {node.name for node in self.tree.body if isinstance(node, ast.FunctionDef)}
        requests, result = (next((n for n in names if n in there), None) for names in (_REQUESTS, _RESULT))
        return (requests, result) if requests is not None and result is not None else None

    @property
    def initializes(self) -> bool:
        """Whether it initialises Earth Engine's client itself, which recipes leave to the run."""
        return any(isinstance(n, ast.Call) and _name(n.func) in _CLIENT for n in ast.walk(self.tree))

    @property
    def is_script(self) -> bool:
        """Whether executing the file does anything: it opens a pool, has a main guard, calls something or loops."""
        return self._opens_pool(set()) or any(_acts(node) for node in self.tree.body)

    @property
    def imports(self) -> tuple[str, ...]:
        """Packages that it imports when it is executed."""
        found: dict[str, None] = {}
        for node in self.tree.body:
            if isinstance(node, ast.Import):
                found.update(dict.fromkeys(alias.name.partition(".")[0] for alias in node.names))
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found[node.module.partition(".")[0]] = None
        return tuple(found)

    @property
    def project(self) -> str | None:
        """The project that it initialises Earth Engine with, if that is written in it."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and _name(node.func) == "Initialize":
                for keyword in node.keywords:
                    if keyword.arg == "project" and isinstance(keyword.value, ast.Constant):
                        return str(keyword.value.value)
        return None

    @property
    def texts(self) -> tuple[str, ...]:
        """Short texts that are written in it: some of them name files."""
        found = (n.value for n in ast.walk(self.tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))
        return tuple(dict.fromkeys(text for text in found if 0 < len(text) < 250 and "\n" not in text))

    def _opens_pool(self, apart: set[ast.FunctionDef]) -> bool:
        return any(isinstance(n, (ast.Name, ast.Attribute)) and _name(n) in POOLS for n in _walk(self.tree, apart))


def read_source(path: Path) -> Source:
    """Reads a script; magics and commands of notebooks become ``pass``.

    Raises:
        UsageError: if it cannot be read, or is not Python.
    """
    try:
        with tokenize.open(path) as file:
            text = file.read()
    except (OSError, UnicodeDecodeError, SyntaxError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read the recipe {path}: {reason}") from None
    try:
        return Source(path, text, parse_script(path, text))
    except UsageError:
        python, ignored = _without_magics(text)
        if not ignored:
            raise
        return Source(path, python, parse_script(path, python), ignored)


def _without_magics(text: str) -> tuple[str, tuple[str, ...]]:
    lines: list[str] = []
    ignored: list[str] = []
    is_foreign = False
    for line in text.splitlines():
        if _CELL.match(line):
            is_foreign = False
        cell, found = _CELL_MAGIC.match(line), _MAGIC.match(line)
        if cell is not None:
            is_foreign = cell[1] not in _OF_PYTHON
        if is_foreign or found is not None:
            ignored.append(line.strip())
        if is_foreign:
            lines.append("")
        elif found is not None:
            lines.append(found["indent"] + (f"{found['target']} = None" if found["target"] else "pass"))
        else:
            lines.append(line)
    return "\n".join(lines) + "\n", tuple(ignored)


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _walk(node: ast.AST, apart: set[ast.FunctionDef]) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if child not in apart:
            yield child
            yield from _walk(child, apart)


def _acts(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    return isinstance(node, (ast.For, ast.While, ast.With, ast.If))
