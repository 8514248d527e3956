"""Responses to other requests, or with rows twice, as a faulty proxy or cache sends them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eechips
from eechips.errors import ValidationError
from local_tests.support.local_earth_engine import Server
from local_tests.support.parameters import slow_except
from local_tests.support.stack_store import STACK, TABLE
from tests.support.altering_front import altering_front
from tests.support.framing_front import Answer

AlterTable = Callable[[dict[str, Any]], dict[str, Any]]

PLACES = "name,lon,lat\none,-104.995,39.7425\ntwo,-104.9945,39.742\n"
REGIONS = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {"name": name},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[x, 39.74], [x + 0.002, 39.74], [x + 0.002, 39.742], [x, 39.742], [x, 39.74]]],
            },
        }
        for name, x in (("one", -104.999), ("two", -104.995))
    ],
}


def fetch(server: Server, tmp_path: Path, alter: AlterTable, **options: Any) -> eechips.Run:
    """Fetch a series through a front that alters tables of units, not of the plan, whose features have an ``id``."""

    def alter_table(path: str, _: bytes, answer: Answer) -> Answer:
        if "computeFeatures" not in path:
            return answer
        table = json.loads(answer.body)
        is_planned = any("crs" in feature["properties"] for feature in table["features"])
        return answer if is_planned else Answer(200, answer.headers, json.dumps(alter(table)).encode())

    regions = tmp_path / "regions.geojson"
    regions.write_text(json.dumps(REGIONS))
    places = tmp_path / "places.csv"
    places.write_text(PLACES)
    shared: dict[str, Any] = {"dataset": STACK, "bands": ["red"], "quiet": True, "executor": "threads", "retries": 0}
    with altering_front(server.url, alter_table) as url:
        shared |= {"endpoint": url, "rate": None, "out": tmp_path / "out"}
        if options.pop("of_points", False):
            return eechips.points(points=str(places), each_image=True, **shared, **options)
        return eechips.timeseries(regions=str(regions), columns="id=name", **shared, **options)


def read_errors(run: eechips.Run) -> list[str]:
    return [str(error) for error in run.units["error"] if error is not None and not pd.isna(error)]


@pytest.mark.slow
def test_a_series_with_the_rows_of_another_region_is_an_error(stack_server: Server, tmp_path: Path) -> None:
    tables: list[dict[str, Any]] = []

    def send_rows_of_first(table: dict[str, Any]) -> dict[str, Any]:
        tables.append(table)
        (mark,) = {feature["properties"]["eechips:mark"] for feature in table["features"]}
        rows = [{**row, "properties": {**row["properties"], "eechips:mark": mark}} for row in tables[0]["features"]]
        return {**table, "features": rows}

    run = fetch(stack_server, tmp_path, send_rows_of_first)
    assert sorted(run.units["state"]) == ["done", "failed_transient"]
    (error,) = read_errors(run)
    assert error.startswith("the response has rows of region ")
    (file,) = run.units["file"].dropna()
    (region,) = run.units.loc[run.units["state"] == "done", "unit"]
    assert set(pd.read_csv(run.path / file)["name"]) == {region["region"]}


@pytest.mark.parametrize("is_empty", slow_except([False, True], False))
@pytest.mark.parametrize("options", slow_except([{}, {"output": "one"}, {"of_points": True}], {}))
def test_the_table_of_another_request_is_an_error(
    stack_server: Server, tmp_path: Path, options: dict[str, Any], is_empty: bool
) -> None:
    """Rows of a group of regions, or of points, have numbers that other requests have, too."""

    def send_other(table: dict[str, Any]) -> dict[str, Any]:
        for feature in table["features"]:
            feature["properties"]["eechips:mark"] = "0123456789abcdef"
        return {**table, "features": []} if is_empty else table

    run = fetch(stack_server, tmp_path, send_other, **options)
    assert set(run.units["state"]) == {"failed_transient"}
    (error,) = set(read_errors(run))
    assert error.startswith("an empty table came back" if is_empty else "the response to another request came back")


@pytest.mark.parametrize("options", slow_except([{}, {"output": "one"}, {"of_points": True}], {}))
def test_features_may_have_no_id(stack_server: Server, tmp_path: Path, options: dict[str, Any]) -> None:
    """https://developers.google.com/earth-engine/reference/rest/v1/Feature has none."""
    fetched: list[int] = []

    def without_ids(table: dict[str, Any]) -> dict[str, Any]:
        fetched.append(len(table["features"]))
        return {**table, "features": [{k: v for k, v in row.items() if k != "id"} for row in table["features"]]}

    run = fetch(stack_server, tmp_path, without_ids, **options)
    assert set(run.units["state"]) == {"done"}, read_errors(run)
    assert max(fetched) == 4


def repeat_first(table: dict[str, Any]) -> dict[str, Any]:
    return {**table, "features": [table["features"][0], *table["features"][:-1]]}


PERIODS = {"start": "2020-01-01", "end": "2020-04-01", "every": "1 month"}


def lose_last(table: dict[str, Any]) -> dict[str, Any]:
    return {**table, "features": table["features"][:-1]}


def reverse(table: dict[str, Any]) -> dict[str, Any]:
    return {**table, "features": table["features"][::-1]}


def lose_value(table: dict[str, Any]) -> dict[str, Any]:
    for row in (feature["properties"] for feature in table["features"]):
        row.pop("red", None)
        row |= {"cells": [[cell[0], None, *cell[2:]] for cell in row["cells"]]} if "cells" in row else {}
    return table


@pytest.mark.parametrize(
    ("alter", "options", "message"),
    [
        (lose_last, {}, "3 rows of a table of 4 came back: a cache or proxy"),
        (lose_value, {}, "the response has no red of pixels that have data"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                (reverse, {}, "the rows of the response are not in the order of their dates"),
                (lose_value, {"output": "one"}, "the response has no red of pixels that have data"),
                (lose_last, {"output": "one"}, "3 rows of a table of 4 came back: a cache or proxy"),
                (lose_last, {"of_points": True}, "3 rows of a table of 4 came back: a cache or proxy"),
                (lose_last, PERIODS, "2 rows of a table of 3 came back: a cache or proxy"),
                (reverse, {"output": "one"}, "the rows of the response are not in the order of their dates"),
            )
        ),
    ],
)
def test_rows_that_are_lost_or_in_another_order_are_an_error(
    stack_server: Server, tmp_path: Path, alter: AlterTable, options: dict[str, Any], message: str
) -> None:
    """In valid JSON, with the mark of the request."""
    run = fetch(stack_server, tmp_path, alter, **options)
    assert {error[: len(message)] for error in read_errors(run)} == {message}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "the response has a row twice: 'image_0'"),
        ({"output": "one"}, "the response has a row twice: ('image_0', 0)"),
        ({"of_points": True}, "the response has a place twice for one image"),
    ],
)
def test_rows_twice_in_one_response_are_an_error(
    stack_server: Server, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    run = fetch(stack_server, tmp_path, repeat_first, **options)
    assert set(read_errors(run)) == {message}


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"output": "one"}, {"of_points": True}])
def test_rows_of_places_that_were_not_requested_are_an_error(
    stack_server: Server, tmp_path: Path, options: dict[str, Any]
) -> None:
    def renumber(table: dict[str, Any]) -> dict[str, Any]:
        name = "values" if "of_points" in options else "cells"
        for feature in table["features"]:
            for row in feature["properties"][name]:
                row[0] += 7
        return table

    run = fetch(stack_server, tmp_path, renumber, **options)
    assert {" ".join(error.split()[:4]) for error in read_errors(run)} == {
        "the response has other" if "of_points" in options else "the response has rows"
    }


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"output": "one"}, {"of_points": True}])
@pytest.mark.parametrize("value", ["text", 7, None])
def test_values_of_another_form_are_no_bug(
    stack_server: Server, tmp_path: Path, options: dict[str, Any], value: Any
) -> None:
    """As from a front that makes texts of all values: to report a bug was the advice."""

    def spoil(table: dict[str, Any]) -> dict[str, Any]:
        for feature in table["features"]:
            feature["properties"]["values" if "of_points" in options else "cells"] = [value]
        return table

    run = fetch(stack_server, tmp_path, spoil, **options)
    assert {error.partition(":")[0] for error in read_errors(run)} == {
        "the response has other values than were asked for"
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"), [("name", {}), ("values", {"of_points": True}), ("image", {"of_points": True})]
)
def test_rows_without_a_property_are_an_error(
    stack_server: Server, tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    """A table without the places of an image, or with empty ids, was complete."""

    def lose(table: dict[str, Any]) -> dict[str, Any]:
        table["features"][1]["properties"].pop(name, None)
        return table

    assert set(fetch(stack_server, tmp_path, lose, **options).units["state"]) == {"failed_transient"}


@pytest.mark.slow
def test_an_answer_to_a_plan_without_a_property_is_not_kept_for_the_next_command(
    stack_server: Server, tmp_path: Path
) -> None:
    regions, out, is_faulty = tmp_path / "regions.geojson", tmp_path / "out", True
    regions.write_text(json.dumps(REGIONS))
    out.mkdir()  # a folder that the run has made itself is removed

    def lose_origin(path: str, _: bytes, answer: Answer) -> Answer:
        if not (is_faulty and "computeFeatures" in path):
            return answer
        return Answer(200, answer.headers, answer.body.replace(b'"origin"', b'"other"'))

    with altering_front(stack_server.url, lose_origin) as url:

        def run() -> eechips.Run:
            return eechips.images(
                dataset=STACK, bands=["red"], regions=str(regions), columns="id=name", end="2020-02-01", quiet=True,
                start="2020-01-01", endpoint=url, rate=None, retries=0, executor="threads", out=out,
            )  # fmt: skip

        with pytest.raises(ValidationError, match="other values than were asked for: KeyError: 'origin'"):
            run()
        is_faulty = False
        assert len(run().units) == 2


@pytest.mark.slow
def test_a_value_of_a_plan_that_belongs_to_another_request_is_an_error(stack_server: Server, tmp_path: Path) -> None:
    """As of a cache that takes requests with the same URL for one."""
    (tmp_path / "places.csv").write_text(PLACES)
    kept: list[Answer] = []

    def send_first(path: str, _: bytes, answer: Answer) -> Answer:
        if "value:compute" not in path:
            return answer
        kept.append(answer)
        return kept[0]

    options: dict[str, Any] = {"points": str(tmp_path / "places.csv"), "bands": ["red"], "size": 64, "quiet": True}
    with altering_front(stack_server.url, send_first) as url:
        service: dict[str, Any] = {"endpoint": url, "rate": None, "retries": 0, "executor": "threads"}
        with pytest.raises(ValidationError, match="the response to another request came back"):
            eechips.sample(dataset=STACK, out=tmp_path / "out", **options, **service)
    run = eechips.sample(  # what came back is not kept for it
        dataset=STACK, out=tmp_path / "out", **options, **{**service, "endpoint": stack_server.url}
    )
    assert set(run.units["state"]) == {"done"}


@pytest.mark.slow
def test_features_of_a_plan_that_belong_to_another_request_are_an_error(stack_server: Server, tmp_path: Path) -> None:
    (tmp_path / "regions.geojson").write_text(json.dumps(REGIONS))
    kept: list[Answer] = []

    def send_first(path: str, _: bytes, answer: Answer) -> Answer:
        if "computeFeatures" not in path:
            return answer
        kept.append(answer)
        return kept[0]

    def plan(url: str, end: str) -> int:
        run = eechips.images(
            dataset=STACK, bands=["red"], regions=str(tmp_path / "regions.geojson"), columns="id=name", end=end,
            start="2020-01-01", endpoint=url, rate=None, retries=0, executor="threads", quiet=True, out=tmp_path / end,
        )  # fmt: skip
        return len(run.units)

    with altering_front(stack_server.url, send_first) as url:
        assert plan(url, "2020-02-01") == 2
        with pytest.raises(ValidationError, match="the response to another request came back"):
            plan(url, "2020-04-01")
    assert len(kept) == 2
    assert plan(stack_server.url, "2020-04-01") == 6


def test_a_value_in_place_of_a_collection_that_a_plan_reads_is_an_error(stack_server: Server, tmp_path: Path) -> None:
    """A collection is requested without a mark."""
    kept: list[Answer] = []

    def send_first(path: str, body: bytes, answer: Answer) -> Answer:
        if "value:compute" not in path or b"eechips:mark" in body:
            return answer
        kept.append(answer)
        return Answer(200, answer.headers, b'{"result": [10]}')

    with (
        altering_front(stack_server.url, send_first) as url,
        pytest.raises(ValidationError, match="the response to another request came back"),
    ):
        eechips.features(
            TABLE, out=tmp_path / "out", endpoint=url, rate=None, retries=0, executor="threads", quiet=True
        )
    assert b"FeatureCollection" in kept[0].body


@pytest.mark.parametrize(
    ("file_format", "method"),
    [
        ("npy", "pixels"),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (("tif", "pixels"), ("tif", "url"), ("npy", "url"))),
    ],
)
def test_the_pixels_of_another_image_of_the_same_place_are_an_error(
    stack_server: Server, tmp_path: Path, file_format: str, method: str
) -> None:
    """As of a cache that takes requests with the same URL, or connections that were closed in between, for one."""
    (tmp_path / "regions.geojson").write_text(json.dumps({**REGIONS, "features": REGIONS["features"][:1]}))
    kept: list[Answer] = []

    def send_first(path: str, _: bytes, answer: Answer) -> Answer:
        if not path.endswith(("image:computePixels", ":getPixels")) and ":getPixels?" not in path:
            return answer
        kept.append(answer)
        if method == "url" and len(kept) == 2:  # the first name of the second chip has expired
            return Answer(404, {}, b'{"error": {"code": 404, "message": "Not found", "status": "NOT_FOUND"}}')
        return kept[0]

    with altering_front(stack_server.url, send_first) as url:
        run = eechips.images(
            dataset=STACK, bands=["red"], regions=str(tmp_path / "regions.geojson"), columns="id=name", method=method,
            start="2020-01-01", end="2020-03-01", format=file_format, endpoint=url, rate=None, retries=0,
            executor="threads", share_requests=False, quiet=True, out=tmp_path / "out",
        )  # fmt: skip
    assert sorted(run.units["state"]) == ["done", "failed_transient"]
    (error,) = read_errors(run)
    assert error.startswith("the pixels of another request came back: a cache or proxy")
    assert len(kept) == (6 if method == "url" else 2)  # by URL, another one is created
    assert kept[0].body != kept[-1].body
