"""Find the functions of a script that a call of an object calls: methods, partial and decorated functions."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from eechips.scripts.pooling.script_functions import ScriptFunction, is_file_of_script, is_of_script, wrapped_functions

Place = tuple[str, ...]
"""A variable, ``self`` or ``argument name``; then ``.attribute``, ``['key']``, or ``[*key]`` for a key that differs."""

Called = tuple[FunctionType, Mapping[str, Place]]
"""A function, and the places of its parameters that are known."""

MADE = "made "
"""Begins the place of an object that a call makes."""

MUTABLE = (dict, list, set, deque, np.ndarray)


def functions_of(value: Any, added: Callable[[Any], Place]) -> list[Called]:
    """Return the functions of the script that a call of an object calls, with places of their parameters."""
    context: dict[str, Place] = {}
    if isinstance(value, partial):
        functions = functions_of(value.func, added)
        for member, own in functions:
            names = [name for name in ScriptFunction(member).parameters() if name not in own]
            pairs = [*zip(names, value.args, strict=False), *value.keywords.items()]
            context |= {n: added(v) for n, v in pairs if isinstance(v, MUTABLE) or is_own(v)}
        return [(member, {**context, **own}) for member, own in functions]
    if isinstance(value, MethodType):
        place = added(value.__self__)
        return [(layer, {first_parameter(layer): place}) for layer in layers(value.__func__)]
    if isinstance(value, type):
        members = (vars(kind).get(n) for n in ("__new__", "__init__") for kind in value.__mro__ if is_of_script(kind))
        constructors = [layer for member in members for layer in layers(getattr(member, "__func__", member))]
        return [(layer, {first_parameter(layer): (f"{MADE}{value.__name__}",)}) for layer in constructors]
    if is_own(value):
        return methods([type(value)], "__call__", added(value))
    return [(layer, {}) for layer in layers(value)]


def layers(value: Any) -> list[FunctionType]:
    """Return the functions of the script that a decorated function consists of: its decorators', and the inner one."""
    functions = (part for part in wrapped_functions(value) if isinstance(part, FunctionType))
    return [part for part in functions if is_file_of_script(Path(part.__code__.co_filename))]


def methods(classes: Sequence[type], name: str, place: Place | None, *, is_class: bool = False) -> list[Called]:
    """Return the methods with a name, each with the place of what it is of.

    Args:
        place: where the object or class is; None for an object that the call has made.
        is_class: whether it is the place of a class.
    """
    functions: list[Called] = []
    for kind in classes:
        member = inspect.getattr_static(kind, name, None)
        if isinstance(member, property):
            continue
        is_of_class = isinstance(member, classmethod)
        owner: Place = place or (f"{MADE}{kind.__name__}",)
        if is_of_class and not is_class:
            owner = (*owner, ".__class__")
        for layer in layers(getattr(member, "__func__", member)):
            is_bound = not isinstance(member, staticmethod) and (is_of_class or not is_class)
            functions.append((layer, {first_parameter(layer): owner} if is_bound else {}))
        if functions and place is not None:
            break
    return functions


def first_parameter(member: FunctionType) -> str:
    """Return the name of a method's first parameter."""
    return next(iter(ScriptFunction(member).parameters()), "self")


def is_own(value: Any) -> bool:
    """Return whether a value is an instance of a class of the script."""
    return not isinstance(value, (type, ModuleType, FunctionType)) and is_of_script(type(value))
