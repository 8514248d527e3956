"""Read the size of a picture from the request for it, to tell the small ones, which need no check of their size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SMALL = 1024  # pixels a side: six bytes each, of three colours with their masks, are 6 MB


def is_small(body: Mapping[str, Any]) -> bool:
    """Return whether a request names the size of a picture, and it is far below the limits of pictures."""
    dimensions = (body.get("grid") or {}).get("dimensions") or {}
    arguments = size_arguments(body["expression"])
    if not dimensions and "maxDimension" in arguments:
        dimensions = {"width": _number(arguments["maxDimension"]), "height": _number(arguments["maxDimension"])}
    elif not dimensions:
        dimensions = {side: _number(arguments.get(side)) for side in ("width", "height")}
    width, height = dimensions.get("width"), dimensions.get("height")
    return width is not None and height is not None and max(int(width), int(height)) <= _SMALL


def size_arguments(expression: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what sets the size in the outermost step, also in one mapped over a collection, as the client does."""
    values = expression["values"]
    node = values.get(expression["result"])
    for _ in range(4):
        call = _part(node, "functionInvocationValue")
        arguments = _part(call, "arguments")
        if call.get("functionName") == "Image.clipToBoundsAndScale":
            return {
                name: _followed(arguments[name], values)
                for name in ("width", "height", "maxDimension", "scale")
                if name in arguments
            }
        if call.get("functionName") == "Collection.map":
            algorithm = _followed(arguments.get("baseAlgorithm"), values)
            node = values.get(_part(algorithm, "functionDefinitionValue").get("body"))
        elif call.get("functionName") == "Image.visualize":
            node = _followed(arguments.get("image"), values)
        else:
            return {}
    return {}


def _part(node: Any, name: str) -> Mapping[str, Any]:
    part = node.get(name) if isinstance(node, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def _followed(node: Any, values: Mapping[str, Any]) -> Any:
    """Return a node, or the one of an expression's values that it refers to."""
    is_reference = isinstance(node, Mapping) and isinstance(node.get("valueReference"), str)
    return values.get(node["valueReference"]) if is_reference else node


def _number(node: Any) -> int | None:
    constant = node.get("constantValue") if isinstance(node, Mapping) else None
    return int(constant) if isinstance(constant, (int, float)) and abs(constant) < 1e9 else None
