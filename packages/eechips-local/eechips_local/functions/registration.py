"""Register Python functions as Earth Engine's: the decorator ``function``, and entry points by which other packages add
functions.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

GROUP = "eechips_local.functions"
"""Entry points under which other packages declare modules of functions."""

_MARK = "_earth_engine_names"


class RegistrationError(ValueError):
    """A module of functions cannot be used."""


@dataclass(frozen=True, slots=True)
class Implementation:
    """The Python function behind one of Earth Engine's.

    Attributes:
        call: takes the arguments by their names in the signature, and ``context`` first if it has that parameter.
        with_context: whether it takes the context.
        lazy: arguments that are passed as functions without arguments, to be evaluated if needed.
        late: arguments that may be passed as ``Later``.
    """

    call: Callable[..., Any]
    with_context: bool = False
    lazy: frozenset[str] = frozenset()
    late: frozenset[str] = frozenset()


def function(*names: str, lazy: tuple[str, ...] = (), late: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Mark a Python function as Earth Engine's function of these names.

    Its parameters are the signature's arguments, already of the signature's types, with the signature's defaults
    filled in (None where there is none). A name that is a keyword of Python gets a trailing underscore. A first
    parameter called ``context`` receives the evaluation's Context.

    A package adds functions to the local Earth Engine with a module of marked functions, which it declares in its
    ``pyproject.toml``::

        [project.entry-points."eechips_local.functions"]
        sentinel1 = "my_package.sentinel1"

    Only names that the installed client lists have a signature (``ee/tests/algorithms.json``).
    """

    def mark(call: F) -> F:
        setattr(call, _MARK, (names, frozenset(lazy), frozenset(late)))
        return call

    return mark


def module_functions(module: ModuleType) -> Iterator[tuple[str, Implementation]]:
    """Yield name and implementation of every marked function of a module, and of its table ``FUNCTIONS`` if any."""
    for call in vars(module).values():
        marked = getattr(call, _MARK, None)
        if marked is None or call.__module__ != module.__name__:
            continue
        names, lazy, late = marked
        parameters = call.__code__.co_varnames[: call.__code__.co_argcount]
        for name in names:
            yield name, Implementation(call, parameters[:1] == ("context",), lazy, late)
    yield from getattr(module, "FUNCTIONS", {}).items()


@cache
def has_packages() -> bool:
    """Return whether installed packages declare functions."""
    return bool(metadata.entry_points(group=GROUP))


def load_packages() -> Sequence[ModuleType]:
    """Import the modules of functions that installed packages declare, in the order of their names.

    Raises:
        RegistrationError: if one cannot be imported.
    """
    modules = []
    for value in sorted({point.value for point in metadata.entry_points(group=GROUP)}):
        try:
            modules.append(importlib.import_module(value))
        except ImportError as error:
            raise RegistrationError(
                f"the functions of {value} cannot be loaded: {error}. Repair or remove the package that declares them"
            ) from error
    return modules
