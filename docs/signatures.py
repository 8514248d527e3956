"""Extension of Griffe: show the options of functions that are decorated with ``takes`` or ``dataset_function``.

Griffe reads the source, where such a function has ``**options``. The decorator gives it a signature and a docstring
with every option, which are read from the imported function.
"""

from __future__ import annotations

import inspect
from typing import Any

import griffe

DECORATORS = ("takes(", "dataset_function(")


class TakenOptions(griffe.Extension):
    """Replace parameters and docstrings of decorated functions."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Replace those of one function."""
        if any(str(decorator.value).startswith(DECORATORS) for decorator in func.decorators):
            function = griffe.dynamic_import(func.path)
            func.parameters = griffe.Parameters(*map(describe, inspect.signature(function).parameters.values()))
            func.overloads = None
            if func.docstring is not None:
                func.docstring.value = inspect.getdoc(function) or ""


def describe(parameter: inspect.Parameter) -> griffe.Parameter:
    """Return a parameter as Griffe has it."""
    annotation = parameter.annotation
    return griffe.Parameter(
        parameter.name,
        kind=griffe.ParameterKind(parameter.kind.description),
        annotation=None if annotation is inspect.Parameter.empty else getattr(annotation, "__name__", str(annotation)),
        default=None if parameter.default is inspect.Parameter.empty else repr(parameter.default),
    )
