"""Feature.* and Element.*."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.evaluation.signatures import load_signatures
from eechips_local.functions.primitives import elements as elements
from eechips_local.functions.vectors import features as features
from eechips_local.geometry.map_projection import WGS84
from eechips_local.pixels.lazy_image import Image, ImageBand
from eechips_local.protocol.request_errors import EarthEngineError, InvalidError
from eechips_local.values.values import Collection, Date, Feature, Geometry
from local_tests.support.graphs import Ready, call, evaluate, invoke


def square(*edges: float) -> Ready:
    w, s, e, n = edges
    return invoke("GeometryConstructors.Polygon", coordinates=[[[w, s], [e, s], [e, n], [w, n]]])


def made(geometry: Ready | None = None, **properties: Any) -> Ready:
    return invoke("Feature", geometry=geometry or square(0, 0, 1, 1), metadata=properties)


class NoPixels:
    def read(self, bands: Any, grid: Any, render: Any) -> list[Any]:
        return []


def image(**properties: Any) -> Image:
    bands = tuple(ImageBand(name, PixelType("float"), WGS84, NoPixels()) for name in ("B1", "B2"))
    footprint = Geometry(shapely.box(0, 0, 1, 1))
    return Image(bands, {"system:index": "i", **properties}, footprint, id="A/B/i", version=7)


# Properties


def test_get_gives_null_for_what_is_missing() -> None:
    assert call("Element.get", object=made(a=1), property="a") == 1
    assert call("Element.get", object=made(a=1), property="b") is None
    assert call("Element.getNumber", object=made(a=1.5), property="a") == 1.5
    assert call("Element.getString", object=made(a="x"), property="a") == "x"
    assert call("Element.getArray", object=made(a=[1, 2]), property="a").values.tolist() == [1, 2]
    assert call("Element.getNumber", object=made(), property="a") is None
    with pytest.raises(EarthEngineError, match=r"Element\.getNumber"):
        call("Element.getNumber", object=made(a="x"), property="a")


def test_set_makes_a_copy() -> None:
    found = call("Element.set", object=made(a=1), key="b", value=[1, 2])
    assert found.properties == {"a": 1, "b": [1, 2]}
    found = call("Element.setMulti", object=made(a=1, b=2), properties={"b": 3, "c": 4})
    assert found.properties == {"a": 1, "b": 3, "c": 4}
    assert call("Element.set", object=made(a=1), key="a", value=None).properties == {"a": None}


def test_to_dictionary_leaves_out_the_systems_own() -> None:
    element = Feature(None, {"a": 1, "system:index": "x", "system:time_start": 5})
    assert elements.to_dictionary(element, None) == {"a": 1}
    assert elements.to_dictionary(element, ["system:time_start"]) == {"system:time_start": 5}


def test_copy_properties() -> None:
    source = Feature(None, {"a": 1, "b": 2, "system:time_start": 5, "system:index": "s"})
    target = Feature(None, {"a": 0, "system:index": "t"})
    assert elements.copy_properties(target, source, None, None).properties == {"a": 1, "b": 2, "system:index": "t"}
    assert elements.copy_properties(target, source, None, ["a"]).properties["a"] == 0
    found = elements.copy_properties(target, source, ["system:time_start", "none"], None)
    assert found.properties == {"a": 0, "system:index": "t", "system:time_start": 5}
    with pytest.raises(InvalidError):
        elements.copy_properties(target, source, ["a"], ["b"])


def test_images_have_properties_of_their_own() -> None:
    picture = image(CLOUDS=3)
    assert elements.get(picture, "system:id") == "A/B/i"
    assert elements.get(picture, "system:version") == 7
    assert elements.get(picture, "system:band_names") == ["B1", "B2"]
    assert elements.get(picture, "system:footprint").shape.geom_type == "Polygon"
    # geedim tells by it whether an image is bounded; its tests run against the service (``test_fixed``).
    assert "system:footprint" not in call("Element.propertyNames", element=invoke("Image.constant", value=1))
    assert set(elements.names(picture)) == {
        "system:index", "CLOUDS", "system:id", "system:version", "system:footprint", "system:bands",
        "system:band_names",
    }  # fmt: skip
    assert elements.set_(picture, "a", 1).bands == picture.bands


def test_a_collection_names_its_id() -> None:
    """geetools copies it to reduced collections (tests/test_ImageCollection.py, ``reduceInterval``)."""
    assert elements.names(Collection.of("Image", [], id="A/B")) == ["system:id"]
    assert elements.names(Collection.of("Image", [])) == []


def test_setting_the_footprint_of_an_image_moves_it() -> None:
    ring = Geometry(shapely.LinearRing([(5, 5), (6, 5), (6, 6), (5, 5)]))
    moved = elements.set_(image(), "system:footprint", ring)
    assert moved.footprint.shape.bounds == (5, 5, 6, 6)
    assert moved.footprint.shape.geom_type == "Polygon"
    assert elements.get(moved, "system:footprint").shape.geom_type == "LinearRing"
    assert "system:footprint" not in moved.properties


def test_collections_have_properties_too() -> None:
    collection = Collection.of("Feature", [Feature(None, {"a": 1})], properties={"title": "t"}, id="X/Y")
    assert elements.get(collection, "title") == "t"
    assert elements.get(collection, "system:id") == "X/Y"
    again = elements.set_(collection, "n", 5)
    assert again.properties == {"title": "t", "n": 5}
    assert [f.properties for f in again] == [{"a": 1}]


# Features


def test_ids() -> None:
    assert features.id_(Feature(None, {"system:index": "0_1"})) == "0_1"
    assert features.id_(Feature(None, {})) is None
    assert features.id_(image()) == "A/B/i"


def test_select_by_name_and_pattern() -> None:
    element = Feature(Geometry(shapely.Point(0, 0)), {"pop1": 1, "pop2": 2, "name": "x", "system:index": "i"})
    assert features.select(element, ["pop.*"], None, True).properties == {"pop1": 1, "pop2": 2, "system:index": "i"}
    found = features.select(element, ["name", "pop1"], ["n", "p"], False)
    assert found.properties == {"n": "x", "p": 1, "system:index": "i"}
    assert found.geometry is None
    with pytest.raises(InvalidError, match="different number of properties than names"):
        features.select(element, ["pop.*"], ["p"], True)
    with pytest.raises(InvalidError, match="selector"):
        features.select(element, ["("], None, True)


def test_to_array() -> None:
    assert call("Feature.toArray", feature=made(a=1, b=2.5), properties=["b", "a"]).values.tolist() == [2.5, 1]
    with pytest.raises(InvalidError, match="not a number"):
        call("Feature.toArray", feature=made(a="x"), properties=["a"])


def test_geometry_in_a_projection() -> None:
    utm = call("Feature.geometry", feature=made(square(2.9, 0, 3.1, 0.2)), maxError=1, proj="EPSG:32631")
    assert utm.projection.crs == "EPSG:32631"
    assert utm.geodesic is False
    assert call("Element.geometry", feature=made()).geodesic is True
    assert call("Feature.geometry", feature=invoke("Feature", metadata={})) is None
    assert call("Feature.setGeometry", feature=made(a=1), geometry=square(5, 5, 6, 6)).geometry.shape.bounds == (
        5,
        5,
        6,
        6,
    )


UNARY: dict[str, dict[str, Any]] = {
    "area": {}, "length": {}, "perimeter": {}, "bounds": {}, "buffer": {"distance": 100}, "centroid": {},
    "convexHull": {}, "cutLines": {"distances": [10]}, "dissolve": {}, "simplify": {"maxError": 10},
    "transform": {"proj": "EPSG:3857", "maxError": 1},
}  # fmt: skip
BINARY: dict[str, dict[str, Any]] = {
    "closestPoint": {}, "closestPoints": {}, "containedIn": {}, "contains": {}, "disjoint": {}, "distance": {},
    "intersects": {}, "withinDistance": {"distance": 10}, "difference": {}, "intersection": {},
    "symmetricDifference": {}, "union": {},
}  # fmt: skip


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Geometry):
        return bool(a.shape.equals(b.shape) or (a.shape.is_empty and b.shape.is_empty))
    if isinstance(a, dict):
        return all(same(a[key], b[key]) for key in a)
    return bool(np.isclose(a, b))


@pytest.mark.parametrize("name", [*UNARY, *BINARY])
def test_geometry_functions_on_features_do_the_same_and_keep_properties(name: str) -> None:
    a, b = square(0, 0, 2, 2), square(1, 1, 3, 3)
    if name in UNARY:
        of_feature = call(f"Feature.{name}", feature=made(a, p=1), **UNARY[name])
        of_geometry = call(f"Geometry.{name}", geometry=a, **UNARY[name])
    else:
        of_feature = call(f"Feature.{name}", left=made(a, p=1), right=made(b, p=2), **BINARY[name])
        of_geometry = call(f"Geometry.{name}", left=a, right=b, **BINARY[name])
    if isinstance(of_feature, Feature):
        assert of_feature.properties == {"p": 1}
        of_feature = of_feature.geometry
    assert same(of_feature, of_geometry)


def test_a_feature_without_geometry_is_empty() -> None:
    bare = invoke("Feature", metadata={"p": 1})
    assert call("Feature.area", feature=bare) == 0
    assert call("Feature.intersects", left=bare, right=made()) is False


def test_dates_may_be_properties() -> None:
    found = evaluate(invoke("Element.set", object=made(), key="system:time_start", value=invoke("Date", value=5)))
    assert found.properties["system:time_start"] == Date(5)


def test_all_signatures_of_features_are_there_but_one() -> None:
    from eechips_local.functions import load_functions

    missing = {n for n in load_signatures() if n.split(".")[0] in ("Feature", "Element") and n not in load_functions()}
    assert missing == {"Feature.hersDescriptor", "Element.replaceProperties"}
