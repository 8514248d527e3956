"""Make a recipe of two functions from a notebook, a program or Python's prompt."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eechips.errors import UsageError
from eechips.jobs.fingerprint import fingerprint, read_globals
from eechips.recipe import CodeErrors, Redraw
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
        again = self.__new__(type(self))
        again.__dict__.update(self.__dict__)  # copy() would leave out what is not sent to workers
        again.identity = identity
        return again

    def get_requests(self) -> list[Any]:
        """Call the function with the parameters in its signature.

        Raises:
            RecipeError: if it raises an exception, or returns nothing.
        """
        assert self._get_requests is not None  # not pickled: it is only called where the recipe was made
        name = function_name(self._get_requests)
        with CodeErrors(name):
            requests = self._get_requests()
            if requests is None:
                raise TypeError(f"{name} returned nothing: it must return a list of JSON values")
            return list(requests)

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
