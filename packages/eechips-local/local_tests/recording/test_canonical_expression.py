"""Canonical forms: expressions that mean the same have one, whatever client wrote them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.expression_evaluator import Evaluator
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.recording.canonical_expression import canonical_expression
from local_tests.support.graphs import EmptyStore


def evaluate(expression: Mapping[str, Any]) -> Any:
    return Evaluator(expression, Context(EmptyStore(), ServiceLimits())).evaluate()


def nested_sums(ee: Any) -> Any:
    """Return the sums of a matrix's rows, by functions in functions that use arguments of both."""
    rows = ee.List.sequence(1, 3)
    cells = ee.List([1, 2.5, 4])
    return rows.map(lambda row: cells.map(lambda cell: ee.Number(cell).multiply(row).add(ee.Number(row).pow(2))))


def shared_values(ee: Any) -> Any:
    """Return a value that doubles itself thirty times: a tree of a thousand million nodes."""
    value = ee.Number(1).add(1)
    for _ in range(30):
        value = value.add(value)
    return value


def containers(ee: Any) -> Any:
    """Return lists and dictionaries of constants and of computed values."""
    return ee.Dictionary({"b": ee.Number(1).add(2), "a": [1, 2, ee.Number(3).add(4)], "c": {"x": None, "y": [1.0]}})


EXPRESSIONS = [nested_sums, shared_values, containers]


def rewrite_randomly(expression: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return an expression of the same meaning, as another client might write it.

    Keys, order and names of arguments are others; some values stand where they are used, and others have a key.
    """
    draw = random.Random(seed)
    values: dict[str, Any] = {}
    names: dict[str, str] = {}

    def key_of(node: Any) -> str:
        key = f"v{draw.randrange(10**9)}"
        values[key] = node
        return key

    def reordered(pairs: Mapping[str, Any]) -> dict[str, Any]:
        items = list(pairs.items())
        draw.shuffle(items)
        return dict(items)

    def renamed(name: str) -> str:
        return names.setdefault(name, f"argument_{draw.randrange(10**9)}")

    def node(content: Any) -> Any:
        ((kind, inner),) = content.items()
        if kind == "valueReference":
            return node(expression["values"][inner]) if draw.random() < 0.1 else {"valueReference": shared(inner)}
        if kind == "constantValue" and isinstance(inner, list) and draw.random() < 0.5:
            return {"arrayValue": {"values": [node({"constantValue": each}) for each in inner]}}
        if kind == "constantValue" and type(inner) is int and draw.random() < 0.5:
            return {"integerValue": str(inner)}
        if kind == "constantValue" and type(inner) is int:
            return {"constantValue": float(inner)}
        if kind == "argumentReference":
            return {"argumentReference": renamed(inner)}
        if kind == "functionDefinitionValue":
            arguments = [renamed(name) for name in inner["argumentNames"]]
            return {kind: {"body": shared(inner["body"]), "argumentNames": arguments}}
        if kind == "functionInvocationValue":
            arguments = {name: child(each) for name, each in inner["arguments"].items()}
            return {kind: reordered({**inner, "arguments": reordered(arguments)})}
        if kind == "arrayValue":
            return {kind: {"values": [child(each) for each in inner["values"]]}}
        if kind == "dictionaryValue":
            return {kind: {"values": reordered({name: child(each) for name, each in inner["values"].items()})}}
        return content

    def child(content: Any) -> Any:
        return {"valueReference": key_of(node(content))} if draw.random() < 0.3 else node(content)

    known: dict[str, str] = {}

    def shared(key: str) -> str:
        if key not in known:
            known[key] = key_of(node(expression["values"][key]))
        return known[key]

    result = shared(expression["result"])
    return {"values": reordered(values), "result": result}


@pytest.fixture(scope="module")
def ee(stack_server: Any) -> Any:
    from local_tests.support.local_earth_engine import initialize

    return initialize(stack_server)


@pytest.mark.parametrize("build", EXPRESSIONS)
def test_expressions_of_all_clients_have_one_canonical_form(build: Callable[[Any], Any], ee: Any) -> None:
    expression = json.loads(build(ee).serialize(for_cloud_api=True))
    canonical = json.dumps(canonical_expression(expression))
    for seed in range(50):
        other = rewrite_randomly(expression, seed)
        assert json.dumps(canonical_expression(other)) == canonical
    assert json.dumps(canonical_expression(json.loads(canonical))) == canonical


@pytest.mark.parametrize("build", EXPRESSIONS)
def test_canonical_forms_have_the_value_of_the_expression(build: Callable[[Any], Any], ee: Any) -> None:
    expression = json.loads(build(ee).serialize(for_cloud_api=True))
    assert evaluate(canonical_expression(expression)) == evaluate(expression)


def test_different_expressions_have_different_forms(ee: Any) -> None:
    texts = [
        ee.Number(1).subtract(2),
        ee.Number(2).subtract(1),
        ee.Number(1.5).subtract(2),
        ee.List([1, 2]).map(lambda each: ee.Number(each).subtract(1)),
        ee.List([1, 2]).map(lambda each: ee.Number(1).subtract(each)),
        ee.List([2, 1]).map(lambda each: ee.Number(each).subtract(1)),
    ]
    forms = {json.dumps(canonical_expression(json.loads(text.serialize(for_cloud_api=True)))) for text in texts}
    assert len(forms) == len(texts)


def test_functions_that_are_called_by_reference_have_their_arguments_renamed() -> None:
    def calling(name: str) -> dict[str, Any]:
        add = {"left": {"argumentReference": name}, "right": {"constantValue": 2}}
        one = {"constantValue": 1}
        return {
            "result": "call",
            "values": {
                "call": {"functionInvocationValue": {"functionReference": "f", "arguments": {name: one}}},
                "f": {"functionDefinitionValue": {"argumentNames": [name], "body": "body"}},
                "body": {"functionInvocationValue": {"functionName": "Number.add", "arguments": add}},
            },
        }  # fmt: skip

    assert canonical_expression(calling("x")) == canonical_expression(calling("other"))
    assert evaluate(canonical_expression(calling("x"))) == 3


@pytest.mark.slow
def test_deep_graphs_are_rewritten_without_recursion() -> None:
    values: dict[str, Any] = {"0": {"constantValue": 0}}
    for depth in range(1, 5_000):
        arguments = {"left": {"valueReference": str(depth - 1)}, "right": {"constantValue": 1}}
        values[str(depth)] = {"functionInvocationValue": {"functionName": "Number.add", "arguments": arguments}}
    assert len(canonical_expression({"result": "4999", "values": values})["values"]) == 4_999


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"0": {"valueReference": "0"}}, "circular reference"),
        ({"0": {"valueReference": "1"}}, "no value '1'"),
        ({"0": {"constantValue": 1, "arrayValue": {}}}, "exactly one kind"),
        ({"0": {"functionDefinitionValue": {"argumentNames": ["x"], "body": "0"}}}, "circular reference"),
        ({"0": 1}, "exactly one kind"),
    ],
)
def test_malformed_graphs_are_refused(values: Any, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        canonical_expression({"result": "0", "values": values})
