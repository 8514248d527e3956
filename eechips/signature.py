"""Functions whose options are fields of frozen dataclasses: each option stands in one place."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from eechips.errors import UsageError
from eechips.suggestion import did_you_mean

ConfigT = TypeVar("ConfigT")
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def takes(*configs: type, further: str | None = None) -> Callable[[FunctionT], FunctionT]:
    """Gives a function of ``**options`` the signature that its frozen configs add up to.

    So ``help``, a notebook's completion and the documentation show every option, and each stands in one place.

    Args:
        configs: dataclasses; where several have a field of a name, the first counts.
        further: name of the keywords that the function takes besides, if it takes any.
    """

    def decorate(function: FunctionT) -> FunctionT:
        own = inspect.signature(function)
        parameters = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        names = {parameter.name for parameter in parameters}
        for config in configs:
            for field in dataclasses.fields(config):
                if field.init and field.name not in names:
                    names.add(field.name)
                    parameters.append(_parameter(field))
        if further is not None:
            parameters.append(inspect.Parameter(further, inspect.Parameter.VAR_KEYWORD, annotation=Any))
        function.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        return function

    return decorate


def filled(config: Callable[..., ConfigT], options: Mapping[str, Any]) -> ConfigT:
    """Makes a config of options.

    Args:
        config: a dataclass.
        options: what the caller gave.

    Raises:
        UsageError: if there is no such option; the message names one that looks like it.
    """
    names = [field.name for field in dataclasses.fields(config) if field.init]  # type: ignore[arg-type]
    for option in options:
        if option not in names:
            raise UsageError(f"there is no option {option!r}{did_you_mean(option, names)}")
    return config(**options)


def _parameter(field: dataclasses.Field[Any]) -> inspect.Parameter:
    default = field.default
    if default is dataclasses.MISSING:
        factory = field.default_factory
        default = inspect.Parameter.empty if factory is dataclasses.MISSING else factory()
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=field.type)
