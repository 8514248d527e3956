"""Earth Engine's functions, one module per type."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from eechips.emulator.functions.registry import Implementation, implementations


@cache
def registry() -> Mapping[str, Implementation]:
    """Every function that the local Earth Engine has, by name.

    Raises:
        RuntimeError: if two modules claim the same name.
    """
    found: dict[str, Implementation] = {}
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda i: i.name):
        module = importlib.import_module(f"{__name__}.{info.name}")
        table = dict(getattr(module, "FUNCTIONS", {}))
        for name, implementation in (*implementations(module), *table.items()):
            if name in found:
                raise RuntimeError(f"Two functions are called {name}.")
            found[name] = implementation
    return MappingProxyType(found)
