"""Find the assets that an expression loads by a constant id, and refuse those that are missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.expression_evaluator import Evaluator
from eechips_local.evaluation.graph_nodes import NULL_NODE, Node, child_nodes, graph_of, open_node
from eechips_local.protocol.messages import ServiceRequest, ServiceResponse, encode_json

_ID_ARGUMENTS = {
    "Image.load": "id",
    "ImageCollection.load": "id",
    "Collection.loadTable": "tableId",
    "Classifier.load": "id",
}


def check_export(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``exports:check``: an export whose assets are missing is refused when it is submitted.

    The service answers ``image:export`` with HTTP 400 and the message of the load that failed:
    https://github.com/JiaxuanYou/crop_yield_prediction/issues/10. Ids that are computed, and loads in a case of
    ``Algorithms.If``, are looked up in the task, whose errors are those of the computation (``Element.get: Parameter
    'object' is required. (Error code: 3)``, https://github.com/nasaharvest/cropharvest/pull/74).
    """
    for load in _constant_loads(*graph_of(request.body["expression"])):
        Evaluator({"result": "load", "values": {"load": load}}, context).evaluate()
    return encode_json({})


def _constant_loads(result: str, values: Mapping[str, Any]) -> Iterator[Node]:
    """Yield one call for each constant id of an asset that is loaded, and on which the result depends in any case."""
    nodes: list[Any] = [{"valueReference": result}]
    seen: set[str] = set()
    named: set[tuple[str, str]] = set()
    while nodes:
        kind, content = open_node(nodes.pop())
        if kind == "valueReference" and content not in seen:
            seen.add(content)
            nodes.append(values.get(content, NULL_NODE))
        elif kind == "functionDefinitionValue":
            nodes.append({"valueReference": content.get("body")})
        elif kind == "functionInvocationValue" and content.get("functionName") == "If":
            nodes.append((content.get("arguments") or {}).get("condition", NULL_NODE))
        else:
            nodes.extend(child_nodes(kind, content))
        name = content.get("functionName") if kind == "functionInvocationValue" else None
        if name in _ID_ARGUMENTS:
            argument = _ID_ARGUMENTS[name]
            constant = _constant((content.get("arguments") or {}).get(argument, NULL_NODE), values)
            if isinstance(constant, str) and (name, constant) not in named:
                named.add((name, constant))
                arguments = {argument: {"constantValue": constant}}
                yield {"functionInvocationValue": {"functionName": name, "arguments": arguments}}


def _constant(node: Node, values: Mapping[str, Any]) -> Any:
    kind, content = open_node(node)
    if kind == "valueReference":
        kind, content = open_node(values.get(content, NULL_NODE))
    return content if kind == "constantValue" else None
