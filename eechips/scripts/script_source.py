"""Read the source of a script or notebook, replace magics, and tell without executing it whether it is a recipe, opens
a pool, or initialises Earth Engine.
"""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import inspect
import json
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips.errors import UsageError
from eechips.recipe import parse_script
from eechips.recipe.recipe_file import imported_packages

POOLS = frozenset({
    "Pool", "ThreadPool", "ProcessPoolExecutor", "ThreadPoolExecutor", "process_map", "thread_map", "Parallel", "pqdm",
    "ProcessPool", "ProcessingPool", "ThreadingPool", "p_map", "p_umap", "p_imap", "p_uimap",
})  # fmt: skip
"""Names under which pools are opened."""

_CLIENT = frozenset({"Initialize", "Authenticate"})
_REQUESTS, _RESULT = ("get_requests", "getRequests"), ("get_result", "getResult")
_MAGIC = re.compile(r"^(?P<indent>\s*)(?:(?P<target>[\w.,\s]+?)\s*=\s*)?(?P<magic>(?:%[A-Za-z_]|!|\?).*|[\w.]+\?\??)$")
_CELL_MAGIC = re.compile(r"^\s*%%\s*(\w+)")
_OF_PYTHON = frozenset({"time", "timeit", "capture", "prun", "memit", "mprun"})
"""Magics of cells and lines whose text is Python."""
_SETTING = frozenset({"cd", "env", "set_env"})
"""Magics of lines that :class:`eechips.scripts.script_execution.NotebookShell` executes."""
_FLAGS = re.compile(r"^(?:-\w+(?:\s+\d+)?\s+)*")
_CONVERTED = frozenset({"system", "getoutput", "magic", "run_line_magic", "run_cell_magic"})
"""Methods of IPython's shell by which nbconvert writes magics and commands."""
_OF_COLAB = frozenset({"auth", "drive", "files"})
_CELL = re.compile(r"^#\s*(In\s?\[|%%)")


@dataclass(frozen=True, slots=True)
class ScriptSource:
    """The source of a script.

    Attributes:
        text: executed Python code, with the line numbers of the file.
        ignored: magics and commands of notebooks without Python code.
    """

    path: Path
    text: str
    tree: ast.Module
    ignored: tuple[str, ...] = ()

    @property
    def is_recipe(self) -> bool:
        """Return whether the file has the two functions of a recipe, and opens no pool outside them.

        The second takes index and unit. One that takes a single item is called by the script itself.
        """
        names = self.functions or ()
        functions = [node for node in self.tree.body if isinstance(node, ast.FunctionDef) and node.name in names]
        takes_two = any(node.name in _RESULT and _takes_two(node.args) for node in functions)
        return takes_two and not self._opens_pool(set(functions))

    @property
    def functions(self) -> tuple[str, str] | None:
        """The names of the two functions of a recipe, if it has both."""
        there = {node.name for node in self.tree.body if isinstance(node, ast.FunctionDef)}
        requests, result = (next((n for n in names if n in there), None) for names in (_REQUESTS, _RESULT))
        return (requests, result) if requests is not None and result is not None else None

    @property
    def is_standalone(self) -> bool:
        """Return whether a file with the two functions is a script all the same, and writes its results itself.

        It initialises Earth Engine's client, as the run does for recipes, or its second function returns nothing of it.
        """
        result = (self.functions or ("", ""))[1]
        functions = [node for node in self.tree.body if isinstance(node, ast.FunctionDef) and node.name == result]
        initializes = any(isinstance(n, ast.Call) and last_name(n.func) in _CLIENT for n in ast.walk(self.tree))
        return initializes or ("ee" in self.imports and not any(map(_returns, functions)))

    @property
    def is_script(self) -> bool:
        """Return whether executing it has an effect: it opens a pool, has a main guard, calls a function or loops."""
        return self.opens_pool or any(_acts(node) for node in self.tree.body)

    @property
    def opens_pool(self) -> bool:
        """Return whether it opens a pool, whose calls become units."""
        return self._opens_pool(set())

    @property
    def imports(self) -> tuple[str, ...]:
        """Packages imported during its execution."""
        return imported_packages(self.tree)

    @property
    def package(self) -> str:
        """The package by which it imports relatively, as ``python -m`` runs it; empty if it does not."""
        levels = [n.level for n in ast.walk(self.tree) if isinstance(n, ast.ImportFrom) and n.level]
        names: list[str] = []
        for folder in self.path.absolute().parents if levels else ():
            if len(names) >= max(levels) and not (folder / "__init__.py").is_file():
                break
            names.insert(0, folder.name)
        return ".".join(names)

    @property
    def root(self) -> Path:
        """The folder that has the modules of the script: above its package, or a folder that it imports by its name."""
        folders = self.path.absolute().parents
        if self.package:
            return folders[self.package.count(".") + 1]
        return next((folder.parent for folder in folders if folder.name in self.imports), folders[0])

    def search_path(self, path: Sequence[str]) -> list[str]:
        """Return where the script finds modules, as by ``python FILE``, or ``python -m`` if it needs its package."""
        if self.package:
            return [str(self.root), *path]
        return [str(self.path.absolute().parent), *path, str(self.root)]  # last: folders may have names of packages

    @property
    def project(self) -> str | None:
        """The project in its call of ``ee.Initialize``; None unless it is a literal."""
        calls = (n for n in ast.walk(self.tree) if isinstance(n, ast.Call) and last_name(n.func) == "Initialize")
        values = (keyword.value for call in calls for keyword in call.keywords if keyword.arg == "project")
        return next((str(value.value) for value in values if isinstance(value, ast.Constant)), None)

    @property
    def texts(self) -> tuple[str, ...]:
        """Short string literals, some of which name files."""
        literals = (n.value for n in ast.walk(self.tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))
        return tuple(dict.fromkeys(text for text in literals if 0 < len(text) < 250 and "\n" not in text))

    def execute(self, variables: dict[str, Any]) -> None:
        """Execute the script with global variables; cells of a notebook may await, as in Jupyter.

        Raises:
            UsageError: if they do, and this thread runs an event loop. In another thread they could set no signals.
        """
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if is_notebook(self.path) else 0
        code = compile(self.tree, str(self.path.absolute()), "exec", flags, dont_inherit=True)
        if code.co_flags & inspect.CO_COROUTINE and asyncio._get_running_loop() is not None:
            raise UsageError(
                f"cells of {self.path.name} await, which they cannot while an event loop runs, as in Jupyter: run the"
                f" notebook from the command line, eechips run {self.path.name}"
            )
        done = eval(code, variables)
        if asyncio.iscoroutine(done):
            asyncio.run(done)

    def _opens_pool(self, apart: set[ast.FunctionDef]) -> bool:
        return any(isinstance(n, (ast.Name, ast.Attribute)) and last_name(n) in POOLS for n in _walk(self.tree, apart))


def is_notebook(path: Path) -> bool:
    """Return whether a file is a Jupyter notebook, by its name."""
    return path.suffix.lower() == ".ipynb"


def read_source(path: Path) -> ScriptSource:
    """Read a script, or the code cells of a notebook. Magics with Python code become the code, others ``pass``.

    Raises:
        UsageError: if it cannot be read, or is not Python.
    """
    try:
        if is_notebook(path):
            text = _code_of_cells(path, path.read_text(encoding="utf-8"))
        else:
            with tokenize.open(path) as file:
                text = file.read()
    except (OSError, UnicodeDecodeError, SyntaxError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read the recipe {path}: {reason}") from None
    ignored: tuple[str, ...] = ()
    try:
        tree = parse_script(path, text)
    except UsageError:
        python, ignored = _without_magics(text)
        if not ignored and python.split() == text.split():
            raise
        text, tree = python, parse_script(path, python)
    magics = _Magics(path)
    tree = ast.fix_missing_locations(magics.visit(tree))
    return ScriptSource(path.absolute(), text, tree, (*ignored, *magics.ignored))


def _code_of_cells(path: Path, text: str) -> str:
    """Join the code cells of a notebook, each below a comment with its number, as nbconvert does.

    The format: https://nbformat.readthedocs.io/en/latest/format_description.html

    Raises:
        UsageError: if it is not a notebook, or is in another language.
    """
    try:
        notebook = json.loads(text)
        cells = notebook["cells"] if "cells" in notebook else notebook["worksheets"][0]["cells"]  # before version 4
        code = [cell.get("source", cell.get("input", "")) for cell in cells if cell["cell_type"] == "code"]
        parts = [part if isinstance(part, str) else "".join(part) for part in code]
        metadata = notebook.get("metadata", {})
        language = metadata.get("kernelspec", {}).get("language") or metadata.get("language_info", {}).get("name")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise UsageError(f"{path} is not a notebook: save it again in Jupyter, or give a Python file") from None
    if language not in (None, "python", "ipython"):
        raise UsageError(f"{path} is a notebook of {language}, not of Python")
    return "".join(f"# In[{number}]:\n{part}\n" for number, part in enumerate(parts, 1))


def _without_magics(text: str) -> tuple[str, tuple[str, ...]]:
    lines: list[str] = []
    ignored: list[str] = []
    is_foreign = False
    for line in text.splitlines():
        if _CELL.match(line):
            is_foreign = False
        cell, magic_match = _CELL_MAGIC.match(line), _MAGIC.match(line)
        if cell is not None:
            is_foreign = cell[1] not in _OF_PYTHON
        if is_foreign:
            ignored.append(line.strip())
            lines.append("")
        elif cell is not None or magic_match is None:
            lines.append(line if cell is None else "pass")
        else:
            python = _of_magic(magic_match["magic"])
            if python is None:
                ignored.append(line.strip())
                python = "None" if magic_match["target"] else "pass"
            lines.append(
                magic_match["indent"] + (f"{magic_match['target']} = {python}" if magic_match["target"] else python)
            )
    return "\n".join(lines) + "\n", tuple(line for line in ignored if line)


def _of_magic(magic: str) -> str | None:
    """Return the Python code of a line magic; None if it has none."""
    name, _, rest = magic.partition(" ")
    if name[1:] in _OF_PYTHON and name[0] == "%":
        return _FLAGS.sub("", rest.strip()) or "pass"
    if name[1:] in _SETTING and name[0] == "%":
        return f"get_ipython().run_line_magic({name[1:]!r}, {rest.strip()!r})"
    return None


class _Magics(ast.NodeTransformer):
    """Replace nbconvert's calls for magics by Python code; ``ignored`` are those without any."""

    def __init__(self, path: Path) -> None:
        self.ignored: list[str] = []
        self._path = path

    def visit_Expr(self, node: ast.Expr) -> Any:
        """Replace a statement that is a magic by statements."""
        words = _converted(node.value)
        if words is None:
            return self.generic_visit(node)
        python = self._python(*words)
        if python is None:
            return node if _is_setting(*words) else ast.copy_location(ast.Pass(), node)
        module = ast.Module(self._parsed(python, node), [])
        self.generic_visit(module)
        return module.body

    def visit_Assign(self, node: ast.Assign) -> Any:
        """Replace an assigned magic by its value."""
        words = _converted(node.value)
        if words is None:
            return self.generic_visit(node)
        statements = self._parsed(self._python(*words) or "None", node)
        if len(statements) == 1 and isinstance(statements[0], ast.Expr):
            node.value = statements[0].value
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        """Import what signs in to Colab, and mounts folders there, from a module that does neither."""
        names = {name.name for name in node.names}
        if node.module == "google.colab" and names <= _OF_COLAB and importlib.util.find_spec(node.module) is None:
            node.module = "eechips.scripts.replacements.colab"
        return node

    def _python(self, method: str, words: list[str]) -> str | None:
        if _is_setting(method, words):
            return None
        if method == "run_cell_magic" and words[0] in _OF_PYTHON and len(words) > 2:
            return words[2]
        if method in ("magic", "run_line_magic"):
            python = _of_magic("%" + " ".join(words).lstrip("%"))
            if python is not None:
                return python
        sign = {"run_cell_magic": "%%", "run_line_magic": "%", "magic": ""}.get(method, "!")
        self.ignored.append(sign + " ".join(words[:2]))
        return None

    def _parsed(self, text: str, node: ast.stmt) -> list[ast.stmt]:
        try:
            tree = parse_script(self._path, text)
        except UsageError:
            text, ignored = _without_magics(text)
            self.ignored += ignored
            tree = parse_script(self._path, text)
        for descendant in ast.walk(tree):
            if hasattr(descendant, "lineno"):
                ast.copy_location(descendant, node)
        return tree.body


def _is_setting(method: str, words: list[str]) -> bool:
    """Return whether a magic sets the folder or the environment, which ``NotebookShell`` executes."""
    return method in ("magic", "run_line_magic") and words[0].lstrip("%").partition(" ")[0] in _SETTING


def _converted(node: ast.expr) -> tuple[str, list[str]] | None:
    """Return method and words of ``get_ipython().method(words)``; None for another expression."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CONVERTED):
        return None
    shell = node.func.value
    if not (isinstance(shell, ast.Call) and last_name(shell.func) == "get_ipython"):
        return None
    words = [word.value for word in node.args if isinstance(word, ast.Constant) and isinstance(word.value, str)]
    return (node.func.attr, words) if words and len(words) == len(node.args) else None


def last_name(node: ast.AST) -> str:
    """Return the name of a variable or attribute; empty for another expression."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _walk(node: ast.AST, apart: set[ast.FunctionDef]) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if child not in apart:
            yield child
            yield from _walk(child, apart)


def _returns(node: ast.AST) -> bool:
    """Return whether a function returns a value anywhere, other functions within it left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Yield, ast.YieldFrom)) or (isinstance(child, ast.Return) and _has_value(child)):
            return True
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)) and _returns(child):
            return True
    return False


def _has_value(node: ast.Return) -> bool:
    return node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None)


def _takes_two(arguments: ast.arguments) -> bool:
    return arguments.vararg is not None or len(arguments.posonlyargs) + len(arguments.args) >= 2


def _acts(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    return isinstance(node, (ast.For, ast.While, ast.With, ast.If))
