"""Check the nodes of expression graphs, and decode their constants.

See https://developers.google.com/earth-engine/reference/rest/v1/Expression#ValueNode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from eechips_local.protocol.request_errors import EarthEngineError, InvalidError

Node = Mapping[str, Any]
Error = TypeVar("Error", bound=EarthEngineError)

_KINDS = frozenset(
    (
        "constantValue",
        "integerValue",
        "arrayValue",
        "dictionaryValue",
        "functionInvocationValue",
        "functionDefinitionValue",
        "argumentReference",
        "valueReference",
    )
)
# dict comes first: JSON is decoded to it, and the check is several times as fast.
_OBJECT = (dict, Mapping)


NULL_NODE: Node = MappingProxyType({"constantValue": None})
"""What stands for an argument that is absent."""

_EXACT = 2**53  # doubles do not hold every integer beyond it
_INT64 = 2**63
_UNNAMED = ("User memory", "Computation", "Collection query", "Reprojection output")
"""How messages begin that have no name of a function."""


def complete_error(error: Error) -> Error:
    """Mark an error whose message needs no function name before it."""
    error.named = True  # type: ignore[attr-defined]
    return error


def add_name(error: EarthEngineError, name: str) -> EarthEngineError:
    """Put the function's name before a message that has none yet, as Earth Engine does."""
    message = str(error)
    if getattr(error, "named", False) or message.startswith(_UNNAMED):
        return error
    return complete_error(type(error)(message if message.startswith(f"{name}:") else f"{name}: {message}"))


def graph_of(expression: Any) -> tuple[str, Mapping[str, Any]]:
    """Return the result and the values of an expression.

    Raises:
        InvalidError: if it is none.
    """
    values = expression.get("values") if isinstance(expression, Mapping) else None
    result = expression.get("result") if isinstance(expression, Mapping) else None
    if not isinstance(values, Mapping) or not isinstance(result, str):
        raise invalid_graph("'result' and 'values' are required.")
    return result, values


def invalid_graph(reason: str) -> InvalidError:
    """Return the error of a graph that is not well formed."""
    return complete_error(InvalidError(f"Invalid expression: {reason}"))


def decode_constant(value: Any) -> Any:
    """Decode a constant as Earth Engine does: numbers become doubles, whole doubles become integers again.

    Raises:
        InvalidError: if it holds a number that is not finite.
    """
    if isinstance(value, int) and abs(value) > _EXACT:
        value = float(value) if abs(value) < 10**308 else math.inf
    if isinstance(value, float):
        if not math.isfinite(value):
            raise invalid_graph("constants must be finite.")
        return int(value) if value.is_integer() and -_INT64 <= value < _INT64 else value
    if isinstance(value, list):
        return [decode_constant(item) for item in value]
    if isinstance(value, _OBJECT):
        return {key: decode_constant(item) for key, item in value.items()}
    return value


def decode_integer(digits: Any) -> int:
    """Decode an ``integerValue``: the digits of a 64-bit integer."""
    try:
        number = int(digits) if isinstance(digits, str) and len(digits) <= 20 else None
    except ValueError:
        number = None
    if number is None or not -_INT64 <= number < _INT64:
        raise invalid_graph("malformed integerValue.")
    return number


def open_node(node: Any) -> tuple[str, Any]:
    """Check the form of a node; return its kind and content.

    Raises:
        InvalidError: if the node is malformed.
    """
    if not isinstance(node, _OBJECT):
        raise invalid_graph("each value must have exactly one kind.")
    if not node:  # a null is {"constantValue": null}
        raise complete_error(InvalidError("ValueNode is empty"))
    kinds = _KINDS.intersection(node)
    if len(kinds) != 1:
        raise invalid_graph("each value must have exactly one kind.")
    (kind,) = kinds
    content = node[kind]
    form = _FORMS.get(kind)
    if form is not None and not form(content):
        raise invalid_graph(f"malformed {kind}.")
    return kind, content


_FORMS: Mapping[str, Callable[[Any], bool]] = {
    "valueReference": lambda c: isinstance(c, str),
    "argumentReference": lambda c: isinstance(c, str),
    "arrayValue": lambda c: isinstance(c, _OBJECT) and isinstance(c.get("values", []), list),
    "dictionaryValue": lambda c: isinstance(c, _OBJECT) and isinstance(c.get("values", {}), _OBJECT),
    "functionInvocationValue": lambda c: (
        isinstance(c, _OBJECT)
        and isinstance(c.get("arguments") or {}, _OBJECT)
        and isinstance(c.get("functionReference", c.get("functionName")), str)
    ),
    "functionDefinitionValue": lambda c: (
        isinstance(c, _OBJECT)
        and isinstance(c.get("body"), str)
        and isinstance(c.get("argumentNames") or [], list)
        and all(isinstance(name, str) for name in c.get("argumentNames") or [])
    ),
}


def child_nodes(kind: str, content: Any) -> Iterator[Any]:
    """Yield the nodes inside a node."""
    if kind == "arrayValue":
        yield from content.get("values", ())
    elif kind == "dictionaryValue":
        yield from content.get("values", {}).values()
    elif kind == "functionInvocationValue":
        yield from (content.get("arguments") or {}).values()
