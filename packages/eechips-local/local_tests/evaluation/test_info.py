"""Values as the JSON that ``getInfo`` gives, and the size that a response may have."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS

from eechips_local.evaluation.asset_model import PixelType, Query
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.geometry.map_projection import Projection
from eechips_local.pixels.stored_image import stored_image
from eechips_local.protocol.request_errors import InvalidError, LimitError
from eechips_local.values.value_json import Encoder
from eechips_local.values.values import WHOLE_EARTH, Array, Collection, Date, DateRange, ErrorMargin, Feature, Geometry
from local_tests.support.demo_store import STORE
from local_tests.support.graphs import EmptyStore, evaluate, invoke


def encode(value: Any, **limits: Any) -> Any:
    return Encoder(Context(EmptyStore(), ServiceLimits(**limits))).encode(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (2.0, 2),
        (2.5, 2.5),
        (1e300, 1e300),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (math.nan, "NaN"),
        ("text", "text"),
        ([1, [2.0]], [1, [2]]),
        ({"a": None}, {"a": None}),
        (Date(1577836800000), {"type": "Date", "value": 1577836800000}),
        (DateRange(0, 1), {"type": "DateRange", "dates": [0, 1]}),
        (PixelType("int", 0, 255), {"type": "PixelType", "precision": "int", "min": 0, "max": 255}),
        (PixelType("double"), {"type": "PixelType", "precision": "double"}),
        (ErrorMargin(1.0), {"type": "ErrorMargin", "unit": "meters", "value": 1}),
        (Array(np.array([[1.5, 2.0], [3.0, np.inf]])), [[1.5, 2], [3, "Infinity"]]),
        (
            Projection("EPSG:32613", Affine(10, 0, 5, 0, -10, 7)),
            {"type": "Projection", "crs": "EPSG:32613", "transform": [10, 0, 5, 0, -10, 7]},
        ),
        (np.int16(4), 4),
    ],
)
def test_values(value: Any, expected: Any) -> None:
    assert encode(value) == expected


EDGES = [(0, 0), (1, 1.5)]
UTM = {"type": "name", "properties": {"name": "EPSG:32613"}}


@pytest.mark.parametrize(
    ("geometry", "expected"),
    [
        (Geometry(shapely.Point(1, 2)), {"geodesic": False, "type": "Point", "coordinates": [1, 2]}),
        (Geometry(shapely.Point(1, 2), geodesic=True), {"type": "Point", "coordinates": [1, 2]}),
        (Geometry(shapely.Point(5e5, 0), Projection("EPSG:32613")),
         {"crs": UTM, "type": "Point", "coordinates": [500_000, 0]}),
        (Geometry(shapely.LineString(EDGES), geodesic=True), {"type": "LineString", "coordinates": [[0, 0], [1, 1.5]]}),
        (Geometry(shapely.LineString(EDGES)),
         {"geodesic": False, "type": "LineString", "coordinates": [[0, 0], [1, 1.5]]}),
        (Geometry(shapely.LineString(EDGES), Projection("EPSG:32613", Affine(10, 0, 7, 0, -10, 9))),
         {"geodesic": False, "crs": UTM, "type": "LineString", "coordinates": [[7, 9], [17, -6]]}),
        (Geometry(shapely.LineString([(179, 1), (181, 2)]), geodesic=True),
         {"type": "LineString", "coordinates": [[179, 1], [-179, 2]]}),
        (Geometry(shapely.LineString([(179, 1), (181, 2)])),
         {"geodesic": False, "type": "LineString", "coordinates": [[179, 1], [181, 2]]}),
        (Geometry(shapely.GeometryCollection([shapely.Point(1, 2), shapely.LineString(EDGES)]), geodesic=True),
         {"type": "GeometryCollection", "geometries": [
             {"type": "Point", "coordinates": [1, 2]}, {"type": "LineString", "coordinates": [[0, 0], [1, 1.5]]}]}),
        (Geometry(shapely.Polygon(), geodesic=True), {"type": "Polygon", "coordinates": []}),
        (WHOLE_EARTH, {"geodesic": False, "type": "Polygon", "coordinates": [
            [[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]]}),
    ],
)  # fmt: skip
def test_geometries_say_what_is_not_taken_for_granted(geometry: Geometry, expected: Any) -> None:
    assert encode(geometry) == expected
    assert list(encode(geometry)) == list(expected)  # the order shows in tables


def test_documented_geometries() -> None:
    """Geometries and what their getInfo gives, as developers.google.com and users' notebooks show them."""
    corners = [[-35, -10], [35, -10], [35, 10], [-35, 10], [-35, -10]]
    straight = invoke("GeometryConstructors.Polygon", coordinates=[corners], geodesic=False)
    feature = evaluate(invoke("Feature", geometry=straight, metadata={"foo": 42, "bar": "tart"}))
    assert encode(feature) == {
        "type": "Feature",
        "geometry": {"geodesic": False, "type": "Polygon", "coordinates": [corners]},
        "properties": {"bar": "tart", "foo": 42},
    }
    metres = invoke("Projection", crs="EPSG:32119")
    point = evaluate(invoke("GeometryConstructors.Point", coordinates=[699102.5, 186780.25], crs=metres))
    name = {"type": "name", "properties": {"name": "EPSG:32119"}}
    assert encode(point) == {"crs": name, "type": "Point", "coordinates": [699102.5, 186780.25]}


@given(
    st.lists(st.tuples(st.floats(-170, 170), st.floats(-80, 80)), min_size=3, max_size=8, unique=True), st.booleans()
)
def test_encoded_geometries_are_decoded_to_the_same(points: list[tuple[float, float]], geodesic: bool) -> None:
    line = Geometry(shapely.LineString(points), geodesic=geodesic)
    shown = encode(line)
    given_ = {} if "geodesic" not in shown else {"geodesic": shown["geodesic"]}
    again = evaluate(invoke("GeometryConstructors.LineString", coordinates=shown["coordinates"], **given_))
    assert again.geodesic == geodesic
    np.testing.assert_allclose(encode(again)["coordinates"], shown["coordinates"], atol=1e-9)


def test_footprints_of_stored_images_are_rings() -> None:
    scene = next(iter(STORE.get("LANDSAT/LC09/C02/T1_L2").images(Query(bounds=(7, 46, 7.1, 46.1)))))  # type: ignore[union-attr]
    footprint = encode(stored_image(scene))["properties"]["system:footprint"]
    assert (footprint.keys(), footprint["type"]) == ({"type", "coordinates"}, "LinearRing")
    assert shapely.Polygon(footprint["coordinates"]).equals(scene.footprint)


@pytest.mark.parametrize("geometry", ["Polygon", "LinearRing"])
@pytest.mark.parametrize("options", [{}, {"geodesic": False}, {"crs": invoke("Projection", crs="EPSG:3857")}])
def test_footprints_that_are_set_stay_what_they_are(geometry: str, options: dict[str, Any]) -> None:
    corners = [[2, 3], [5, 3], [5, 7], [2, 3]]
    coordinates = [corners] if geometry == "Polygon" else corners
    outline = invoke(f"GeometryConstructors.{geometry}", coordinates=coordinates, **options)
    image = invoke("Element.set", object=invoke("Image.constant", value=1), key="system:footprint", value=outline)
    shown = encode(evaluate(image))["properties"]["system:footprint"]
    assert shown == encode(evaluate(invoke("Element.get", object=image, property="system:footprint")))
    assert shown == encode(evaluate(outline))


def test_features_and_collections() -> None:
    feature = Feature(Geometry(shapely.Point(1, 2)), {"system:index": "7", "n": 1.0, "s": None})
    shown = {
        "type": "Feature",
        "id": "7",
        "geometry": {"geodesic": False, "type": "Point", "coordinates": [1, 2]},
        "properties": {"n": 1, "s": None},
    }
    assert encode(feature) == shown
    found = encode(Collection.of("Feature", [feature]))
    assert (found["type"], found["features"]) == ("FeatureCollection", [shown])
    assert found["columns"] == {"n": "Float", "s": "Null", "system:index": "String"}


def test_images_have_bands_with_their_grids() -> None:
    image = evaluate(invoke("Image.constant", value=[1, 2.5]))
    found = encode(image)
    assert found["type"] == "Image"
    assert [band["id"] for band in found["bands"]] == ["constant_0", "constant_1"]
    assert found["bands"][0]["crs"] == "EPSG:4326"
    assert found["bands"][0]["crs_transform"] == [1, 0, 0, 0, 1, 0]
    assert "dimensions" not in found["bands"][0]
    assert encode(Collection.of("Image", [image]))["bands"] == []


def test_bands_have_dimensions_origin_and_wkt() -> None:
    wkt = CRS.from_user_input("+proj=sinu +R=6371007.181").to_wkt()
    square = invoke("GeometryConstructors.Rectangle", coordinates=[2, 3, 5, 7], geodesic=False)
    image = evaluate(invoke("Image.clip", input=invoke("Image.constant", value=1), geometry=square))
    band = encode(image)["bands"][0]
    assert (band["dimensions"], band["origin"]) == ([3, 4], [2, 3])
    moved = evaluate(invoke("Image.reproject", image=invoke("Image.constant", value=1), crs=wkt, scale=1000))
    band = encode(moved)["bands"][0]
    assert "crs" not in band
    assert band["crs_wkt"] == wkt


@pytest.mark.parametrize("crs", ["EPSG:6933", CRS("EPSG:32613").to_wkt().replace("WGS 84 /", "EPSG:32613,")])
def test_projections_without_a_code_of_the_service_are_wkt(crs: str) -> None:
    """It does not know EPSG:6933, which stored images may have, and takes the WKT; see UNKNOWN_CODES."""
    shown = encode(Projection(crs))
    assert "crs" not in shown
    assert CRS(shown["wkt"]) == CRS(crs)


def test_kernels_show_what_they_are() -> None:
    kernel = evaluate(invoke("Kernel.square", radius=2, units="pixels", normalize=True))
    assert encode(kernel)["type"] == "Kernel.square"


def test_shared_values_count_each_time_and_are_encoded_once() -> None:
    value: Any = [1]
    for _ in range(40):
        value = [value, value]
    with pytest.raises(LimitError, match=r"Response size exceeds limit of 67108864 bytes\."):
        encode(value)


def test_sizes_are_about_those_of_the_text() -> None:
    value = [{"name": "a" * 50, "values": [1.25, 2.5, 3.75] * 20} for _ in range(100)]
    size = len(json.dumps(value))
    encode(value, response=int(1.6 * size))
    with pytest.raises(LimitError):
        encode(value, response=int(0.6 * size))


def test_collections_above_the_element_limit_are_refused() -> None:
    elements = [Feature(None, {"n": n}) for n in range(11)]
    assert len(encode(Collection.of("Feature", elements), elements=11)["features"]) == 11
    with pytest.raises(LimitError, match="Collection query aborted after accumulating over 10 elements"):
        encode(Collection.of("Feature", elements), elements=10)


def test_functions_cannot_be_returned() -> None:
    with pytest.raises(InvalidError, match="cannot be returned to the client"):
        encode(lambda x: x)


def test_an_id_that_is_set_is_the_one_that_is_shown() -> None:
    """As geedim's tests expect, which run against the service (tests/conftest.py, ``prepared_image``)."""
    own = {"system:id": "COPERNICUS/S2/x", "system:version": 5, "system:index": "x"}
    image = invoke("Element.setMulti", object=invoke("Image.constant", value=1), properties=own)
    collection = invoke("ImageCollection.fromImages", images=[image])
    named = invoke("Element.set", object=collection, key="system:id", value="COPERNICUS/S2")
    for found in (encode(evaluate(image)), encode(evaluate(named))["features"][0], encode(evaluate([image]))[0]):
        assert (found["id"], found["version"]) == ("COPERNICUS/S2/x", 5)
        assert found["properties"].keys() == {"system:index"}
    assert encode(evaluate(named))["id"] == "COPERNICUS/S2"
    assert "properties" not in encode(evaluate(named))


def test_collections_within_other_values_have_no_features() -> None:
    """As eerepr recorded (tests/data/test_full_repr.yml); geedim expects it (``accessors_from_collections``)."""
    images = invoke("ImageCollection.fromImages", images=[invoke("Image.constant", value=1)])
    features = invoke("Collection", features=[invoke("Feature", geometry=None, metadata={"foo": "bar"})])
    for collection, kind in ((images, "ImageCollection"), (features, "FeatureCollection")):
        assert len(encode(evaluate(collection))["features"]) == 1
        for found in (encode(evaluate([collection]))[0], encode(evaluate({"a": collection}))["a"]):
            assert found["type"] == kind
            assert "features" not in found
    assert encode(evaluate([features]))[0]["columns"] == {"foo": "String", "system:index": "String"}


def test_copied_names_of_bands_are_not_shown() -> None:
    """As geedim's tests expect, which run against the service (tests/test_image.py, ``test_scale_offset``).

    But ``get`` has them: geetools recorded them of copies (tests/test_ImageCollection/test_aggregate_array.yml).
    """
    source = invoke("Element.set", object=invoke("Image.constant", value=[1, 2]), key="a", value=2)
    names = invoke("Element.propertyNames", element=source)
    copied = invoke(
        "Element.copyProperties", destination=invoke("Image.constant", value=1), source=source, properties=names
    )
    shown = encode(evaluate(copied))
    assert "system:band_names" in evaluate(names)
    assert shown["properties"] == {"a": 2}
    assert evaluate(invoke("Element.get", object=copied, property="system:band_names")) == ["constant_0", "constant_1"]


def test_an_index_that_is_no_text_is_shown_as_what_it_is() -> None:
    feature = invoke(
        "Feature", geometry=None, metadata={"system:index": invoke("Filter.equals", leftField="a", rightValue=1)}
    )
    assert encode(evaluate(feature))["id"] == {"type": "Filter.eq", "leftField": "a", "rightValue": 1}


def test_kernels_show_parameters_that_differ_from_their_defaults() -> None:
    """As eerepr recorded ``Kernel.gaussian(3)`` in December 2024."""
    assert encode(evaluate(invoke("Kernel.gaussian", radius=3))).keys() == {"type", "center", "radius", "weights"}
    shown = encode(evaluate(invoke("Kernel.circle", radius=90, units="meters", normalize=False)))
    assert shown == {"type": "Kernel.circle", "radius": 90, "units": "meters", "normalize": False}


def test_filters_and_reducers_show_the_arguments_that_differ_from_their_defaults() -> None:
    """Inferred from the filter, the reducer and the clusterer that eerepr recorded (test_printed_values.py)."""
    less = invoke("Filter.lessThan", leftField="a", rightValue=2)
    shown = encode(evaluate(invoke("Filter.not", filter=less)))
    assert shown == {"type": "Filter.not", "filter": {"type": "Filter.lt", "leftField": "a", "rightValue": 2}}
    point = invoke("GeometryConstructors.Point", coordinates=[1, 2])
    near = encode(evaluate(invoke("Filter.contains", leftField=".geo", rightValue=point)))
    assert near.keys() == {"type", "leftField", "rightValue"}
    mean, count = invoke("Reducer.mean"), invoke("Reducer.count")
    both = encode(evaluate(invoke("Reducer.combine", reducer1=mean, reducer2=count, outputPrefix="n_")))
    assert both == {
        "type": "Reducer.combine",
        "reducer1": {"type": "Reducer.mean"},
        "reducer2": {"type": "Reducer.count"},
        "outputPrefix": "n_",
    }


def test_classifiers_show_the_options_that_differ_from_their_defaults() -> None:
    machine = invoke("Classifier.libsvm", kernelType="RBF", gamma=0.5, shrinking=True)
    assert encode(evaluate(machine)) == {"type": "Classifier.libsvm", "kernelType": "RBF", "gamma": 0.5}


def test_kernels_show_their_weights_row_by_row() -> None:
    shown = encode(evaluate(invoke("Kernel.plus", radius=1, units="pixels", normalize=False, magnitude=0.00025)))
    assert shown["center"] == [1, 1]
    assert shown["weights"] == "\n  [0.0, 2.5E-4, 0.0]\n  [2.5E-4, 2.5E-4, 2.5E-4]\n  [0.0, 2.5E-4, 0.0]"
    moved = invoke("Kernel.fixed", width=2, height=1, weights=[[1, 2]], x=0, y=0, normalize=False)
    assert encode(evaluate(moved))["center"] == [0, 0]
    assert "weights" not in encode(evaluate(invoke("Kernel.circle", radius=90, units="meters")))


def test_no_elements_of_a_collection_have_its_columns() -> None:
    """As dask-ee's tests expect, which run against the service (dask_ee/read_integrationtest.py)."""
    features = [invoke("Feature", geometry=None, metadata=properties) for properties in ({"name": "a"}, {"n": 1})]
    columns = {"name": "String", "n": "Integer", "system:index": "String"}
    collection = invoke("Collection", features=features)
    limited = encode(evaluate(invoke("Collection.limit", collection=collection, limit=0)))
    assert (limited["columns"], limited["features"]) == (columns, [])
