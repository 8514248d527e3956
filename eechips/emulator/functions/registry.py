"""How Python functions become Earth Engine's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "_earth_engine_names"


@dataclass(frozen=True, slots=True)
class Implementation:
    """The Python function behind one of Earth Engine's.

    Attributes:
        call: takes the arguments by their names in the signature; ``context`` first where it asks for it.
        with_context: whether it does.
        lazy: arguments that are handed over as functions without arguments, to be evaluated if needed.
    """

    call: Callable[..., Any]
    with_context: bool
    lazy: frozenset[str]


def function(*names: str, lazy: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Marks a Python function as Earth Engine's function of these names.

    Its parameters are the signature's arguments, already of the signature's types, with the signature's defaults
    filled in (None where there is none); a name that is a keyword of Python gets an underscore behind it. A first
    parameter called ``context`` gets the evaluation's Context.
    """

    def mark(call: F) -> F:
        setattr(call, _MARK, (names, frozenset(lazy)))
        return call

    return mark


def implementations(module: ModuleType) -> Iterator[tuple[str, Implementation]]:
    """Name and implementation of every marked function of a module."""
    for call in vars(module).values():
        marked = getattr(call, _MARK, None)
        if marked is None or call.__module__ != module.__name__:
            continue
        names, lazy = marked
        parameters = call.__code__.co_varnames[: call.__code__.co_argcount]
        for name in names:
            yield name, Implementation(call, parameters[:1] == ("context",), lazy)
