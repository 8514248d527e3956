"""Rewrite expression graphs in a canonical form.

Clients number the values of a graph differently, write a value where it is used or under a number of its own, name
the arguments of functions differently, and order arguments as they like. In the canonical form, each call, function
and computed list is one value, equal values are one, values are numbered in the order in which a walk from the result
that visits arguments by name leaves them, and constants stand where they are used. The form is an expression itself.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from typing import Any

from eechips_local.evaluation.graph_nodes import (
    Node,
    child_nodes,
    decode_constant,
    decode_integer,
    graph_of,
    invalid_graph,
    open_node,
)

_Steps = Generator["_Steps", Any, Any]
"""Steps of a recursive function: yields the steps of a call, receives its result. Graphs are deeper than the stack."""

_MOST_STEPS = 2_000_000
"""Visits of nodes: a graph of some kilobytes could describe functions whose renamed copies fill the memory."""


def canonical_expression(expression: Any) -> dict[str, Any]:
    """Return the canonical form of an expression.

    Args:
        expression: JSON with ``result`` and ``values``.

    Raises:
        InvalidError: if it is not an expression, or would take too long.
    """
    result, values = graph_of(expression)
    return _Canonicalizer(values).rewrite(result)


class _Canonicalizer:
    """Rewrites one graph."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._traits: dict[int, tuple[int, frozenset[str]]] = {}
        self._open: set[int] = set()
        self._rewritten: dict[tuple[int, tuple[tuple[str, str], ...]], Node] = {}
        self._numbers: dict[str, str] = {}
        self._nodes: dict[str, Node] = {}
        self._steps = 0

    def rewrite(self, result: str) -> dict[str, Any]:
        """Return the graph of a result."""
        root = self._value(result)
        self._run(self._find_traits(root))
        rewritten = self._run(self._rewrite(root, {}))
        return {"result": self._reference(rewritten), "values": self._nodes}

    def _value(self, key: str) -> Any:
        if key not in self._values:
            raise invalid_graph(f"no value '{key[:100]}'.")
        return self._values[key]

    def _run(self, steps: _Steps) -> Any:
        """Run the steps of a recursive function without recursion."""
        stack, value = [steps], None
        while stack:
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise invalid_graph("it has too many values.")
            try:
                called = stack[-1].send(value)
            except StopIteration as stop:
                stack.pop()
                value = stop.value
            else:
                stack.append(called)
                value = None
        return value

    def _find_traits(self, node: Any) -> _Steps:
        """Find how deep functions are nested in a node, and the names of arguments that it uses from outside."""
        if id(node) in self._traits:
            return self._traits[id(node)]
        if id(node) in self._open:
            raise invalid_graph("circular reference.")
        self._open.add(id(node))
        kind, content = open_node(node)
        inner = list(child_nodes(kind, content))
        if kind == "valueReference":
            inner.append(self._value(content))
        elif kind == "functionDefinitionValue":
            inner.append(self._value(content["body"]))
        elif kind == "functionInvocationValue" and "functionReference" in content:
            inner.append(self._value(content["functionReference"]))
        depth, names = 0, {content} if kind == "argumentReference" else set()
        for inner_node in inner:
            found_depth, found_names = yield self._find_traits(inner_node)
            depth, names = max(depth, found_depth), names | found_names
        if kind == "functionDefinitionValue":
            depth, names = depth + 1, names - set(content.get("argumentNames") or ())
        self._open.discard(id(node))
        self._traits[id(node)] = depth, frozenset(names)
        return self._traits[id(node)]

    def _rewrite(self, node: Any, names: Mapping[str, str]) -> _Steps:
        """Rewrite a node: return a constant, a reference to an argument, or a reference to a value.

        Args:
            node: node of the graph.
            names: new names of the arguments of the functions around it.
        """
        _, free = self._traits[id(node)]
        key = id(node), tuple((name, names.get(name, name)) for name in sorted(free))
        if key not in self._rewritten:
            self._rewritten[key] = yield self._rewrite_once(node, names)
        return self._rewritten[key]

    def _rewrite_once(self, node: Any, names: Mapping[str, str]) -> _Steps:
        kind, content = open_node(node)
        if kind == "valueReference":
            return (yield self._rewrite(self._value(content), names))
        if kind == "argumentReference":
            return {"argumentReference": names.get(content, content)}
        if kind == "functionDefinitionValue":
            return (yield self._rewrite_function(node, content, names))
        if kind == "functionInvocationValue":
            return (yield self._rewrite_call(content, names))
        if kind == "arrayValue":
            items = []
            for child_node in content.get("values", ()):
                items.append((yield self._rewrite(child_node, names)))
            if all(_is_constant(child_node) for child_node in items):
                return {"constantValue": [child_node["constantValue"] for child_node in items]}
            return self._add({"arrayValue": {"values": items}})
        if kind == "dictionaryValue":
            fields = {}
            for name, child_node in sorted(content.get("values", {}).items()):
                fields[name] = yield self._rewrite(child_node, names)
            if all(_is_constant(child_node) for child_node in fields.values()):
                return {"constantValue": {name: child_node["constantValue"] for name, child_node in fields.items()}}
            return self._add({"dictionaryValue": {"values": fields}})
        return {"constantValue": decode_integer(content) if kind == "integerValue" else decode_constant(content)}

    def _rewrite_function(self, node: Any, content: Node, names: Mapping[str, str]) -> _Steps:
        """Rewrite a function. Its arguments are named by the depth of the functions in it, as the client does."""
        depth, _ = self._traits[id(node)]
        argument_names = content.get("argumentNames") or []
        renamed = {name: f"_MAPPING_VAR_{depth}_{index}" for index, name in enumerate(argument_names)}
        body = yield self._rewrite(self._value(content["body"]), {**names, **renamed})
        definition = {"argumentNames": [renamed[name] for name in argument_names], "body": self._reference(body)}
        return self._add({"functionDefinitionValue": definition})

    def _rewrite_call(self, content: Node, names: Mapping[str, str]) -> _Steps:
        arguments = {}
        for name, argument in sorted((content.get("arguments") or {}).items()):
            arguments[name] = yield self._rewrite(argument, names)
        if "functionReference" not in content:
            # A null stands for an argument that is not given.
            present_arguments = {
                name: argument for name, argument in arguments.items() if argument != {"constantValue": None}
            }
            return self._add(
                {"functionInvocationValue": {"arguments": present_arguments, "functionName": content["functionName"]}}
            )
        called = self._value(content["functionReference"])
        function = yield self._rewrite(called, names)
        renamed = self._argument_names(called)
        call = {
            "arguments": {renamed.get(name, name): argument for name, argument in arguments.items()},
            "functionReference": self._reference(function),
        }
        return self._add({"functionInvocationValue": call})

    def _argument_names(self, node: Any) -> Mapping[str, str]:
        """Return the new names of the arguments of a function; none where a call returns the function."""
        kind, content = open_node(node)
        while kind == "valueReference":
            node = self._value(content)
            kind, content = open_node(node)
        if kind != "functionDefinitionValue":
            return {}
        depth, _ = self._traits[id(node)]
        return {name: f"_MAPPING_VAR_{depth}_{index}" for index, name in enumerate(content.get("argumentNames") or [])}

    def _reference(self, node: Node) -> str:
        """Return the number of a value; constants and arguments get one."""
        if "valueReference" in node:
            return str(node["valueReference"])
        return str(self._add(node)["valueReference"])

    def _add(self, node: Node) -> Node:
        """Number a node, unless an equal one has a number; return a reference to it."""
        text = json.dumps(node, sort_keys=True)
        if text not in self._numbers:
            self._numbers[text] = f"{len(self._numbers):04d}"
            self._nodes[self._numbers[text]] = node
        return {"valueReference": self._numbers[text]}


def _is_constant(node: Node) -> bool:
    return "constantValue" in node
