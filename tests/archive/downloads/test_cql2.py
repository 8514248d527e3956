"""Conditions in CQL2, evaluated by an API or locally."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from eechips.archive.downloads.criteria import Search, cql2, cql2_text, meets
from eechips.archive.downloads.document_reader import DocumentReader
from eechips.archive.downloads.host_sessions import HostSessions
from eechips.archive.downloads.search import items
from eechips.archive.downloads.signers import Secrets
from eechips.archive.downloads.token_signers import Auth, make_signer
from eechips.planning.imagery.image_filters import parse_condition
from local_tests.support.function_server import Answer, serve_function


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("eo:cloud_cover < 20", {"op": "<", "args": [{"property": "eo:cloud_cover"}, 20]}),
        ("platform != sentinel-2a", {"op": "<>", "args": [{"property": "platform"}, "sentinel-2a"]}),
        ("grid:code = '13TDE'", {"op": "=", "args": [{"property": "grid:code"}, "13TDE"]}),
        ("proj:epsg = '32613'", {"op": "=", "args": [{"property": "proj:epsg"}, "32613"]}),
        ("flag != TRUE", {"op": "<>", "args": [{"property": "flag"}, True]}),
        (
            "landsat:wrs_path = 033",
            {
                "op": "or",
                "args": [
                    {"op": "=", "args": [{"property": "landsat:wrs_path"}, 33]},
                    {"op": "=", "args": [{"property": "landsat:wrs_path"}, "033"]},
                ],
            },
        ),
    ],
)
def test_conditions_become_cql2(text: str, wanted: dict[str, Any]) -> None:
    one = parse_condition(text)
    assert cql2([one]) == wanted
    assert cql2([one, one]) == {"op": "and", "args": [wanted, wanted]}
    assert cql2([]) is None


NAMES = ["eo:cloud_cover", "gsd", "platform", "landsat:wrs_path", "view.off-nadir", "flag", "id"]


VALUES = st.sampled_from([0, 1, 10, 33, 20.5, -3, True, False, "033", "33", "sentinel-2a", "O'Brien", "", "true", None])


WORDS = st.sampled_from(
    ["0", "1", "10", "033", "33", "20.5", "-3", "1e1", "true", "FALSE", "sentinel-2a", "'033'", "'true'", '"O\'Brien"']
)


@st.composite
def conditions_as_typed(draw: st.DrawFn) -> str:
    name, sign = draw(st.sampled_from(NAMES)), draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "in"]))
    if sign == "in":
        return f"{name} in ({', '.join(draw(st.lists(WORDS, min_size=1, max_size=3)))})"
    return f"{name} {sign} {draw(WORDS)}"


@given(
    texts=st.lists(conditions_as_typed(), min_size=1, max_size=3),
    properties=st.dictionaries(st.sampled_from(NAMES[:-1]), VALUES),
)
def test_conditions_agree_with_cql2(texts: list[str], properties: dict[str, Any]) -> None:
    """The oracle is the Rust library of that name: what an API is asked, and what is looked at here, are the same.

    It takes names with a dot for paths, even in quotes, and finds nothing: they are told to it with another sign.
    """
    oracle = pytest.importorskip("cql2")
    dotted, plain = "view.off-nadir", "view_off-nadir"
    conditions = [parse_condition(text) for text in texts]
    item = {"type": "Feature", "id": "33", "geometry": None, "properties": properties}
    renamed = {**item, "properties": {plain if name == dotted else name: value for name, value in properties.items()}}
    asked = json.loads(json.dumps(cql2(conditions)).replace(dotted, plain))
    text = str(cql2_text(conditions)).replace(dotted, plain)
    for expression in (oracle.Expr(asked), oracle.parse_text(text)):
        try:
            wanted = expression.matches(renamed)
        except Exception:  # noqa: BLE001 - "could not reduce expression to boolean" has no class of its own
            wanted = None
        if wanted is not None:
            assert meets(item, conditions) is wanted
        elif all(condition.sign != "!=" for condition in conditions):
            assert not meets(item, conditions)  # null, or a number beside a text: not true


@given(st.floats(-1e6, 1e6), st.integers(-1000, 1000), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]))
def test_conditions_are_evaluated_locally(found: float, bound: int, sign: str) -> None:
    condition = parse_condition(f"x {sign} {bound}")
    python = {"=": "==", "!=": "!="}.get(sign, sign)
    assert meets({"properties": {"x": found}}, [condition]) == eval(f"{found!r} {python} {bound!r}")  # the oracle
    assert not meets({"properties": {}}, [condition])


def test_conditions_on_strings_are_evaluated() -> None:
    item = {"properties": {"platform": "landsat-8", "path": "033", "flags": [1]}}
    assert meets(item, [parse_condition("platform in (landsat-8, landsat-9)"), parse_condition("path = 033")])
    assert not meets(item, [parse_condition("platform > m")])
    assert not meets(item, [parse_condition("flags < 3")])


def test_conditions_are_sent_to_an_api_with_cql2(tmp_path: Path) -> None:
    """It is asked for the items of a second page as well, and what it does not choose by is looked at here."""
    bodies: list[dict[str, Any]] = []

    def feature(number: int) -> dict[str, Any]:
        properties = {"datetime": "2020-06-01T00:00:00Z", "eo:cloud_cover": 10 * number}
        place = {"type": "Point", "coordinates": [number, 0]}
        found = {"type": "Feature", "stac_version": "1.0.0", "id": f"i{number}", "collection": "c", "links": []}
        return {**found, "geometry": place, "properties": properties, "assets": {"a": {"href": "a.tif"}}}

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if not path.startswith("/search"):
            core = "https://api.stacspec.org/v1.0.0"
            classes = [f"{core}/core", f"{core}/item-search", f"{core}/item-search#filter"]
            links = [{"rel": "search", "href": f"{url}/search", "type": "application/geo+json", "method": "POST"}]
            landing = {"type": "Catalog", "stac_version": "1.0.0", "id": "top", "description": "", "links": links}
            return 200, {}, json.dumps({**landing, "conformsTo": classes}).encode()
        bodies.append(json.loads(body))
        page = bodies[-1].get("page", 1)
        more = {"rel": "next", "href": f"{url}/search", "method": "POST", "merge": True, "body": {"page": 2}}
        features = [feature(number) for number in ((0, 1) if page == 1 else (1, 2))]
        found = {"type": "FeatureCollection", "features": features, "links": [more] if page == 1 else []}
        return 200, {"Content-Type": "application/geo+json"}, json.dumps(found).encode()

    with serve_function(answer) as url, HostSessions(1, 5.0, 5.0) as hosts:
        conditions = (parse_condition("eo:cloud_cover < 20"), parse_condition("eo:cloud_cover >= 0"))
        search = Search(
            stac=url,
            collections=("c",),
            region=shapely.box(-1, -1, 5, 1),
            start=dt.datetime(2020, 6, 1, tzinfo=dt.timezone.utc),
            end=dt.datetime(2020, 7, 1, tzinfo=dt.timezone.utc),
            conditions=conditions,
        )
        found = list(items(search, DocumentReader(hosts, make_signer(Auth(), Secrets({}), hosts))))
    assert [item["id"] for item in found] == ["i0", "i1"]
    first, second = bodies
    assert first["filter"] == cql2(conditions)
    assert first["filter-lang"] == "cql2-json"
    assert first["collections"] == ["c"]
    assert first["datetime"] == "2020-06-01T00:00:00Z/2020-07-01T00:00:00Z"
    assert shapely.equals(shapely.geometry.shape(first["intersects"]), shapely.box(-1, -1, 5, 1))
    assert second["page"] == 2
