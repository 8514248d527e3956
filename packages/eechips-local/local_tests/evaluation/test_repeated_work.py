"""Work that an expression seems to ask for many times, and that is done once or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.evaluation.value_requests import compute_features
from eechips_local.protocol.messages import ServiceRequest
from local_tests.support.call_counts import count_calls
from local_tests.support.demo_store import STORE
from local_tests.support.graphs import EmptyStore, Graph, Ready, evaluate, invoke

NAN = invoke("Number.sqrt", input=-1)
SENTINEL = "COPERNICUS/S2_SR_HARMONIZED/20200516T174910_20200516T175710_T13TDE"


def test_a_description_computes_the_properties_that_are_asked_for() -> None:
    described = invoke("Describe", input=invoke("Image.load", id=SENTINEL))
    with count_calls() as counts:
        bands = evaluate(invoke("Dictionary.get", dictionary=described, key="bands"), store=STORE)
    assert [band["id"] for band in bands][:2] == ["B1", "B2"]
    assert not counts["cover_percent"]


def rows(values: list[Any]) -> Ready:
    features = [invoke("Feature", geometry=None, metadata={"t": v, "n": n}) for n, v in enumerate(values)]
    return invoke("Collection", features=features)


def test_a_later_page_maps_its_own_elements_only() -> None:
    graph = Graph()
    root = graph.function(lambda row: invoke("Element.set", object=row, key="n", value=0), "row")
    table = invoke("Collection.map", collection=rows(list(range(100))), baseAlgorithm=root)
    body = {"expression": graph.expression(table), "pageSize": 10, "pageToken": "80"}
    with count_calls() as counts:
        response = compute_features(ServiceRequest(body, "", {}), Context(EmptyStore(), ServiceLimits()))
    page = json.loads(response.content)
    assert [row["properties"] for row in page["features"]] == [{"t": t, "n": 0} for t in range(80, 90)]
    assert page["nextPageToken"] == "90"
    assert counts["apply"] == 12  # the first, the page, and one that shows that there are more


def near(table: Ready, time: Any) -> Ready:
    """The rows within 5 of a time, as ``eechips points`` asks for them."""
    for name, edge in (("Filter.lt", invoke("Number.subtract", left=time, right=5)),
                       ("Filter.gt", invoke("Number.add", left=time, right=5))):  # fmt: skip
        condition = invoke(name, leftField="t", rightValue=edge)
        table = invoke("Collection.filter", collection=table, filter=invoke("Filter.not", filter=condition))
    return table


def rows_near(graph: Graph, values: list[Any], times: list[float]) -> Any:
    table = graph.reference(rows(values))
    own = graph.function(
        lambda time: invoke("AggregateFeatureCollection.array", collection=near(table, time), property="n"), "time"
    )
    return evaluate(invoke("List.map", list=times, baseAlgorithm=own), graph)


@pytest.mark.slow
def test_ranges_of_a_table_do_not_try_all_its_rows_for_each_element() -> None:
    times = [float(t) for t in range(0, 2000, 40)]
    with count_calls() as counts:
        found = rows_near(Graph(), list(range(2000)), times)
    assert found == [[t for t in range(2000) if abs(t - time) <= 5] for time in times]
    assert counts["pairs"] < 2 * 2000 + len(times) * 30


@pytest.mark.parametrize("values", [[3, 1, 2, 2.5, -7, 1e300], ["a", 4, True, None, 12], [NAN, 2, NAN, 90], []])
def test_ranges_find_the_same_rows_however_often_a_table_is_filtered(values: list[Any]) -> None:
    times = [2.0, 2.0, -3.0, 1e300, 9.0]
    assert rows_near(Graph(), values, times) == [rows_near(Graph(), values, [time])[0] for time in times]


def test_only_places_near_an_edge_are_measured() -> None:
    corners = [[[0.0, 40.0], [1.0, 40.0], [1.0, 41.0], [0.0, 41.0]]]
    square = invoke("GeometryConstructors.Polygon", coordinates=corners)
    east = {"inside": 0.5, "edge": 1.0 + 10_000 / 85_000, "outside": 1.2}  # a degree has 85 km there
    points = [
        invoke("Feature", geometry=invoke("GeometryConstructors.Point", coordinates=[x, 40.5]), metadata={"n": n})
        for n, x in east.items()
    ]
    condition = invoke("Filter.withinDistance", distance=10_000, leftField=".geo", rightValue=square, maxError=1000)
    near = invoke("Collection.filter", collection=invoke("Collection", features=points * 20), filter=condition)
    with count_calls() as counts:
        found = evaluate(invoke("AggregateFeatureCollection.array", collection=near, property="n"))
    assert set(found) - {"edge"} == {"inside"}
    assert counts["nearest_points"] == 20
