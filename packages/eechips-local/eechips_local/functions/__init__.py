"""Earth Engine's functions, marked with ``registration.function``.

A module is named by Earth Engine's class: in the plural for its functions in general (``joins``), followed by a subject
for some of them (``image_math``, ``geometry_constructors``). Functions of no class have a subject alone (``logic``).
What several modules share belongs into ``eechips_local``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from eechips_local.functions.registration import Implementation, RegistrationError, load_packages, module_functions


@cache
def load_functions() -> Mapping[str, Implementation]:
    """Return every function of the local Earth Engine by name: its own, and those of installed packages.

    Raises:
        RegistrationError: if two modules define the same name, or a package cannot be imported.
    """
    names = sorted(info.name for info in pkgutil.walk_packages(__path__, f"{__name__}."))
    own = [importlib.import_module(name) for name in names]
    implementations: dict[str, Implementation] = {}
    for module in (*own, *load_packages()):
        for name, implementation in module_functions(module):
            if name in implementations:
                other = implementations[name].call.__module__
                raise RegistrationError(
                    f"the function {name} of {module.__name__} exists already, in {other}: rename or remove one of them"
                )
            implementations[name] = implementation
    return MappingProxyType(implementations)
