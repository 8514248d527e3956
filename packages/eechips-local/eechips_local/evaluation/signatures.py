"""Read the signatures of Earth Engine's functions from the installed client."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

_PREFIX = "algorithms/"
_NOTHING = object()
"""No default: differs from any value."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a function.

    Attributes:
        name: as in the expression graph.
        type: Earth Engine's type name ("Image<unknown bands>", "List<String>", …).
        optional: whether it may be left out.
        default: its value then.
    """

    name: str
    type: str
    optional: bool
    default: Any


@dataclass(frozen=True, slots=True)
class FunctionSignature:
    """The signature of one function."""

    name: str
    arguments: tuple[Argument, ...]
    returns: str

    def differing(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of arguments that differ from their defaults, as ``getInfo`` prints a call.

        So ``Kernel.gaussian(3)`` has a radius only, and ``Reducer.max(5)`` a number of inputs, as recorded in December
        2024 (https://github.com/aazuspan/eerepr, tests/data).
        """
        defaults = {argument.name: argument.default for argument in self.arguments if argument.optional}
        return {
            name: value for name, value in values.items() if value is not None and value != defaults.get(name, _NOTHING)
        }


def client_file(name: str) -> bytes:
    """Return a file that the installed ``earthengine-api`` carries in ``ee/tests``.

    Args:
        name: ``algorithms.json`` or ``cloud_api_discovery_document.json``.

    Raises:
        RuntimeError: if the client is not installed or no longer carries the file.
    """
    spec = importlib.util.find_spec("ee")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("The local Earth Engine reads its protocol from earthengine-api, which is not installed.")
    path = Path(spec.submodule_search_locations[0]) / "tests" / name
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise RuntimeError(
            f"This version of earthengine-api does not carry ee/tests/{name}; install another one, e.g. 1.7.50."
        ) from error


@cache
def load_signatures() -> Mapping[str, FunctionSignature]:
    """Return all signatures by function name."""
    listed = json.loads(client_file("algorithms.json"))["algorithms"]
    return MappingProxyType({s.name: s for s in map(_signature, listed)})


def _signature(entry: Mapping[str, Any]) -> FunctionSignature:
    arguments = tuple(
        Argument(a["argumentName"], a["type"], bool(a.get("optional", False)), a.get("defaultValue"))
        for a in entry.get("arguments", ())
    )
    return FunctionSignature(entry["name"].removeprefix(_PREFIX), arguments, entry["returnType"])
