"""Examples of developers.google.com/earth-engine/apidocs with the outputs printed there, through the real client."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

Example = Callable[[Any], Any]

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def _sampled(ee: Any, image: Any) -> Any:
    """The array at a place, as the examples of array images show it."""
    return image.sample(ee.Geometry.Point([-121, 42]), 500).first().get("array")


def _grouped_names(ee: Any, band: Any) -> Any:
    """Names of the classes of a band, looked up by the groups of areas, as a tutorial does for a chart."""
    names = ee.Dictionary.fromLists(ee.List([6, 7]).map(lambda number: ee.Number(number).format()), ["lost", "gained"])
    region = ee.Geometry.Rectangle([7, 46, 7.01, 46.01])
    areas = ee.Image.pixelArea().addBands(band).reduceRegion(ee.Reducer.sum().group(1, "class"), region, 100)
    return ee.List(areas.get("groups")).map(lambda area: names.get(ee.Dictionary(area).get("class")))


def _constant(precision: str, value: float) -> dict[str, Any]:
    return {"constant": {"type": "PixelType", "precision": precision, "min": value, "max": value}}


EXAMPLES: dict[str, list[tuple[Example, Any]]] = {
    "ee-string-split": [
        (lambda ee: ee.String("aBAbcD").split("Ab"), ["aB", "cD"]),
        (lambda ee: ee.String("aBAbcD").split("ab", "i"), ["", "", "cD"]),
        (lambda ee: ee.String("aBAbcD").split("[bc]", "i"), ["a", "A", "", "D"]),
        (lambda ee: ee.String("aBAbcD").split("(BA|c)"), ["a", "b", "D"]),
        (lambda ee: ee.String("a,b,cdee f,g").split(""), list("a,b,cdee f,g")),
        (lambda ee: ee.String("a,b,cdee f,g").split(" "), ["a,b,cdee", "f,g"]),
        (lambda ee: ee.String("a,b,cdee f,g").split("[[:space:]]"), ["a,b,cdee", "f,g"]),
        (lambda ee: ee.String("a,b,cdee f,g").split(","), ["a", "b", "cdee f", "g"]),
        (lambda ee: ee.String("a,b,cdee f,g").split("ee"), ["a,b,cd", " f,g"]),
        (lambda ee: ee.String("a,b,cdee f,g").split("[a-z]"), ["", ",", ",", "", "", "", " ", ","]),
        (lambda ee: ee.String("a,b,cdee f,g").split("[^a-z]"), ["a", "b", "cdee", "f", "g"]),
    ],
    "ee-string-slice": [
        (lambda ee: ee.String("").slice(0), ""),
        (lambda ee: ee.String("").slice(-1), ""),
        (lambda ee: ee.String(ALPHABET).slice(0), ALPHABET),
        (lambda ee: ee.String(ALPHABET).slice(24), "yz"),
        (lambda ee: ee.String(ALPHABET).slice(-3), "xyz"),
        (lambda ee: ee.String(ALPHABET).slice(3, 3), ""),
        (lambda ee: ee.String(ALPHABET).slice(2, 3), "c"),
        (lambda ee: ee.String(ALPHABET).slice(-4, 25), "wxy"),
    ],
    "ee-string-rindex": [
        (lambda ee: ee.String("aBc-Abc").rindex("A"), 4),
        (lambda ee: ee.String("aBc-Abc").rindex("a"), 0),
        (lambda ee: ee.String("aBc-Abc").rindex("Bc"), 1),
        (lambda ee: ee.String("aBc-Abc").rindex("Z"), -1),
        (lambda ee: ee.String("aBc-Abc").rindex("-"), 3),
        (lambda ee: ee.String("aBc-Abc").rindex(""), 7),
    ],
    "ee-list-add": [
        (lambda ee: ee.List([]).add("b"), ["b"]),
        (lambda ee: ee.List(["a"]).add(ee.String("b")), ["a", "b"]),
        (lambda ee: ee.List(["a"]).add(ee.Number(1)), ["a", 1]),
        (lambda ee: ee.List(["a"]).add(True), ["a", True]),
        (lambda ee: ee.List(["a"]).add(ee.List(["b"])), ["a", ["b"]]),
        (lambda ee: ee.List(["a"]).add(ee.Dictionary()), ["a", {}]),
        (lambda ee: ee.List(["a"]).add(ee.Dictionary({"b": "c"})), ["a", {"b": "c"}]),
    ],
    "ee-list-cat": [
        (lambda ee: ee.List(["dog"]).cat(["squirrel"]), ["dog", "squirrel"]),
        (lambda ee: ee.List([["a", "b"]]).cat(ee.List([["1", 1]])), [["a", "b"], ["1", 1]]),
        (lambda ee: ee.List([]).cat(ee.List([])), []),
    ],
    "ee-list-sequence": [
        (lambda ee: ee.List.sequence(0, 5), [0, 1, 2, 3, 4, 5]),
        (lambda ee: ee.List.sequence(0, 10, 2), [0, 2, 4, 6, 8, 10]),
        (lambda ee: ee.List.sequence(0, None, 2, 6), [0, 2, 4, 6, 8, 10]),
        (lambda ee: ee.List.sequence(0, None, -2, 6), [0, -2, -4, -6, -8, -10]),
        (lambda ee: ee.List.sequence(0, 10, 2, 999).size(), 999),
        (lambda ee: ee.List.sequence(0, 10, 2, 3), [0, 5, 10]),
        (lambda ee: ee.List.sequence(start=10, count=3), [10, 11, 12]),
        (lambda ee: ee.List.sequence(start=3, step=2, end=6), [3, 5]),
        (lambda ee: ee.List.sequence(start=-1e9, end=1e9, count=3), [-1000000000, 0, 1000000000]),
    ],
    "ee-list-frequency": [
        (lambda ee: ee.List([0, 1, 2, 2, 3, 4]).frequency(2), 2),
        (lambda ee: ee.List([0, 1, 2, 2, 3, 4]).frequency(9), 0),
    ],
    "ee-list-filter": [
        (lambda ee: ee.List([1, 2, 3, None, 6, 7]).filter(ee.Filter.eq("item", 3)), [3]),
        (lambda ee: ee.List([1, 2, 3, None, 6, 7]).filter(ee.Filter.gt("item", 4)), [6, 7]),
        (lambda ee: ee.List([1, 2, 3, None, 6, 7]).filter(ee.Filter.notNull(["item"])), [1, 2, 3, 6, 7]),
        (lambda ee: ee.List([1, 2, 3, None, 6, 7]).filter(ee.Filter.inList("item", [1, 98, 99])), [1]),
    ],
    "ee-list-iterate": [
        (
            lambda ee: ee.List(
                ee.List.sequence(1, 10).iterate(
                    lambda _, found: ee.List(found).add(ee.Number(ee.List(found).get(-1)).divide(2)), [1000]
                )
            ),
            [1000 / 2**step for step in range(11)],
        ),
    ],
    "ee-list-splice": [
        (lambda ee: ee.List([0, 1, 2, 3, 4]).splice(start=2, count=1, other=None), [0, 1, 3, 4]),
        (lambda ee: ee.List([0, 1, 2, 3, 4]).splice(-2, 1), [0, 1, 2, 4]),
        (lambda ee: ee.List([0, 1, 2, 3, 4]).splice(1, 3), [0, 4]),
        (lambda ee: ee.List([0, 1, 2, 3, 4]).splice(2, 0, ["X", "Y", "Z"]), [0, 1, "X", "Y", "Z", 2, 3, 4]),
    ],
    "ee-dictionary-combine": [
        (
            lambda ee: ee.Dictionary({"B1": 182, "B2": 219}).combine({"Region": "x", "B1": -9999}, False),
            {"B1": 182, "B2": 219, "Region": "x"},
        ),
        (
            lambda ee: ee.Dictionary({"B1": 182, "B2": 219}).combine({"Region": "x", "B1": -9999}, True),
            {"B1": -9999, "B2": 219, "Region": "x"},
        ),
    ],
    "ee-number": [
        (lambda ee: ee.Number(100).clamp(0, 255), 100),
        (lambda ee: ee.Number(259).clamp(0, 255), 255),
        (lambda ee: ee.Number(-259).clamp(0, 255), 0),
        (lambda ee: ee.Number(1.7).int8(), 1),
        (lambda ee: ee.Number(127 + 12345).int8(), 127),
        (lambda ee: ee.Number(0xFFFF).bitCount(), 16),
        (lambda ee: ee.Number(-1).bitCount(), 64),
        (lambda ee: ee.Number(-1).toInt8().bitCount(), 64),
        (lambda ee: ee.Number(-2).bitCount(), 63),
        (lambda ee: ee.Number(5).pow(-2), 0.04),
        (lambda ee: ee.Number(5).pow(2.2), 34.493241536),
        (lambda ee: ee.Number(1).format("%03d"), "001"),
        (lambda ee: ee.Number(1.23476).format("%.1f"), "1.2"),
        (lambda ee: ee.Number(1.23476).format("%.3f"), "1.235"),
        (lambda ee: ee.Number(123476).format("%.3e"), "1.235e+05"),
        (lambda ee: ee.Number(123476).format("%.2f"), "123476.00"),
        (lambda ee: ee.Number(25).bitwiseAnd(21), 17),
        (lambda ee: ee.Number(5).divide(10.2), 0.490196078),
        (lambda ee: ee.Number(10).divide(0), 0),
        (lambda ee: ee.Number(math.pi / 2).tan(), 16331239353195370),
        (lambda ee: ee.Number(0.001).gamma(), 999.423772484),
        (lambda ee: ee.Number(100).gamma(), 9.332621544e155),
        (lambda ee: ee.Number(200).gamma(), "Infinity"),
    ],
    "ee-array": [
        (lambda ee: ee.Array([9]).cut([0]), [9]),
        (lambda ee: ee.Array([9]).cut([-1]), [9]),
        (lambda ee: ee.Array([0, 1, 2]).cut([-1]), [0, 1, 2]),
        (lambda ee: ee.Array([0, 1, 2]).cut([2]), [2]),
        (lambda ee: ee.Array([[0, 1, 2], [3, 4, 5]]).cut([-1, 0]), [[0], [3]]),
        (lambda ee: ee.Array([[0, 1, 2], [3, 4, 5]]).cut([1, -1]), [[3, 4, 5]]),
        (lambda ee: ee.Array([-1]).byte(), [0]),
        (lambda ee: ee.Array([256]).byte(), [255]),
        (lambda ee: ee.Array([-0.1, 0.1, 0.5, 127.1, 255.1, 255.9]).byte(), [0, 0, 1, 127, 255, 255]),
        (lambda ee: ee.Array([[], []], ee.PixelType.float()).byte(), [[], []]),
        (lambda ee: ee.Array.bitsToArray(0), [0]),
        (lambda ee: ee.Array.bitsToArray(5), [1, 0, 1]),
        (lambda ee: ee.Array.bitsToArray(0xFF), [1] * 8),
        (lambda ee: ee.Array.bitsToArray(-1), [1] * 64),
        (lambda ee: ee.Array.bitsToArray(-1).toInt8(), [1] * 64),
    ],
    "ee-array-arithmetic": [
        (lambda ee: ee.Array([], ee.PixelType.int8()).bitwise_not(), []),
        (lambda ee: ee.Array(0).bitwise_not(), -1),
        (lambda ee: ee.Array(0xFF).bitwise_not(), -256),
        (lambda ee: ee.Array(-3).bitwise_not(), 2),
        (lambda ee: ee.Array(0xFF).toInt64().bitwise_not(), -256),
        (lambda ee: ee.Array([10]).subtract(1), [9]),
        (lambda ee: ee.Array([-1, 0, 1]).subtract([-5, 6, 7]), [4, -6, -6]),
        (lambda ee: ee.Array([1]).add([2]), [3]),
        (lambda ee: ee.Array([[0, 1, 2], [3, 4, 5]]).add(1), [[1, 2, 3], [4, 5, 6]]),
        (lambda ee: ee.Array([0, 1, 2]).dotProduct(ee.Array([3, 4, 5])), 14),
        (lambda ee: ee.Array([1.5, 2.5]).dotProduct(ee.Array([3, 4])), 14.5),
        (lambda ee: ee.Array([], ee.PixelType.int8()).exp(), []),
    ],
    "ee-array-slice": [
        (lambda ee: ee.Array([1, 2, 3, 4, 5, 6]).slice(), [1, 2, 3, 4, 5, 6]),
        (lambda ee: ee.Array([1, 2, 3, 4, 5, 6]).slice(0, 0, 10, 1), [1, 2, 3, 4, 5, 6]),
        (lambda ee: ee.Array([1, 2, 3, 4, 5, 6]).slice(0, 6), []),
        (lambda ee: ee.Array([1, 2, 3, 4, 5, 6]).slice(0, 0, 0), []),
        (lambda ee: ee.Array([1, 2, 3, 4, 5, 6]).slice(0, 0, -3), [1, 2, 3]),
        (lambda ee: ee.Array([1, 2, 3, 4, 5, 6]).slice(0, -2, 6), [5, 6]),
        (lambda ee: ee.Array([1, 2, 3, 4, 5, 6]).slice(0, 0, 6, 4), [1, 5]),
        (lambda ee: ee.Array([1, 2, 3, 4, 5, 6]).slice(0, 2, 6, 2), [3, 5]),
    ],
    "ee-image-arrays": [
        (lambda ee: _sampled(ee, ee.Image(list(range(12))).toArray().arraySlice(0, 0, 3)), [0, 1, 2]),
        (lambda ee: _sampled(ee, ee.Image(list(range(12))).toArray().arraySlice(0, -3)), [9, 10, 11]),
        (lambda ee: _sampled(ee, ee.Image([0, 1, 2]).toArray().arrayRepeat(0, 3)), [0, 1, 2] * 3),
        (lambda ee: _sampled(ee, ee.Image([0, 1, 2]).toArray().arrayRepeat(1, 3)), [[0] * 3, [1] * 3, [2] * 3]),
    ],
    "ee-image-constant": [
        (lambda ee: ee.Image.constant(1).bandTypes(), _constant("int", 1)),
        (lambda ee: ee.Image(2).bandTypes(), _constant("int", 2)),
        (lambda ee: ee.Image(math.pi).bandTypes(), _constant("double", math.pi)),
        (lambda ee: ee.Image(1).remap([1], [7], 0).bandNames(), ["remapped"]),
    ],
    "ee-dictionary-select": [
        (lambda ee: ee.Dictionary({"B1": 182, "B2": 219, "B3": 443}).select(["B1", "B2"]), {"B1": 182, "B2": 219}),
        (lambda ee: ee.Dictionary({"B1": 182, "B2": 219, "B3": 443}).select(["B[1-2]"]), {"B1": 182, "B2": 219}),
        (lambda ee: ee.Dictionary({"B1": 182, "B2": 219}).select(["B1", "Region"], True), {"B1": 182}),
    ],
    "ee-dictionary-rename": [
        (
            lambda ee: ee.Dictionary({"B1": 182, "B2": 219, "B3": 443}).rename(["B2", "B3"], ["Band_2", "Band_3"]),
            {"B1": 182, "Band_2": 219, "Band_3": 443},
        ),
        (lambda ee: ee.Dictionary({"B1": 182, "B3": 443}).rename(["B3"], ["B1"], True), {"B1": 443}),
    ],
    "ee-algorithms-objecttype": [
        (lambda ee: ee.Algorithms.ObjectType(ee.Number(1)), "Integer"),
        (lambda ee: ee.Algorithms.ObjectType(ee.String("a string")), "String"),
        (lambda ee: ee.Algorithms.ObjectType(ee.List([1, "a string"])), "List"),
        (lambda ee: ee.Algorithms.ObjectType(ee.Feature(None, {"int": 42}).get("int")), "Integer"),
    ],
    "ee-geometry": [
        (lambda ee: ee.Geometry.Point(-122.082, 37.42).coordinates(), [-122.082, 37.42]),
        (lambda ee: ee.Geometry.Polygon([[[-122.08, 37.4], [-122.09, 37.42], [-122.07, 37.41]]]).type(), "Polygon"),
    ],
    "tutorial_global_surface_water_04": [(lambda ee: _grouped_names(ee, ee.Image(7).toByte()), ["gained"])],
    "ee-date": [
        (lambda ee: ee.Date("2020-01-15").difference("2020-01-01", "days"), 14),
        (lambda ee: ee.Date("2020-01-01").difference("2020-01-15", "weeks"), -2),
    ],
}  # fmt: skip


@pytest.mark.parametrize("page", EXAMPLES)
def test_documented_examples_print_the_documented_output(demo_ee: Any, page: str) -> None:
    for number, (example, expected) in enumerate(EXAMPLES[page]):
        found = example(demo_ee).getInfo()
        if isinstance(expected, float):
            expected = pytest.approx(expected, rel=1e-8)
        assert found == expected, f"{page}, example {number}"
