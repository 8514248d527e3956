"""List the variables of a script that a call uses: globals, closure, fields, arguments, classes and modules."""

from __future__ import annotations

import contextlib
import functools
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eechips.scripts.serialization import without_partial

_OF_MODULE = "module "


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function in a pool."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)


class CallVariables:
    """The variables of a call, by name; see :func:`variables_of`."""

    def __init__(self, call: Call) -> None:
        self._call, self._function = call, executed_function(call.function)

    def __getitem__(self, name: str) -> Any:
        if name.startswith(_OF_MODULE):
            return sys.modules[name.removeprefix(_OF_MODULE)]
        return variables_of(self._call)[name]

    def __setitem__(self, name: str, value: Any) -> None:
        function = self._function
        if name.startswith("self."):
            setattr(function.__self__, name.removeprefix("self."), value)
            return
        while function is not None:
            code: Any = getattr(function, "__func__", function)
            if name in getattr(getattr(code, "__code__", None), "co_freevars", ()):
                code.__closure__[code.__code__.co_freevars.index(name)].cell_contents = value
                return
            if name in getattr(code, "__globals__", {}):
                code.__globals__[name] = value
                return
            function = getattr(code, "__wrapped__", None)


def executed_function(function: Any) -> Any:
    """Return the function or method that a call executes: of an object, its ``__call__``."""
    function = without_partial(function)
    method = type(function).__call__
    return types.MethodType(method, function) if isinstance(method, types.FunctionType) else function


def variables_of(call: Call, modules: Iterable[str] = ()) -> dict[str, Any]:
    """Return the variables that a function uses, its arguments, the classes of these, and modules.

    Args:
        modules: names of modules; one whose variables are the function's own is left out.
    """
    arguments: dict[str, Any] = {}
    function: Any = call.function
    while isinstance(function, functools.partial):
        arguments |= _named(f"partial {len(arguments)} ", function.args, function.keywords)
        function = function.func
    function = executed_function(function)
    arguments |= _named("argument ", call.arguments, call.keywords)
    used_variables = variables(function) | arguments
    owners = (getattr(function, "__self__", None), *arguments.values())
    classes = {f"class {type(owner).__qualname__}": type(owner) for owner in owners}
    own, wrapped = [], function
    while wrapped is not None:
        own.append(getattr(wrapped, "__module__", None))
        wrapped = getattr(wrapped, "__wrapped__", None)
    others = {f"{_OF_MODULE}{name}": sys.modules[name] for name in modules if name in sys.modules and name not in own}
    return used_variables | classes | others


def _named(prefix: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in (*enumerate(arguments), *keywords.items())}


def variables(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the variables that a function of a script uses: globals, closure, and the fields of its object."""
    function = executed_function(function)
    fields: dict[str, Any] = {}
    owner = getattr(function, "__self__", None)
    if owner is not None and not isinstance(owner, types.ModuleType):
        fields = {f"self.{name}": value for name, value in getattr(owner, "__dict__", {}).items()}
    code: Any = getattr(function, "__func__", function)
    used_variables = {n: v for n, v in getattr(code, "__globals__", {}).items() if not n.startswith("__")}
    wrapped = getattr(code, "__wrapped__", None)
    if wrapped is not None:
        used_variables |= variables(wrapped)
    if isinstance(code, types.FunctionType):
        used_variables |= closure(code)
    return used_variables | fields


def closure(function: types.FunctionType) -> dict[str, Any]:
    """Return the variables of the enclosing functions that a function uses, by name."""
    used_variables: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # it is empty: the script sets the variable later
            used_variables[name] = cell.cell_contents
    return used_variables
