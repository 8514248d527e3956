"""Replace names of other modules while a script runs, so that a script may bind them and send them to its workers.

``from time import sleep`` binds what ``time.sleep`` is at that moment: the original or its replacement. Neither can be
pickled by name while the name has the other one. :func:`replaced_name` finds the name of both.

Modules are changed directly after their import: importing all that a script may import takes seconds.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

_ORIGINAL, _FUNCTION = "_eechips_original", "_eechips_function"
_PACKAGE = "eechips.scripts."
_MISSING = object()
_PUBLIC = {"posix": "os", "nt": "os", "_io": "io", "_signal": "signal"}
"""Modules by those in C that they have their functions from."""


@contextlib.contextmanager
def replace_names(owner: Any, **values: Any) -> Iterator[None]:
    """Set attributes of a module or class inside the block."""
    before = {name: vars(owner).get(name, _MISSING) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, value)


def stand_in(owner: ModuleType, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a replacement of a name, which is pickled by the name.

    A module that has bound it calls what the name has when it is called: the replacement of a later block, or the
    original.

    Args:
        owner: the module, which has the original.
        function: called in its place.
    """
    original = getattr(owner, name)

    def replacement(*args: Any, **options: Any) -> Any:
        present = getattr(owner, name)
        return (function if present is replacement else present)(*args, **options)

    replacement.__module__, replacement.__name__, replacement.__qualname__ = owner.__name__, name, name
    replacement.__doc__ = original.__doc__
    setattr(replacement, _ORIGINAL, _original(original))
    setattr(replacement, _FUNCTION, function)
    return replacement


def present_function(owner: ModuleType, name: str) -> Callable[..., Any]:
    """Return what a name has, for a replacement that calls it.

    Of a name that a block around this one has replaced, it is what that block calls: the replacement itself would call
    the later one again.
    """
    present: Callable[..., Any] = getattr(owner, name)
    return getattr(present, _FUNCTION, present)


def replaced_name(thing: Any) -> tuple[str, str] | None:
    """Return module and name of a function or class that a script may have bound before or after its replacement.

    Returns:
        None if ``thing`` has no name that is replaced, or is what its name has at present.
    """
    if not isinstance(thing, (type, FunctionType, BuiltinFunctionType)):
        return None
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    module = _PUBLIC.get(module, module)
    present = getattr(sys.modules.get(module), name, None)
    if present is None or present is thing:
        return None
    is_replaced = _original(present) is _original(thing) or str(present.__module__).startswith(_PACKAGE)
    return (module, name) if is_replaced else None


def look_up(module: str, name: str) -> Any:
    """Return what a name has in this process."""
    return getattr(importlib.import_module(module), name)


def _original(thing: Any) -> Any:
    return getattr(thing, _ORIGINAL, thing)


@contextlib.contextmanager
def change_imported(changes: Mapping[str, Callable[[ModuleType], None]]) -> Iterator[None]:
    """Change modules that are imported, now or inside the block.

    Args:
        changes: functions that change a module, by its name.
    """
    finder = _Finder({name: change for name, change in changes.items() if name not in sys.modules})
    for name in changes.keys() & sys.modules.keys():
        changes[name](sys.modules[name])
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


@contextlib.contextmanager
def find_modules(folders: Callable[[], Sequence[str]]) -> Iterator[None]:
    """Find modules also in other folders inside the block, if Python does not find them.

    Args:
        folders: returns the folders at an import.
    """
    finder = _FolderFinder(folders)
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _FolderFinder:
    def __init__(self, folders: Callable[[], Sequence[str]]) -> None:
        self._folders = folders

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module in the folders; None for a part of a package."""
        return PathFinder.find_spec(name, self._folders()) if path is None else None


class _Finder:
    def __init__(self, changes: dict[str, Callable[[ModuleType], None]]) -> None:
        self._changes = changes

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec that the other finders have, with a loader that changes the module; None for others."""
        change = self._changes.get(name)
        if change is None:
            return None
        others = sys.meta_path[sys.meta_path.index(self) + 1 :]
        specs = (finder.find_spec(name, path, target) for finder in others if hasattr(finder, "find_spec"))
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            change(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
