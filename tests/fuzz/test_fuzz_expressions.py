"""Random expression graphs, sent to a real server: each is answered by a value or by an error of Earth Engine's own,
in time, and in the same way when it is sent again.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

import pytest
import requests

from eechips.client.http.connection_pool import KEEP_ALIVE_HEADER
from eechips_local.evaluation.signatures import Argument, load_signatures
from eechips_local.functions import load_functions
from local_tests.support.graphs import Ready, invoke
from local_tests.support.local_earth_engine import ServerProcess, start_server, stop_server
from tests.fuzz.budget import Budget

Node = Mapping[str, Any]

SECONDS = 5.0
"""Time of one computation on the server."""

PATIENCE = 60.0
"""Time after which a request without an answer is taken to hang, on a machine that is busy with other things."""

IDS = [
    "USGS/SRTMGL1_003", "USDA/NAIP/DOQQ", "MODIS/061/MOD11A2", "COPERNICUS/S2_SR_HARMONIZED", "RESOLVE/ECOREGIONS/2017",
    "nothing/here",
]  # fmt: skip
NAMES = [
    "constant", "B1", "b1", "elevation", "R", "a", "x", "system:index", "system:time_start", "mean", "array", ".geo",
    "EPSG:4326", "EPSG:32613", "day", "month", "meters", "pixels", "UTC", "yyyy-MM-dd", "%.2f", "int8", "double", "a+b",
    "b('a')", "[a-z]+", "(", "*", "", "é", "\x00", "2020-02-29", "nearest", "bilinear", "max", "true", "null",
]  # fmt: skip
NUMBERS = [
    0, 1, -1, 2, 3, 5, 10, 100, 0.5, -0.5, 1e-9, 1e3, 1e9, -1e9, 2**31, 2**53, 2**63 - 1, -(2**63), 1e18, 1e300, -1e300,
    180, -180, 90, -90, 30, 1000, 1577836800000,
]  # fmt: skip

_POINT = invoke("GeometryConstructors.Point", coordinates=[-105.2, 39.6])
_BOX = invoke("GeometryConstructors.BBox", west=-105.2, south=39.6, east=-105.198, north=39.602)
_FEATURE = invoke("Feature", geometry=_BOX, metadata={"a": 1, "x": "b", "array": [1, 2]})
_IMAGE = invoke("Image.constant", value=[1.5, -2])
_RANDOM = invoke("Image.random", seed=1)
_FILTER = invoke("Filter.lessThan", leftField="a", rightField="a")

READY: dict[str, Sequence[Ready]] = {
    "Image": [_IMAGE, _RANDOM, invoke("Image.pixelLonLat"), invoke("Image.load", id="USGS/SRTMGL1_003"),
              invoke("Image.toArray", image=_IMAGE, axis=0), invoke("Image.mask", image=_IMAGE, mask=_RANDOM)],
    "ImageCollection": [invoke("ImageCollection.fromImages", images=[_IMAGE, _RANDOM]),
                        invoke("Collection.limit", collection=invoke("ImageCollection.load", id="USDA/NAIP/DOQQ"),
                               limit=2)],
    "FeatureCollection": [invoke("Collection", features=[_FEATURE, invoke("Feature", geometry=_POINT, metadata={})]),
                          invoke("Collection", features=[])],
    "Element": [_FEATURE, _IMAGE], "Feature": [_FEATURE], "Geometry": [
        _BOX, _POINT, invoke("GeometryConstructors.LineString", coordinates=[[170, 60], [-170, 70]]),
        invoke("GeometryConstructors.Polygon", coordinates=[[[-20, 10], [20, 10], [20, 40], [-20, 10]]])],
    "Reducer": [invoke(f"Reducer.{name}") for name in ("mean", "median", "histogram", "toList", "mode", "kurtosis")],
    "Kernel": [invoke("Kernel.square", radius=1), invoke("Kernel.gaussian", radius=3)],
    "Projection": [invoke("Projection", crs="EPSG:32613"), invoke("Projection", crs="EPSG:4326")],
    "Array": [invoke("Array", values=[1, 2, 3]), invoke("Array", values=[[2.5, 1], [1, -3]])],
    "ConfusionMatrix": [invoke("ConfusionMatrix", array=[[3, 1], [0, 2]])],
    "Date": [invoke("Date", value=1582934400000)], "DateRange": [invoke("DateRange", start="2019-01-01", end=1e13)],
    "ErrorMargin": [invoke("ErrorMargin", value=1)], "Filter": [_FILTER],
    "Join": [invoke("Join.saveAll", matchesKey="m")],
    "PixelType": [invoke("PixelType", precision="int", minValue=0, maxValue=9)],
}  # fmt: skip
"""Values of each type that functions can work with."""

_INTERNAL = re.compile(
    r"internal error|Traceback|NoneType|numpy|ndarray|has no attribute|positional argument|index out of range|KeyError|"
    r"unsupported operand|not subscriptable|object is not|<function|0x[0-9a-f]{8}",
    re.IGNORECASE,
)
"""What only a program that has failed would say."""

_CUT_SHORT = ("Computation timed out.", "User memory limit exceeded.")
"""Errors that depend on how busy the machine is."""


def _by_type(names: Iterable[str]) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[load_signatures()[name].returns.split("<")[0]].append(name)
    return found


HERE = _by_type(sorted(load_functions()))
MISSING = _by_type(sorted(load_signatures().keys() - load_functions().keys()))
"""Names of the functions that return each type: those that the local Earth Engine has, and the others."""


class Drawn:
    """One random expression.

    Args:
        random: the source of all choices.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._values: dict[str, Node] = {}
        self._left = random.choice([3, 10, 30])

    def expression(self, name: str) -> dict[str, Any]:
        """Draw an expression whose result is a call of this function."""
        result = self._call(name, 0)
        return {"result": "0", "values": {**self._values, "0": result}}

    def _call(self, name: str, depth: int) -> Node:
        self._left -= 1
        chance = self._random.random
        arguments = {
            argument.name: self._argument(argument, depth)
            for argument in load_signatures()[name].arguments
            if not argument.optional or chance() < 0.4
        }
        if chance() < 0.01:
            arguments[self._random.choice([*arguments, "nothing"])] = {"constantValue": None}
        return {"functionInvocationValue": {"functionName": name, "arguments": arguments}}

    def _argument(self, argument: Argument, depth: int) -> Node:
        if self._random.random() < 0.05:
            return self._value(self._random.choice(["Object", "Array", "Image", "Geometry", "String"]), depth + 1)
        return self._value(argument.type, depth + 1)

    def _value(self, wanted: str, depth: int) -> Node:
        kind, _, inner = wanted.removesuffix(">").partition("<")
        if self._values and self._random.random() < 0.05:
            return {"valueReference": self._random.choice(list(self._values))}
        named = (MISSING if self._random.random() < 0.005 else HERE).get(kind)
        if named and self._left > 0 and depth < 8 and self._random.random() < 0.5:
            return self._shared(self._call(self._random.choice(named), depth))
        return self._leaf(kind, inner, depth)

    def _shared(self, node: Node) -> Node:
        if self._random.random() < 0.8:
            return node
        key = str(len(self._values) + 1)
        self._values[key] = node
        return {"valueReference": key}

    def _leaf(self, kind: str, inner: str, depth: int) -> Node:
        random = self._random
        if kind in READY:
            return random.choice(READY[kind]).content
        if kind == "List":
            length = random.choice([0, 1, 2, 2, 3, 4])
            return {"arrayValue": {"values": [self._value(inner or "Object", depth + 1) for _ in range(length)]}}
        if kind == "Dictionary":
            names = random.sample(NAMES, random.choice([0, 1, 2, 3]))
            return {"dictionaryValue": {"values": {n: self._value("Object", depth + 1) for n in names}}}
        if kind == "Algorithm":
            return self._function(depth)
        if kind in ("Number", "Integer", "Float", "Long"):
            number = random.choice([*NUMBERS, random.randint(-20, 20), random.uniform(-10, 10)])
            exact = isinstance(number, int) and float(number) != number
            return {"integerValue": str(number)} if exact else {"constantValue": number}
        if kind == "Boolean":
            return {"constantValue": random.random() < 0.5}
        if kind == "String":
            return {"constantValue": random.choice([*NAMES, *IDS])}
        if depth > 7 or random.random() < 0.3:
            return {"constantValue": random.choice([None, True, *NUMBERS[:9], *NAMES[:9], [], [1, 2], {}, {"a": 1}])}
        return self._value(random.choice([*READY, "Number", "String", "List", "Dictionary"]), depth + 1)

    def _function(self, depth: int) -> Node:
        names = ["x", "y"][: self._random.choice([1, 1, 2])]
        body = self._value(self._random.choice(["Number", "Image", "Object", "Feature"]), depth + 1)
        if self._random.random() < 0.6:
            body = {"argumentReference": self._random.choice(names)}
        key = f"body-{len(self._values)}"
        self._values[key] = body
        return {"functionDefinitionValue": {"argumentNames": names, "body": key}}


GRID = {
    "crsCode": "EPSG:32613",
    "affineTransform": {"scaleX": 10, "scaleY": -10, "translateX": 482_800, "translateY": 4_383_300},
    "dimensions": {"width": 7, "height": 5},
}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "Image": ("image:computePixels", {"fileFormat": "NPY", "grid": GRID}),
    "FeatureCollection": ("table:computeFeatures", {}),
    "ImageCollection": ("imageCollection:computeImages", {}),
}


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    limits = ("--rate", "none", "--minute", "none", "--concurrency", "none")
    found = start_server(*limits, "--workers", "2", "--seconds", f"{SECONDS:g}")
    yield found
    stop_server(found)


def ask(session: requests.Session, server: ServerProcess, method: str, body: dict[str, Any]) -> tuple[int, bytes]:
    """The status and body of an answer, which is one of Earth Engine's."""
    response = session.post(f"{server.url}/v1/projects/local/{method}", data=json.dumps(body), timeout=PATIENCE)
    if response.status_code == 200:
        if response.headers["content-type"] == "application/json":
            json.loads(response.content, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        return 200, response.content
    error = response.json()["error"]
    assert error.keys() - {"details"} == {"code", "message", "status"}
    assert error["code"] == response.status_code
    assert response.status_code in (400, 404), error
    assert error["message"].strip()
    assert not _INTERNAL.search(error["message"]), error
    return response.status_code, response.content


def is_final(status: int, content: bytes) -> bool:
    return status == 200 or not json.loads(content)["error"]["message"].startswith(_CUT_SHORT)


@pytest.mark.slow
def test_every_expression_is_answered_in_the_same_way_twice(server: ServerProcess, budget: Budget) -> None:
    session = requests.Session()
    session.headers[KEEP_ALIVE_HEADER] = "1"
    functions = [name for names in HERE.values() for name in names]
    for random in budget.draws():
        name = random.choice(functions)
        expression = Drawn(random).expression(name)
        kind = load_signatures()[name].returns.split("<")[0]
        methods = [("value:compute", {}), *([METHODS[kind]] if kind in METHODS else [])]
        for method, more in methods:
            body = {"expression": expression, **more}
            try:
                first = ask(session, server, method, body)
                second = ask(session, server, method, body)
            except (AssertionError, requests.RequestException, ValueError) as error:
                raise AssertionError(f"seed {budget.last}, {method}: {error}\n{json.dumps(body)}") from error
            if is_final(*first) and is_final(*second):
                assert first == second, f"seed {budget.last}, {method}\n{json.dumps(body)}"
    assert server.process.poll() is None
