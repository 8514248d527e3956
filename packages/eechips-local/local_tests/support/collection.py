"""Which test modules a process imports, and which of them first. Conftests import the hooks of pytest."""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from types import FunctionType

import pytest

NOT_SLOW, SLOW = "not slow", "slow and not exhaustive"
"""Values of ``-m``: of the tests that take seconds, and of the slow ones that CI runs."""
SLOW_MARKER = re.compile(r"\bmark\.(slow|exhaustive)\b|\bsupport\.(parameters|report_browser) import\b")
MADE_PARAMETERS = re.compile(r"\bfixture\([^)]*\bparams=|\bdef pytest_generate_tests\b")
SLOW_MODULE = re.compile(r"^pytestmark = (\[[^]]*|.*)\bpytest\.mark\.slow\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import modules all of whose tests are deselected: slow ones, of which some import PyTorch, or the others.

    Each process of pytest-xdist imports all modules that are collected.
    """
    return True if is_left_out(collection_path, config.option.markexpr) else None


def pytest_collection(session: pytest.Session) -> None:
    """Import a share of the modules before the others are collected, in each process of pytest-xdist another share.

    pytest rewrites the assertions of a module that it has not read before, which takes longer than all else of its
    import, and keeps the result for other processes. Processes that all began with the same module would rewrite each.
    """
    worker = getattr(session.config, "workerinput", None)  # None in the only process
    if worker is None:
        return
    folders = [Path(argument) for argument in session.config.args if Path(argument).is_dir()]
    paths = sorted(path.resolve() for folder in folders for path in folder.rglob("test_*.py"))
    modules = [path for path in paths if not is_left_out(path, session.config.option.markexpr)]
    for path in modules[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]:
        # What a module raises is reported where it is collected: an import that failed is repeated there.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(module_name(path))


def pytest_pycollect_makeitem(collector: pytest.Collector, obj: object) -> list[pytest.Item] | None:
    """Make no items of a function or class that would be deselected: each process would make thousands.

    These are, where slow tests are deselected, those that are marked as slow; where they are selected, functions
    that are not, nor have such a parameter, class or module. A test that is named on the command line is made, and
    deselected: pytest would not find it.
    """
    config = collector.config
    if config.option.markexpr not in {NOT_SLOW, SLOW} or any("::" in argument for argument in config.args):
        return None
    marks: list[pytest.Mark] = getattr(obj, "pytestmark", []) if isinstance(obj, (FunctionType, type)) else []
    if config.option.markexpr == NOT_SLOW:
        return [] if has_slow_mark(marks) else None
    if not isinstance(obj, FunctionType) or has_slow_mark([*marks, *collector.iter_markers()]):
        return None
    return None if may_have_slow_parameter(obj, collector.path) else []


def has_slow_mark(marks: Iterable[pytest.Mark | pytest.MarkDecorator]) -> bool:
    """Return whether one of several marks says that a test is slow."""
    return any(mark.name in {"slow", "exhaustive"} for mark in marks)


def may_have_slow_parameter(function: Callable[..., object], path: Path) -> bool:
    """Return whether a parameter of a test is marked as slow, or may be: one of a fixture, or that a hook makes."""
    if has_made_parameters(path):
        return True
    for mark in getattr(function, "pytestmark", []):
        values = mark.args[1] if mark.name == "parametrize" and len(mark.args) > 1 else ()
        if iter(values) is values or any(has_slow_mark(getattr(value, "marks", ())) for value in values):
            return True  # an iterator can be read once, by pytest
    return False


def module_name(path: Path) -> str:
    """Return the name by which pytest imports a module: that of its packages, from the first folder that is none."""
    names = [path.stem]
    for folder in path.parents:
        if not (folder / "__init__.py").exists():
            break
        names.insert(0, folder.name)
    return ".".join(names)


def is_left_out(path: Path, marks: str) -> bool:
    """Return whether a test module has no test that ``-m marks`` selects, as far as its text tells."""
    if not path.match("test_*.py") or marks not in {NOT_SLOW, SLOW}:
        return False
    return is_slow(path) if marks == NOT_SLOW else not has_slow_tests(path)


@cache
def is_slow(path: Path) -> bool:
    """Return whether a file is a module that marks all of its tests as slow."""
    return bool(SLOW_MODULE.search(path.read_text(encoding="utf-8")))


@cache
def has_slow_tests(path: Path) -> bool:
    """Return whether a module names the marker of slow tests, or one that implies it, or imports what has it."""
    return bool(SLOW_MARKER.search(path.read_text(encoding="utf-8")))


@cache
def has_made_parameters(path: Path) -> bool:
    """Return whether a module has a fixture with parameters, or a function that makes parameters of its tests."""
    return bool(MADE_PARAMETERS.search(path.read_text(encoding="utf-8")))
