"""Serialisation of client objects between a script and its workers."""

from __future__ import annotations

import concurrent.futures
import copyreg
import functools
import http.client
import io
import multiprocessing
import os
import queue
import subprocess
import sys
import threading
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from eechips.scripts.pooling.call_variables import variables
from eechips.scripts.serialization import describe, deserialize, is_of_process, serialize

SQUARE = [[[0, 0], [0, 1], [1, 1], [1, 0], [0, 0]]]

MADE: dict[str, Callable[[Any], Any]] = {
    "Array": lambda ee: ee.Array([[1, 2], [3, 4]]),
    "Blob": lambda ee: ee.Blob("gs://bucket/object"),
    "Classifier": lambda ee: ee.Classifier.smileRandomForest(10),
    "Clusterer": lambda ee: ee.Clusterer.wekaKMeans(3),
    "ComputedObject": lambda ee: ee.Image(1).get("name"),
    "ConfusionMatrix": lambda ee: ee.ConfusionMatrix(ee.Array([[1, 2], [3, 4]])),
    "Date": lambda ee: ee.Date("2020-01-01"),
    "DateRange": lambda ee: ee.DateRange("2020-01-01", "2020-02-01"),
    "Dictionary": lambda ee: ee.Dictionary({"a": 1, "b": ee.Image(2)}),
    "Dictionary computed": lambda ee: ee.Image(1).toDictionary(),
    "Element": lambda ee: ee.Element(ee.Image(1)),
    "ErrorMargin": lambda ee: ee.ErrorMargin(1, "meters"),
    "Feature of a dictionary": lambda ee: ee.Feature(
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": {"name": "x"}}
    ),
    "Feature of a geometry": lambda ee: ee.Feature(ee.Geometry.Point(1, 2), {"n": ee.Number(1)}),
    "FeatureCollection of a list": lambda ee: ee.FeatureCollection(
        [ee.Feature(ee.Geometry.Point(i, 2), {"i": i}) for i in range(3)]
    ),
    "FeatureCollection of an id": lambda ee: ee.FeatureCollection("TIGER/2018/States"),
    "Filter": lambda ee: ee.Filter.eq("a", 1),
    "Filter and": lambda ee: ee.Filter.And(ee.Filter.eq("a", 1), ee.Filter.lt("b", 2)),
    "Filter of a list": lambda ee: ee.Filter([ee.Filter.eq("a", 1), ee.Filter.lt("b", 2)]),
    "Geometry.Point": lambda ee: ee.Geometry.Point(1, 2),
    "Geometry.Point in a projection": lambda ee: ee.Geometry.Point([500_000, 0], "EPSG:32633"),
    "Geometry.MultiPoint": lambda ee: ee.Geometry.MultiPoint([[1, 2], [3, 4]]),
    "Geometry.LineString": lambda ee: ee.Geometry.LineString([[1, 2], [3, 4]]),
    "Geometry.MultiLineString": lambda ee: ee.Geometry.MultiLineString([[[1, 2], [3, 4]], [[0, 0], [1, 1]]]),
    "Geometry.LinearRing": lambda ee: ee.Geometry.LinearRing(SQUARE[0]),
    "Geometry.Polygon": lambda ee: ee.Geometry.Polygon(SQUARE, None, False),
    "Geometry.MultiPolygon": lambda ee: ee.Geometry.MultiPolygon([SQUARE]),
    "Geometry.Rectangle": lambda ee: ee.Geometry.Rectangle([0, 0, 1, 1], None, True, False),
    "Geometry.BBox": lambda ee: ee.Geometry.BBox(0, 0, 1, 1),
    "Geometry of collection": lambda ee: ee.Geometry(
        {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [1, 2]}]}
    ),
    "Geometry computed": lambda ee: ee.Geometry.Point(1, 2).buffer(10).bounds(),
    "Image": lambda ee: ee.Image("USGS/SRTMGL1_003"),
    "Image of constants": lambda ee: ee.Image([1, 2]).rename(["a", "b"]),
    "Image without anything": lambda ee: ee.Image(),
    "ImageCollection": lambda ee: ee.ImageCollection("LANDSAT/LC08/C02/T1_L2").filterDate("2020", "2021"),
    "ImageCollection of a list": lambda ee: ee.ImageCollection([ee.Image(1), ee.Image(2)]),
    "ImageCollection mapped": lambda ee: ee.ImageCollection([ee.Image(1)]).map(lambda image: image.add(1)),
    "Join": lambda ee: ee.Join.saveFirst("found"),
    "Kernel": lambda ee: ee.Kernel.fixed(2, 2, [[1, 2], [3, 4]]),
    "List": lambda ee: ee.List([1, ee.Image(2), ee.List([3])]),
    "List mapped": lambda ee: ee.List.sequence(1, 3).map(lambda n: ee.List([n]).map(lambda m: ee.Number(m).add(n))),
    "Model": lambda ee: ee.Model.fromVertexAi(endpoint="projects/p/locations/l/endpoints/e"),
    "Number": lambda ee: ee.Number(3),
    "Number computed": lambda ee: ee.Number(3).add(ee.Number(4)),
    "PixelType": lambda ee: ee.PixelType("int16", 0, 10),
    "Projection": lambda ee: ee.Projection("EPSG:4326", [1, 0, 0, 0, -1, 0]),
    "Reducer": lambda ee: ee.Reducer.mean().combine(ee.Reducer.stdDev(), None, True),
    "String": lambda ee: ee.String("word"),
    "String computed": lambda ee: ee.String("word").cat("s"),
    "a function of the client": lambda ee: ee.customfunction.CustomFunction.create(
        lambda image: image.add(1), "Image", ["Image"]
    ),
    "a class that the client generates": lambda ee: ee.SelectorSet(ee.Image(1)),
}


def arrived(value: Any) -> Any:
    return deserialize(serialize(value, "a value"))


def are_alike(one: Any, other: Any, ee: Any) -> bool:
    """Return whether two objects of the client, and the objects they refer to, have the same class and attributes."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (ee.ComputedObject, ee.Function)):
        return are_alike(vars(one), vars(other), ee)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(are_alike(one[key], other[key], ee) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(are_alike(*pair, ee) for pair in zip(one, other, strict=True))
    return bool(one == other)


def outcome(function: Callable[[], Any]) -> Any:
    """Return the result of a function or the message of its error; the client refuses some geometries."""
    try:
        return function()
    except Exception as error:  # noqa: BLE001 - whatever the client raises
        return str(error)


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_objects_round_trip(name: str, demo_ee: Any) -> None:
    left = MADE[name](demo_ee)
    there = arrived({"value": [left]})["value"][0]
    assert are_alike(there, left, demo_ee)
    if isinstance(left, demo_ee.ComputedObject):
        assert there.serialize() == left.serialize()


def test_every_class_of_the_client_is_among_those_tested(demo_ee: Any) -> None:
    tested = [made(demo_ee) for made in MADE.values()]
    for kind in (value for value in vars(demo_ee).values() if isinstance(value, type)):
        if issubclass(kind, demo_ee.ComputedObject):
            assert any(isinstance(value, kind) for value in tested), kind


@pytest.mark.parametrize("name", [name for name in MADE if name.startswith("Geometry") and "computed" not in name])
def test_attributes_of_geometries_are_preserved(name: str, demo_ee: Any) -> None:
    left = MADE[name](demo_ee)
    there = arrived(left)
    for ask in ("toGeoJSON", "toGeoJSONString", "getInfo"):
        assert outcome(getattr(there, ask)) == outcome(getattr(left, ask))
    assert there.coordinates().serialize() == left.coordinates().serialize()


def test_bound_methods_round_trip(demo_ee: Any) -> None:
    image = demo_ee.Image([1, 2])
    assert arrived(image.select)("constant").serialize() == image.select("constant").serialize()
    add = arrived(functools.partial(image.add, demo_ee.Image(3)))
    assert add().serialize() == image.add(3).serialize()
    assert arrived(demo_ee.Reducer.mean)().serialize() == demo_ee.Reducer.mean().serialize()
    assert arrived(demo_ee.ApiFunction.lookup("Image.add")) == demo_ee.ApiFunction.lookup("Image.add")


def test_an_expression_nested_as_deep_as_the_client_can_arrives(demo_ee: Any) -> None:
    image = demo_ee.Image(0)
    for number in range(250):
        image = image.add(number)
    assert arrived(image).serialize() == image.serialize()


def test_shared_parts_are_sent_once(demo_ee: Any) -> None:
    region = demo_ee.Geometry.Polygon([[[i / 1000, i % 7] for i in range(2000)]])
    once = len(serialize(region, "a region"))
    image = demo_ee.Image(0)
    for _ in range(20):
        image = image.clip(region).paint(demo_ee.FeatureCollection(region), 1)
    assert len(serialize(image, "an image")) < 2 * once


def test_a_variable_that_is_set_after_the_calls_is_left_out() -> None:
    known = 1

    def function() -> tuple[int, int]:
        return known, later

    found = variables(function)
    later = 2
    assert {name: value for name, value in found.items() if name in ("known", "later")} == {"known": 1}
    assert function() == (1, 2)


def test_a_traceback_names_the_file_of_a_function() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile("def get_result():\n    return [each['x'] for each in [{}]]\n", "/scripts/mine.py", "exec"), namespace)
    function = namespace["get_result"]
    there = deserialize(serialize(function, "a function"))
    with pytest.raises(KeyError) as raised:
        there()
    names = {frame.filename for frame in traceback.extract_tb(raised.value.__traceback__)}
    assert names == {__file__, "/scripts/mine.py"}
    other = types.FunctionType(function.__code__.replace(co_filename="/elsewhere.py"), namespace)
    assert describe(function) == describe(other)  # the id of a unit does not depend on the folder of the script


def test_an_object_of_a_class_of_the_script_is_described_alike_in_each_process() -> None:
    """cloudpickle gives a class that it pickles by value a random id."""
    one, same, other = (
        types.new_class("Tile", exec_body=lambda body: body.update({"__module__": "__main__"})) for _ in range(3)
    )
    made = []
    for kind, n in ((one, 1), (same, 1), (other, 2)):
        tile = kind()
        tile.n, tile.kind = n, kind
        made.append(describe([tile]))
    assert made[0] == made[1] != made[2]


@pytest.mark.slow
def test_a_set_is_described_alike_in_each_process() -> None:
    """The order of texts in a set depends on the seed of their hashes."""
    code = (
        "import types\nfrom eechips.scripts.serialization import describe\n"
        "names = {f'name {n}' for n in range(20)}\n"
        "test = lambda n: n in {'a', 'b', 'c', 'd'}\n"
        "print(describe(types.SimpleNamespace(names=names, nested={frozenset(names)}, test=test)))"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(made) == 1
    assert describe(types.SimpleNamespace(a={"a"})) != describe(types.SimpleNamespace(a={"b"}))


def test_calls_that_need_what_a_process_has() -> None:
    event, lock, values = threading.Event(), threading.Lock(), queue.Queue[int]()

    class Writer:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def write(self) -> None: ...

    class Waiting(threading.Thread): ...

    def save(*_: Any) -> None:
        with lock:
            return

    needing = (
        event.wait, functools.partial(event.wait, 8), lambda: event.wait(), values.get, functools.partial(save, values),
        lock.acquire, Waiting().join, concurrent.futures.Future[int]().result, multiprocessing.Event().wait,
        functools.partial(save, multiprocessing.Value("i")), io.StringIO("x").read,
        http.client.HTTPConnection("127.0.0.1").connect,
    )  # fmt: skip
    others = (
        save, functools.partial(save, 1), functools.partial(save, lock), Writer().write, Path("x").write_text,
        requests.Session().get, requests.get, subprocess.run,
    )  # fmt: skip
    assert [function for function in needing if not is_of_process(function)] == []
    assert [function for function in others if is_of_process(function)] == []


class OwnError(Exception):
    """An exception that pickle cannot make again by its message."""

    def __init__(self, status: int, place: dict[str, int]) -> None:
        super().__init__(f"{place}: {status}")
        self.status, self.place = status, place


def test_an_exception_with_a_constructor_of_its_own_keeps_class_and_attributes() -> None:
    error = deserialize(serialize(OwnError(404, {"plot": 7}), "an error"))
    assert (type(error), str(error), vars(error)) == (
        OwnError,
        "{'plot': 7}: 404",
        {"status": 404, "place": {"plot": 7}},
    )


OWN_OF_PYTHON = [OSError(2, "no such file", "a"), UnicodeDecodeError("utf-8", b"a", 0, 1, "x"), KeyError("x")]


@pytest.mark.parametrize("error", OWN_OF_PYTHON, ids=lambda error: type(error).__name__)
def test_pythons_own_exceptions_keep_their_message_though_dask_has_others_pickle_them(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    tblib = pytest.importorskip("tblib.pickling_support")
    for reducer in (None, tblib.pickle_exception):
        monkeypatch.delitem(copyreg.dispatch_table, type(error), raising=False)
        if reducer is not None:
            monkeypatch.setitem(copyreg.dispatch_table, type(error), reducer)
        copy = deserialize(serialize(error, "an error"))
        assert (type(copy), str(copy)) == (type(error), str(error))
