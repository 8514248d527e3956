"""Send what a script has set in modules of its folder to the workers, which import these modules anew.

With plain Python on Linux, processes of a pool are forks: they have the variables of all modules as they are when the
pool is opened, such as options that the script's main part has stored in a module.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import sys
from collections.abc import Mapping
from pathlib import Path, PurePath
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

from eechips.errors import RecipeError
from eechips.scripts.serialization import describe, deserialize, is_sendable, serialize

_DATA = (
    bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, type(None), PurePath, datetime.date,
    datetime.time, datetime.timedelta, argparse.Namespace, SimpleNamespace,
)  # fmt: skip

_CLASS = "ee:"
"""Beginning of the names of the client's classes in the place of modules."""

_NOT_OF_SCRIPT = sys.stdlib_module_names | {"__main__", "eechips", "eechips_local"}


def module_variables(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the data in variables of the imported modules below a folder, by module and name.

    Data are values of Python's types, objects of Earth Engine, and instances of classes of these modules; and methods
    that the script has added to the client's classes. What cannot be sent to another process is left out.
    """
    import ee

    modules = script_modules(folder)
    kinds = [value for value in vars(ee).values() if isinstance(value, type)]
    added = {
        f"{_CLASS}{kind.__name__}": {k: v for k, v in vars(kind).items() if _is_method(v, modules)} for kind in kinds
    }
    return {name: methods for name, methods in added.items() if methods} | {
        name: {key: value for key, value in vars(module).items() if _is_data(key, value, modules)}
        for name, module in modules.items()
    }


def set_variables(variables: Mapping[str, Mapping[str, Any]], moved: tuple[Path, Path]) -> None:
    """Set the variables of modules that this process has imported, where they differ.

    Args:
        variables: as :func:`module_variables` has returned them.
        moved: this process's working folder, and that of the script: paths below them are the same.
    """
    for name, values in variables.items():
        of_class = name.startswith(_CLASS)
        module = getattr(sys.modules["ee"], name.removeprefix(_CLASS)) if of_class else sys.modules.get(name)
        for key, value in values.items() if module is not None else ():
            if not _is_same(getattr(module, key, Ellipsis), value, moved):
                setattr(module, key, value)


def script_modules(folder: Path) -> dict[str, ModuleType]:
    """Return the imported modules below a folder, by name."""
    modules: dict[str, ModuleType] = {}
    below = os.path.join(folder, "")  # noqa: PTH118 - paths cost time for each module of each use of a pool
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if isinstance(module, ModuleType) and isinstance(path, str) and path.startswith(below):
            parts = Path(path).relative_to(folder).parts
            if name.partition(".")[0] not in _NOT_OF_SCRIPT and "site-packages" not in parts:
                modules[name] = module
    return modules


def _is_data(key: str, value: Any, modules: Mapping[str, ModuleType]) -> bool:
    import ee

    if key.startswith("__") or isinstance(value, type) or callable(value):
        return False
    if not isinstance(value, (*_DATA, ee.ComputedObject)) and type(value).__module__ not in modules:
        return False
    return is_sendable(value, may_signal=False)


def _is_method(value: Any, modules: Mapping[str, ModuleType]) -> bool:
    return isinstance(value, FunctionType) and value.__module__ in ("__main__", *modules) and is_sendable(value)


def _is_same(own: Any, sent: Any, moved: tuple[Path, Path]) -> bool:
    if own is sent:
        return True
    with contextlib.suppress(RecipeError):  # what this process has may not be data
        return type(own) is type(sent) and describe(deserialize(serialize(own, "a variable", moved))) == describe(sent)
    return False
