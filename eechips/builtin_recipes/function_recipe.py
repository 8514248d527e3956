"""Make a recipe of two functions from a notebook, a program or Python's prompt; a fingerprint of their code and globals
tells whether it has changed.
"""

from __future__ import annotations

import ast
import dis
import functools
import hashlib
import inspect
import pickle
import textwrap
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eechips.errors import UsageError
from eechips.recipe import CodeErrors, Redraw, canonical_json, hash_code
from eechips.recipe.protocol import with_identity
from eechips.recipe.recipe_file import list_requests
from eechips.scripts.serialization import describe, deserialize, function_name, serialize

_NOTEBOOK = "notebook"


class FunctionRecipe:
    """A recipe of two functions.

    The functions are pickled by value, with the helpers, variables and imports that they use: workers import no file
    and do not execute the main program. Workers receive the state at the time when the recipe was made.

    Attributes:
        name: stem of the functions' file; ``notebook`` without a file.
        parameters: values of parameters of the functions, as JSON.
        identity: SHA-256 of the functions, all their references, and the parameters.
        redraw: a :data:`eechips.recipe.Redraw` that calls the given function; None without one.
        assemble: the given function; None without one.
        datasets: the variable ``DATASETS`` beside the functions, a list of asset ids, if there is one.
        imports: packages that the functions use.

    Args:
        get_requests: returns the units; called with the parameters in its signature.
        get_result: returns the result of a unit; called with the number of the unit, the unit, and the parameters in
            its signature.
        parameters: values by name, of any picklable type.
        redraw: returns a unit that replaces an empty one, ``redraw(unit, number)``, with the parameters in its
            signature.
        assemble: makes files of all results, ``assemble(results)``.

    Raises:
        UsageError: if the functions do not take these arguments.
        RecipeError: if the functions use something that cannot be pickled, such as an open file.
    """

    def __init__(
        self,
        get_requests: Callable[..., Any],
        get_result: Callable[..., Any],
        parameters: Mapping[str, Any],
        redraw: Callable[..., Any] | None = None,
        assemble: Callable[[Any], None] | None = None,
    ) -> None:
        names = parameter_names(get_requests, get_result, redraw)
        unknown = [name for name in parameters if name not in names]
        if unknown:
            both = f"{function_name(get_requests)} and {function_name(get_result)}"
            raise UsageError(f"{both} have no parameter {unknown[0]!r}; they take: {', '.join(names) or 'none'}")
        for_requests = _fitting(get_requests, (), parameters, "get_requests()")
        for_result = _fitting(get_result, (0, None), parameters, "get_result(index, unit)")
        self.name = _name(get_requests)
        self.parameters: Mapping[str, Any] = {name: describe(value) for name, value in parameters.items()}
        every = tuple(function for function in (get_requests, get_result, redraw, assemble) if function is not None)
        self.identity = fingerprint(every, parameters)
        self.datasets = _datasets(get_requests)
        self.imports = tuple(_packages(get_requests, get_result))
        self.needs_service = getattr(get_requests, "__globals__", {}).get("NEEDS_SERVICE") is not False
        self._packed = serialize((get_result, for_result), function_name(get_result))
        self._get_requests: Callable[[], Any] | None = functools.partial(get_requests, **for_requests)
        self._get_result: Callable[[int, Any], Any] | None = functools.partial(get_result, **for_result)
        # Used in the parent only, as for the plan.
        self._redraw: Callable[[Any, int], Any] | None = None
        if redraw is not None:
            self._redraw = functools.partial(redraw, **_fitting(redraw, (None, 1), parameters, "redraw(unit, number)"))
        if assemble is not None:
            _fitting(assemble, (None,), {}, "assemble(results)")
        self._assemble = assemble

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_get_requests": None, "_get_result": None, "_redraw": None, "_assemble": None}

    @property
    def redraw(self) -> Redraw | None:
        """The function that replaces empty units, if one was given."""
        return self._drawn if self._redraw is not None else None

    @property
    def assemble(self) -> Callable[[Any], None] | None:
        """The function that assembles all results, if one was given."""
        return self._assembled if self._assemble is not None else None

    def continuing(self, identity: str) -> FunctionRecipe:
        """Return the recipe for a plan of another version; see :class:`eechips.recipe.SupportsCodeChanges`."""
        return with_identity(self, identity)

    def get_requests(self) -> list[Any]:
        """Call the function with the parameters in its signature.

        Raises:
            RecipeError: if it raises an exception, or returns nothing.
        """
        assert self._get_requests is not None  # not pickled: it is only called where the recipe was made
        name = function_name(self._get_requests)
        with CodeErrors(name):
            return list_requests(self._get_requests(), name)

    def get_result(self, index: int, unit: Any) -> Any:
        """Call the function with the parameters in its signature; its exceptions are not caught."""
        if self._get_result is None:  # in a worker, whose client is connected: expressions can be unpacked
            function, parameters = deserialize(self._packed)
            self._get_result = functools.partial(function, **parameters)
        return self._get_result(index, unit)

    def _drawn(self, wanted: Sequence[tuple[Any, int]]) -> list[Any]:
        assert self._redraw is not None
        with CodeErrors(function_name(self._redraw)):
            return [self._redraw(unit, number) for unit, number in wanted]

    def _assembled(self, results: Any) -> None:
        assert self._assemble is not None
        with CodeErrors(function_name(self._assemble)):
            self._assemble(results)


def parameter_names(
    get_requests: Callable[..., Any], get_result: Callable[..., Any], redraw: Callable[..., Any] | None = None
) -> tuple[str, ...]:
    """Return the names of the parameters of a recipe's functions, without the arguments that they always receive.

    Raises:
        UsageError: if one of them is not a function.
    """
    of_redraw = () if redraw is None else _parameters(redraw, 2)
    return tuple(dict.fromkeys((*_parameters(get_requests, 0), *_parameters(get_result, 2), *of_redraw)))


def _parameters(function: Callable[..., Any], skip: int) -> tuple[str, ...]:
    kinds = inspect.Parameter
    there = _signature(function).parameters.values()
    positional = [p.name for p in there if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    return (*positional[skip:], *(p.name for p in there if p.kind is kinds.KEYWORD_ONLY))


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        raise UsageError(f"a recipe is two functions, and this is none: {function!r:.80}") from None


def _fitting(
    function: Callable[..., Any], arguments: Sequence[Any], parameters: Mapping[str, Any], expected: str
) -> dict[str, Any]:
    """Return the parameters that are in a function's signature."""
    names = _parameters(function, len(arguments))
    fitting = {name: value for name, value in parameters.items() if name in names}
    try:
        _signature(function).bind(*arguments, **fitting)
    except TypeError as error:
        raise UsageError(f"{function_name(function)} cannot be called as {expected}: {error}") from None
    return fitting


def _name(function: Any) -> str:
    file = getattr(function, "__globals__", {}).get("__file__")
    return Path(file).stem if file else _NOTEBOOK


def _datasets(function: Any) -> tuple[str, ...]:
    there = getattr(function, "__globals__", {}).get("DATASETS")
    return tuple(str(item) for item in there) if isinstance(there, (list, tuple)) else ()


def _packages(*functions: Any) -> list[str]:
    used = [value for function in functions for value in read_globals(function).values()]
    modules = (value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None) for value in used)
    return list(dict.fromkeys(name.partition(".")[0] for name in modules if name))


_GLOBAL_OPERATIONS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_UNPICKLABLE = (pickle.PicklingError, TypeError, ValueError, AttributeError, RuntimeError, NotImplementedError)
_MADE_BY_PYTHON = frozenset(
    {"__dict__", "__weakref__", "__module__", "__qualname__", "__doc__", "__annotations__", "__firstlineno__",
     "__static_attributes__", "__dataclass_params__", "__abstractmethods__", "_abc_impl", "__annotate_func__",
     "__annotations_cache__", "__annotate__", "__parameters__", "__slotnames__"}
)  # fmt: skip


def fingerprint(functions: Iterable[Callable[..., Any]], parameters: Mapping[str, Any]) -> str:
    """Return the SHA-256, hexadecimal, of functions with all their references, and of parameters.

    Functions are represented by their code, or without a source (as at Python's prompt) by their bytecode, which
    differs between versions of Python.

    Args:
        functions: functions of a notebook, a program or a module.
        parameters: values of any type, by name.
    """
    functions = tuple(functions)
    reader = _Reader({_module(function) for function in functions})
    content = {
        "functions": [reader.read(function) for function in functions],
        "parameters": {name: reader.read(value) for name, value in parameters.items()},
    }
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def read_globals(function: Any) -> dict[str, Any]:
    """Return the existing variables of a function's module that it reads, by name."""
    if not isinstance(function, types.FunctionType):
        return {}
    there = function.__globals__
    return {name: there[name] for name in sorted(set(_names(function.__code__))) if name in there}


class _Reader:
    """Convert values to JSON. A repeated value becomes its number, so that circular references end.

    Args:
        homes: names of the modules whose functions and classes are included with their source.
    """

    def __init__(self, homes: set[str]) -> None:
        self._homes = {*homes, "__main__"}
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # keep the object, so that no other has its id

    def read(self, value: Any) -> Any:
        """Describe a value."""
        if value is None or isinstance(value, (bool, int, str)):
            return value if type(value) in (type(None), bool, int, str) else [type(value).__name__, str(value)]
        if isinstance(value, (float, complex)):
            return [type(value).__name__, repr(value)]
        if id(value) in self._seen:
            return {"again": self._seen[id(value)]}
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)
        return self._describe(value)

    def _describe(self, value: Any) -> Any:
        if isinstance(value, types.ModuleType):
            return {"module": value.__name__}
        if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            return [type(value).__name__, *(self.read(item) for item in value)]
        if type(value) in (set, frozenset):
            return {"set": sorted((self.read(item) for item in value), key=canonical_json)}
        if type(value) is dict:
            return {"dict": [[self.read(key), self.read(item)] for key, item in value.items()]}
        if isinstance(value, functools.partial):
            return {"partial": [self.read(part) for part in (value.func, value.args, value.keywords)]}
        if isinstance(value, types.MethodType):
            return {"method": [self.read(value.__func__), self.read(value.__self__)]}
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, (staticmethod, classmethod)):
            return {type(value).__name__: self.read(value.__func__)}
        if isinstance(value, property):
            return {"property": [self.read(part) for part in (value.fget, value.fset)]}
        if hasattr(value, "__wrapped__") and callable(value):  # by functools.cache and the like
            return {type(value).__name__: self.read(value.__wrapped__)}
        if type(value).__module__.startswith("ee.") and hasattr(value, "serialize"):
            return {"ee": value.serialize()}
        if _module(type(value)) in self._homes and hasattr(value, "__dict__"):
            return {"instance": [self.read(type(value)), self.read(dict(vars(value)))]}
        return {"value": type(value).__qualname__, "sha256": _digest(value)}

    def _function(self, function: types.FunctionType) -> Any:
        name = f"{_module(function)}.{function.__qualname__}"
        if not self._is_ours(function):
            return {"function": name}
        cells = {
            name: self.read(cell.cell_contents)
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
            if _is_filled(cell)
        }
        content: dict[str, Any] = {
            "function": _source(function),
            "closure": cells,
            "defaults": [self.read(value) for value in function.__defaults__ or ()],
            "keywords": self.read(dict(function.__kwdefaults__ or {})),
        }
        if function.__globals__.get("__name__") in self._homes:  # not of a package whose decorator wraps it
            content["globals"] = {name: self.read(value) for name, value in read_globals(function).items()}
        return content

    def _class(self, kind: type) -> Any:
        name = f"{_module(kind)}.{kind.__qualname__}"
        if not self._is_ours(kind):
            return {"class": name}
        members = {key: self.read(value) for key, value in vars(kind).items() if key not in _MADE_BY_PYTHON}
        return {"class": name, "bases": [self.read(base) for base in kind.__bases__], "members": members}

    def _is_ours(self, thing: Any) -> bool:
        return _module(thing) in self._homes


def _module(thing: Any) -> str:
    return str(getattr(thing, "__module__", None) or "")


def _is_filled(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _names(code: types.CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in _GLOBAL_OPERATIONS:
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _source(function: types.FunctionType) -> Any:
    try:
        text = textwrap.dedent(inspect.getsource(function)).rstrip()
    except (OSError, TypeError):  # there is none
        return _bytecode(function.__code__)
    try:
        return hash_code(ast.parse(text))
    except (SyntaxError, ValueError):  # a lambda whose lines are a part of a statement
        return text


def _bytecode(code: types.CodeType) -> Any:
    constants = [_bytecode(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), list(code.co_varnames), constants]


def _digest(value: Any) -> str | None:
    """Return the SHA-256 of a value's content; None for values that cannot be pickled, such as locks."""
    try:
        return hashlib.sha256(pickle.dumps(value, protocol=4)).hexdigest()
    except _UNPICKLABLE:
        return None
