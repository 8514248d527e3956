"""Help texts, messages, pages and names use the terms of the glossary."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType

import click
import pytest

from eechips.cli import main
from eechips.datasets import list_datasets
from tests.docs.pages import DOCS, read_page

ROOT = DOCS.parent
SOURCE = ROOT / "eechips"
GLOSSARY = "reference/glossary.md"

UNCLEAN_TEXTS = frozenset[str]()
"""Packages some of whose messages or docstrings have words that the glossary replaces. The list must shrink."""

UNCLEAN_NAMES = frozenset[str]()
"""Packages some of whose modules or classes are named by such words. The list must shrink."""

UNCLEAN_HELP = frozenset[str]()
"""Commands whose help has such words. The list must shrink."""

UNCLEAN_PAGES: frozenset[str] = frozenset()
"""Pages that have such words. The list must shrink."""

LOCAL = ROOT / "packages" / "eechips-local" / "eechips_local"
PACKAGES = [*sorted(path.parent.name for path in SOURCE.glob("*/__init__.py")), LOCAL.name]


def _pages() -> list[str]:
    """Return the pages of the site, and the README."""
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    excluded = {f"docs{name}" for name in re.findall(r"^  (/[\w-]+\.md)$", settings, re.MULTILINE)}
    pages = {path.relative_to(ROOT).as_posix() for path in (*DOCS.rglob("*.md"), ROOT / "README.md")}
    return sorted(pages - excluded - {f"docs/{GLOSSARY}", *UNCLEAN_PAGES})


def _rows() -> list[list[str]]:
    lines = [line for line in read_page(GLOSSARY).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def replaced_words() -> tuple[set[str], set[str]]:
    """Return the words that texts avoid, and those that only names avoid."""
    rows = [row for row in _rows() if len(row) == 3 and row[0] not in ("term", "---")]
    words = {word.strip() for row in rows for word in row[2].split(",") if word.strip()}
    names = {word.strip("`") for word in words if word.startswith("`")}
    phrases = {row[0] for row in _rows() if len(row) == 2 and row[0] not in ("avoid", "---")}
    return {word for word in words if not word.startswith("`")} | phrases, names


TEXT_WORDS, NAME_WORDS = replaced_words()
_TEXT = re.compile(rf"\b({'|'.join(sorted(map(re.escape, TEXT_WORDS)))})(?:s|es)?\b", re.IGNORECASE)
_FIRST_WORDS = frozenset(
    first + ending
    for first in (re.findall(r"\w+", word.lower())[0] for word in TEXT_WORDS)
    for ending in ("", "s", "es")
)
"""Words without one of which the expression, which takes far longer than they do, cannot match."""


def find_words(text: str) -> list[str]:
    """Return the words of a text that the glossary replaces."""
    if _FIRST_WORDS.isdisjoint(re.findall(r"\w+", text.lower())):
        return []
    return sorted({found.group(1).lower() for found in _TEXT.finditer(" ".join(text.split()))})


def test_terms_stand_once_and_no_term_is_replaced_by_another() -> None:
    rows = [row for row in _rows() if len(row) == 3 and row[0] not in ("term", "---")]
    terms = [row[0] for row in rows]
    assert len(terms) == len(set(terms))
    assert not {term.lower() for term in terms} & (TEXT_WORDS | NAME_WORDS)
    assert all(row[1].endswith(".") for row in rows)


def test_pages_use_the_terms() -> None:
    titles = re.compile("|".join(re.escape(dataset.title) for dataset in list_datasets()))  # of the data catalog
    found = {}
    for page in _pages():
        text = titles.sub("", (ROOT / page).read_text(encoding="utf-8"))
        if words := find_words(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
            found[page] = words
    assert found == {}


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command, **command.context_settings)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from _commands(found, f"{name} {child}")


def test_help_uses_the_terms() -> None:
    found = {}
    for name, command in _commands(main, "eechips"):
        texts = [command.help or "", *(getattr(option, "help", None) or "" for option in command.params)]
        words = find_words(" ".join(texts))
        if words and name not in UNCLEAN_HELP:
            found[name] = words
    assert found == {}


@dataclass(frozen=True)
class _Module:
    """What a module calls things.

    Attributes:
        path: path of its file.
        classes: names.
        variables: names of arguments and variables of functions, each with the first line of its function.
    """

    path: Path
    classes: tuple[str, ...]
    variables: tuple[tuple[int, str], ...]


def _paths(package: str) -> list[Path]:
    return sorted((LOCAL if package == LOCAL.name else SOURCE / package).rglob("*.py"))


@cache
def _modules(package: str) -> tuple[_Module, ...]:
    return tuple(map(_read_module, _paths(package)))


def _read_module(path: Path) -> _Module:
    """Read names from the compiled module, which Python keeps: to make a syntax tree takes ten times as long."""
    code = SourceFileLoader(path.stem, str(path)).get_code(path.stem)
    assert code is not None
    codes = list(_codes(code, is_in_function=False))
    classes = [part.co_name for part, _ in codes[1:] if not part.co_flags & inspect.CO_OPTIMIZED]
    variables = [
        (part.co_firstlineno, name)
        for part, is_in_function in codes
        if is_in_function
        for name in dict.fromkeys((*part.co_varnames, *part.co_cellvars))
    ]
    return _Module(path, tuple(classes), tuple(variables))


def _codes(code: CodeType, *, is_in_function: bool) -> Iterator[tuple[CodeType, bool]]:
    """Yield a code object and those in it, and whether each is of a function or in one; not lambdas of a module."""
    is_in_function |= bool(code.co_flags & inspect.CO_OPTIMIZED) and not code.co_name.startswith("<")
    yield code, is_in_function
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _codes(part, is_in_function=is_in_function)


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield lines, and the message that is raised there or the first line of a docstring."""
    for node in _statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and node.exc is not None:
            yield node.lineno, _messages(node.exc)
        elif isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            yield getattr(node, "lineno", 1), (ast.get_docstring(node) or "").split("\n\n")[0]


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a module or statement and all statements in it; most nodes of a tree are expressions."""
    yield node
    for name in ("body", "handlers", "orelse", "finalbody", "cases"):
        for child in getattr(node, name, ()):
            yield from _statements(child)


def _messages(node: ast.AST) -> str:
    parts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return " ".join(parts)


@pytest.mark.slow
def test_messages_and_first_lines_of_docstrings_use_the_terms() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {word}"
        for package in sorted({*PACKAGES} - UNCLEAN_TEXTS)
        for path in _paths(package)
        for line, text in _texts(path)
        for word in find_words(text)
    ]
    assert found == []


def _words_of(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name)}


def test_modules_and_classes_are_named_by_the_terms() -> None:
    replaced = {word for word in TEXT_WORDS if " " not in word} | NAME_WORDS
    found = [
        f"{module.path.relative_to(ROOT)}: {name}"
        for package in sorted({*PACKAGES} - UNCLEAN_NAMES)
        for module in _modules(package)
        for name in (module.path.stem, *module.classes)
        if _words_of(name) & replaced
    ]
    assert found == []


EMPTY_NAMES = frozenset({"found", "each", "given", "made"})
"""They say nothing of a value: it is named by what it is."""


def test_arguments_and_variables_are_named_by_what_they_are() -> None:
    found = [
        f"{module.path.relative_to(ROOT)}:{line}: {name}"
        for package in PACKAGES
        for module in _modules(package)
        for line, name in module.variables
        if name in EMPTY_NAMES
    ]
    assert found == []


TASKS = frozenset(
    {
        "cli/cluster_commands.py",
        "client/exports/export_tasks.py",
        "engine/run_features/export_polling.py",
        "engine/outcome.py",
        "engine/fetch_result.py",
        "engine/queues/queue_items.py",
        "manifest/sqlite/ledger.py",
        "scripts/script_execution.py",
    }
)
"""Modules with tasks of Earth Engine, or of arrays of tasks. What a worker receives is an assignment."""


def _stored_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.lineno, node.name


def _names_of_tasks(source: str) -> list[tuple[int, str]]:
    if "task" not in source.lower():
        return []
    return [(line, name) for line, name in _stored_names(ast.parse(source)) if _words_of(name) & {"task", "tasks"}]


def test_units_of_a_worker_are_no_tasks() -> None:
    found = {
        path.relative_to(SOURCE).as_posix(): names
        for path in sorted(SOURCE.rglob("*.py"))
        if (names := _names_of_tasks(path.read_text(encoding="utf-8")))
    }
    assert {path: names for path, names in found.items() if path not in TASKS} == {}
    assert found.keys() == TASKS  # without those that have none
    sample = "class _Task:\n    tasks: int\n    def take_tasks(self, task):\n        self.task, my_task = task, 1\n"
    assert len(_names_of_tasks(sample)) == 6


@pytest.mark.parametrize("folder", ["eechips", "packages", "recipes", "tests", "tools", "benchmarks"])
def test_descriptions_of_arguments_name_what_they_describe(folder: str) -> None:
    """ "folder: of the run." is no description: "folder: folder of the run."."""
    fragment = re.compile(r"^\s+\*{0,2}\w+: (?:of|that) (?!of\b)", re.MULTILINE)
    found = [
        f"{path.relative_to(ROOT)}: {match.group().strip()}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for match in fragment.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []
