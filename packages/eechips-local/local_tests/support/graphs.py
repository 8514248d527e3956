"""Real expression graphs, as the client sends them, evaluated by the local Earth Engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from eechips_local.evaluation.asset_model import AssetStore
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.expression_evaluator import Evaluator
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.evaluation.signatures import load_signatures

Node = Mapping[str, Any]


class EmptyStore:
    """A store without assets."""

    def get(self, asset_id: str) -> None:
        return None

    def children(self, parent: str) -> tuple[str, ...]:
        return ()

    def describe(self) -> Mapping[str, Any]:
        return {"assets": 0}


class Ready:
    """A node of a graph inside arguments: what :func:`node` leaves as it is."""

    def __init__(self, content: Node) -> None:
        self.content = content


def node(value: Any) -> Node:
    """The node of a Python value: constants, lists, dictionaries, and nodes made by the functions below."""
    if isinstance(value, Ready):
        return value.content
    if isinstance(value, (list, tuple)):
        return {"arrayValue": {"values": [node(item) for item in value]}}
    if isinstance(value, Mapping):
        return {"dictionaryValue": {"values": {key: node(item) for key, item in value.items()}}}
    if isinstance(value, int) and float(value) != value:
        return {"integerValue": str(value)}  # as the client does
    return {"constantValue": value}


def invoke(name: str, /, **arguments: Any) -> Ready:
    """A call inside a graph. Arguments that Python keeps for itself take a trailing underscore (``from_``).

    Numbers become images where images are expected, and codes projections, as the client makes them.
    """
    given = {key.removesuffix("_"): node(value) for key, value in arguments.items()}
    for argument in load_signatures()[name].arguments if name in load_signatures() else ():
        value = arguments.get(argument.name)
        numbers = value if isinstance(value, list) else [value]
        if argument.type.startswith("Image<") and numbers and all(isinstance(each, (int, float)) for each in numbers):
            given[argument.name] = invoke("Image.constant", value=value).content
        elif argument.type == "Projection" and isinstance(value, str):
            given[argument.name] = invoke("Projection", crs=value).content
    return Ready({"functionInvocationValue": {"functionName": name, "arguments": given}})


class Graph:
    """Collects the values that references need, chiefly the bodies of functions."""

    def __init__(self) -> None:
        self.values: dict[str, Node] = {}

    def function(self, body: Callable[..., Any], *names: str) -> Ready:
        """A function of the graph: ``body`` gets a node for each argument and gives the result's."""
        result = node(body(*(Ready({"argumentReference": name}) for name in names)))
        key = f"body-{len(self.values)}"
        self.values[key] = result
        return Ready({"functionDefinitionValue": {"argumentNames": list(names), "body": key}})

    def reference(self, value: Any) -> Ready:
        """A value that several nodes may refer to."""
        key = f"shared-{len(self.values)}"
        self.values[key] = node(value)
        return Ready({"valueReference": key})

    def expression(self, value: Any) -> dict[str, Any]:
        """The whole expression, with ``value`` as its result."""
        return {"result": "0", "values": {**self.values, "0": node(value)}}


def evaluate(
    value: Any, graph: Graph | None = None, *, store: AssetStore | None = None, limits: ServiceLimits | None = None
) -> Any:
    """Evaluates a graph made with the functions of this module."""
    context = Context(store or EmptyStore(), limits or ServiceLimits())
    return Evaluator((graph or Graph()).expression(value), context).evaluate()


def call(name: str, /, **arguments: Any) -> Any:
    """Evaluates one call: ``call("Number.add", left=1, right=2)``."""
    return evaluate(invoke(name, **arguments))
