"""Decoding and evaluating expression graphs."""

from __future__ import annotations

import contextlib
import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.expression_evaluator import Evaluator
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.evaluation.signatures import load_signatures
from eechips_local.functions import load_functions
from eechips_local.protocol.request_errors import InvalidError, LimitError, TypeMismatchError, UnknownFunctionError
from local_tests.support.graphs import EmptyStore, Graph, call, evaluate, invoke, node

OPERATORS = {"Number.add": operator.add, "Number.subtract": operator.sub, "Number.multiply": operator.mul}


def run(expression: Any, **limits: Any) -> Any:
    return Evaluator(expression, Context(EmptyStore(), ServiceLimits(**limits))).evaluate()


def alone(content: Any) -> dict[str, Any]:
    return {"result": "0", "values": {"0": content}}


leaves = st.one_of(st.integers(-50, 50).map(lambda v: (v, v)), st.sampled_from(["a", "", "äö"]).map(lambda v: (v, v)))
counts = st.integers(-50, 50).map(lambda v: (v, v))
sums = st.recursive(
    counts,
    lambda inner: st.tuples(st.sampled_from(sorted(OPERATORS)), inner, inner).map(
        lambda t: (invoke(t[0], left=t[1][0], right=t[2][0]), OPERATORS[t[0]](t[1][1], t[2][1]))
    ),
    max_leaves=10,
)
graphs = st.recursive(
    st.one_of(leaves, sums),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: ([i[0] for i in items], [i[1] for i in items])),
        st.dictionaries(st.text("ab", max_size=2), inner, max_size=4).map(
            lambda d: ({k: v[0] for k, v in d.items()}, {k: v[1] for k, v in d.items()})
        ),
        st.lists(inner, min_size=1, max_size=4).map(
            lambda items: (invoke("List.get", list=[i[0] for i in items], index=-1), items[-1][1])
        ),
        inner.map(
            lambda pair: (
                invoke("If", condition=1, trueCase=pair[0], falseCase=invoke("List.get", list=[], index=0)),
                pair[1],
            )
        ),
    ),
    max_leaves=12,
)


@given(graphs)
def test_graphs_give_what_python_gives(pair):
    assert evaluate(pair[0]) == pair[1]


@given(graphs)
def test_references_change_nothing(pair):
    graph = Graph()
    shared = graph.reference(pair[0])
    assert evaluate([shared, graph.reference(shared), {"a": shared}], graph) == [pair[1], pair[1], {"a": pair[1]}]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"constantValue": None}, None),
        ({"constantValue": [1, {"a": [True]}]}, [1, {"a": [True]}]),
        ({"constantValue": 5.0}, 5),
        ({"constantValue": [5.5, -2.0]}, [5.5, -2]),
        ({"constantValue": 1e300}, 1e300),
        ({"integerValue": "112233445566778899"}, 112233445566778899),
        ({"arrayValue": {}}, []),
        ({"dictionaryValue": {"values": {"a": {"constantValue": 1}}}}, {"a": 1}),
    ],
)
def test_kinds_of_nodes(content, expected):
    found = run(alone(content))
    assert found == expected
    assert type(found) is type(expected)


malformed = [
    None,
    5,
    [],
    {},
    {"unknownValue": 1},
    {"constantValue": 1, "arrayValue": {}},
    {"constantValue": float("nan")},
    {"constantValue": [float("inf")]},
    {"constantValue": 10**400},
    {"integerValue": "x"},
    {"integerValue": 5},
    {"integerValue": str(2**64)},
    {"arrayValue": 5},
    {"arrayValue": {"values": 5}},
    {"arrayValue": {"values": {"a": 1}}},
    {"arrayValue": {"values": [5]}},
    {"dictionaryValue": {"values": [1]}},
    {"valueReference": 5},
    {"valueReference": ["0"]},
    {"valueReference": "missing"},
    {"argumentReference": {}},
    {"argumentReference": "free"},
    {"functionInvocationValue": "Number.add"},
    {"functionInvocationValue": {}},
    {"functionInvocationValue": {"functionName": 5}},
    {"functionInvocationValue": {"functionName": "Number.add", "arguments": [1, 2]}},
    {"functionInvocationValue": {"functionName": "Number.add", "arguments": {"left": 1}}},
    {"functionInvocationValue": {"functionReference": "0"}},
    {"functionInvocationValue": {"functionReference": ["0"]}},
    {"functionDefinitionValue": {"argumentNames": ["x"]}},
    {"functionDefinitionValue": {"argumentNames": "x", "body": "0"}},
    {"functionDefinitionValue": {"argumentNames": [["x"]], "body": "0"}},
]


@pytest.mark.parametrize("content", malformed, ids=lambda c: str(c)[:60])
def test_malformed_nodes_are_invalid(content):
    with pytest.raises(InvalidError):
        run(alone(content))
    with pytest.raises(InvalidError):
        run(alone({"arrayValue": {"values": [{"constantValue": 1}, content]}}))


@pytest.mark.parametrize(
    "expression",
    [
        None,
        [],
        {},
        {"result": "0"},
        {"values": {}},
        {"result": 0, "values": {}},
        {"result": "0", "values": []},
        {"result": "1", "values": {"0": {}}},
    ],
)
def test_malformed_expressions(expression):
    with pytest.raises(InvalidError, match="Invalid expression"):
        run(expression)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["0", "1", "x", "Number.add", "List.map"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "constantValue",
                    "arrayValue",
                    "dictionaryValue",
                    "functionInvocationValue",
                    "functionDefinitionValue",
                    "argumentReference",
                    "valueReference",
                    "functionName",
                    "functionReference",
                    "arguments",
                    "argumentNames",
                    "body",
                    "values",
                    "left",
                    "right",
                    "list",
                    "baseAlgorithm",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=15,
)


@given(json_like, json_like)
def test_anything_is_evaluated_or_refused(first, second):
    with contextlib.suppress(InvalidError):
        run({"result": "0", "values": {"0": first, "1": second}})


@pytest.mark.parametrize(
    "values",
    [
        {"0": {"valueReference": "0"}},
        {"0": {"valueReference": "1"}, "1": {"arrayValue": {"values": [{"valueReference": "0"}]}}},
        {
            "0": {"functionInvocationValue": {"functionReference": "f"}},
            "f": {"functionDefinitionValue": {"argumentNames": [], "body": "0"}},
        },
    ],
)
def test_cycles_end(values):
    with pytest.raises(InvalidError):
        run({"result": "0", "values": values}, depth=60)


def test_deep_nesting_is_refused():
    value: Any = 0
    for _ in range(100):
        value = invoke("Number.add", left=value, right=1)
    assert evaluate(value, limits=ServiceLimits(depth=101)) == 100
    with pytest.raises(LimitError, match="too deeply nested"):
        evaluate(value, limits=ServiceLimits(depth=50))
    lists: Any = []
    for _ in range(100):
        lists = [lists]
    with pytest.raises(LimitError):
        evaluate(lists, limits=ServiceLimits(depth=50))


def test_chains_of_references_are_refused_when_too_deep():
    graph = Graph()
    value = graph.reference(1)
    for _ in range(100):
        value = graph.reference(invoke("Number.add", left=value, right=value))
    with pytest.raises(LimitError):
        evaluate(value, graph, limits=ServiceLimits(depth=50))


def test_shared_values_are_computed_once():
    """2 to the 60th calls would not end."""
    graph = Graph()
    value = graph.reference(1)
    for _ in range(60):
        value = graph.reference(invoke("Number.add", left=value, right=value))
    assert evaluate(value, graph) == 2**60


def test_shared_values_in_functions_are_computed_once_for_each_call():
    graph = Graph()

    def body(x):
        value = graph.reference(x)
        for _ in range(40):
            value = graph.reference(invoke("Number.add", left=value, right=value))
        return value

    assert evaluate(invoke("List.map", list=[1, 2, 3], baseAlgorithm=graph.function(body, "x")), graph) == [
        n * 2**40 for n in (1, 2, 3)
    ]


def test_free_names_of_inner_functions():
    """The inner function's value depends on the outer's argument, and is computed anew for each."""
    graph = Graph()

    def outer(x):
        inner = graph.function(lambda y: graph.reference(invoke("Number.add", left=x, right=y)), "y")
        return invoke("List.map", list=[10, 20], baseAlgorithm=inner)

    found = evaluate(invoke("List.map", list=[1, 2], baseAlgorithm=graph.function(outer, "x")), graph)
    assert found == [[11, 21], [12, 22]]


def test_functions_are_called_by_name():
    graph = Graph()
    graph.values["f"] = graph.function(lambda a, b: invoke("Number.subtract", left=a, right=b), "a", "b").content
    given = {"b": node(1), "a": node(10)}
    call_by_name = {"functionInvocationValue": {"functionReference": "f", "arguments": given}}
    assert run({"result": "r", "values": {**graph.values, "r": call_by_name}}) == 9
    given["c"] = node(1)
    with pytest.raises(InvalidError, match="'c'"):
        run({"result": "r", "values": {**graph.values, "r": call_by_name}})


def test_algorithms_that_functions_return_are_called_by_name():
    """As the client sends ``ee.Image.expression``."""
    graph = Graph()
    graph.values["f"] = invoke("Image.parseExpression", expression="a + 1", argName="DEFAULT", vars=["a"]).content
    given = {"a": node(invoke("Image.constant", value=1))}
    graph.values["r"] = {"functionInvocationValue": {"functionReference": "f", "arguments": given}}
    assert len(run({"result": "r", "values": graph.values}).bands) == 1


def test_calling_a_value_that_is_no_function_is_refused():
    call_it = {"functionInvocationValue": {"functionReference": "1"}}
    with pytest.raises(InvalidError, match="not a function"):
        run({"result": "0", "values": {"0": call_it, "1": {"constantValue": 5}}})


def test_unknown_functions_are_named():
    with pytest.raises(UnknownFunctionError, match=r"Unknown function: Number\.nothing"):
        call("Number.nothing")
    missing = min(load_signatures().keys() - load_functions().keys())
    with pytest.raises(UnknownFunctionError, match=f"does not have the function {missing}"):
        call(missing)


def test_arguments_are_checked():
    with pytest.raises(InvalidError, match=r"Number\.add: Unrecognized argument 'centre'"):
        call("Number.add", left=1, right=2, centre=3)
    with pytest.raises(InvalidError, match=r"Number\.add: Parameter 'right' is required and may not be null"):
        call("Number.add", left=1)
    with pytest.raises(TypeMismatchError, match=r"Number\.add, argument 'right': Invalid type"):
        call("Number.add", left=1, right="2")


def test_errors_name_the_innermost_function():
    graph = Graph()
    wrong = graph.function(lambda x: invoke("List.get", list=[0], index=x), "x")
    with pytest.raises(InvalidError, match=r"^List.get: List index must be"):
        evaluate(invoke("List.map", list=[1], baseAlgorithm=wrong), graph)
    mistyped = graph.function(lambda x: invoke("Number.add", left=x, right="a"), "x")
    with pytest.raises(TypeMismatchError, match=r"^Number.add, argument 'right'"):
        evaluate(invoke("List.map", list=[1], baseAlgorithm=mistyped), graph)


def test_defaults_are_those_of_the_signature():
    assert call("List.sequence", start=1, end=3) == [1, 2, 3]
    assert call("Number.format", number=5) == "5"


def test_computations_end_at_their_deadline():
    ticks = iter(range(10**9))
    context = Context(EmptyStore(), ServiceLimits(seconds=50), clock=lambda: float(next(ticks)))
    graph = Graph()
    body = graph.function(lambda x: invoke("Number.add", left=x, right=1), "x")
    loop = invoke("List.map", list=invoke("List.sequence", start=1, end=1000), baseAlgorithm=body)
    with pytest.raises(LimitError, match="Computation timed out"):
        Evaluator(graph.expression(loop), context).evaluate()
