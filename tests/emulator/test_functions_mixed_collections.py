"""Collections whose images have bands of different types: no pixel is cut to the type of the first image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eechips.emulator.pixels.encode import filled
from eechips.emulator.pixels.types import dtype_of
from eechips.emulator.request_errors import InvalidError
from tests.support.graphs import Graph, Ready, invoke
from tests.support.images import ONE, constant, evaluate, read


def typed(cast: str, value: float) -> Ready:
    return invoke(f"Image.{cast}", value=constant(value))


def images(*given: Ready) -> Ready:
    return invoke("ImageCollection.fromImages", images=list(given))


BYTE, SHORT, DOUBLE = typed("toUint8", 1), typed("toInt16", 1000), constant(2.7)
MERGED = invoke("ImageCollection.merge", collection1=images(BYTE), collection2=images(SHORT))
REDUCERS = {"max": 1000, "last": 1000, "lastNonNull": 1000, "minMax": 1000}


def written(value: Any, graph: Graph | None = None) -> Any:
    """The last band's pixel as a file of the service would hold it."""
    image = evaluate(value, graph=graph)
    return filled(image.bands[-1], read(image, ONE)[-1])[0, 0].tolist()


MANY = invoke("ImageCollection.merge", collection1=images(*[BYTE] * 150), collection2=MERGED)
NOT_ALL = invoke("Collection.filter", collection=MANY, filter=invoke("Filter.notNull", properties=["system:index"]))


@pytest.mark.parametrize("collection", [images(BYTE, SHORT), MERGED, MANY, NOT_ALL])
def test_the_type_of_a_composite_holds_those_of_all_images(collection: Ready) -> None:
    assert written(invoke("ImageCollection.mosaic", collection=collection)) == 1000
    assert written(invoke("reduce.max", collection=collection)) == 1000
    for name, expected in REDUCERS.items():
        reduced = invoke("ImageCollection.reduce", collection=collection, reducer=invoke(f"Reducer.{name}"))
        assert written(reduced) == expected, name


def test_constants_of_several_values_are_kept() -> None:
    assert written(invoke("ImageCollection.mosaic", collection=images(constant(1), constant(300)))) == 300


def test_floats_above_bytes_are_kept() -> None:
    collection = images(BYTE, DOUBLE)
    assert written(invoke("ImageCollection.mosaic", collection=collection)) == 2.7
    assert written(invoke("ImageCollection.qualityMosaic", collection=collection, qualityBand="constant")) == 2.7
    kind = evaluate(invoke("ImageCollection.toArray", collection=collection)).bands[0].type
    assert dtype_of(kind) == np.float64


def test_a_mapped_collection_has_the_type_of_its_results() -> None:
    graph = Graph()
    doubled = graph.function(lambda image: invoke("Image.multiply", image1=image, image2=300), "image")
    mapped = invoke("Collection.map", collection=images(BYTE, typed("toUint8", 2)), baseAlgorithm=doubled)
    assert written(invoke("ImageCollection.mosaic", collection=mapped), graph) == 600


def test_an_image_that_lacks_a_band_of_a_quality_mosaic_is_not_left_out_without_a_word() -> None:
    """The service's message: github.com/leftfield-geospatial/geedim/issues/16."""
    both = constant(1, 2, names=["a", "b"])
    collection = images(both, constant(9, names=["a"]))
    image = evaluate(invoke("ImageCollection.qualityMosaic", collection=collection, qualityBand="a"))
    expected = (
        r"homogeneous image collection.*First image type: 2 bands \(\[a, b\]\)\. Current image type: 1 bands \(\[a\]\)"
    )
    with pytest.raises(InvalidError, match=expected):
        read(image, ONE)


COMPOSITES = ["ImageCollection.mosaic", "reduce.max", "reduce.mean", "ImageCollection.toArray"]


def differing(count: int, last: Ready) -> Ready:
    """Many images of bytes, each of a range of its own, and another one at the end."""
    return images(*[typed("toUint8", 1), constant(3), constant(200)] * (count // 3), last)


@pytest.mark.parametrize("name", COMPOSITES[:2])
@pytest.mark.parametrize("value", [70_000, -5])
def test_a_wider_integer_beyond_those_looked_at_is_kept_where_types_differ(name: str, value: int) -> None:
    collection = differing(150, constant(value))
    first = value if name.endswith("mosaic") else max(value, 200)
    assert written(invoke(name, collection=collection)) == first


@pytest.mark.parametrize("name", COMPOSITES)
def test_a_band_that_does_not_fit_the_type_of_a_composite_is_refused(name: str) -> None:
    """The service's message: github.com/gee-community/geemap/issues/1058."""
    collection = images(*[typed("toUint8", 1)] * 150, typed("toFloat", 2.5))
    image = evaluate(invoke(name, collection=collection))
    expected = (
        r"homogeneous image collection, but an image with an incompatible band was encountered\. "
        r"Mismatched type for band 'constant':\nExpected type: Short<0, 255>\.\nActual type: Float\.\nImage ID: .*\n"
        r"This band might require an explicit cast\."
    )
    with pytest.raises(InvalidError, match=expected):
        read(image, ONE)


@pytest.mark.parametrize("name", COMPOSITES)
@pytest.mark.parametrize(("bands", "later"), [(["a", "b"], ["a"]), (["a"], ["a", "b"]), (["a"], ["b"])])
def test_images_with_other_bands_than_the_first_are_not_left_out(name: str, bands: list[str], later: list[str]) -> None:
    """github.com/forestdatapartnership/whisp/pull/248, github.com/leftfield-geospatial/geedim/issues/16."""
    collection = images(*[constant(*range(len(names)), names=names) for names in (bands, later, bands)])
    image = evaluate(invoke(name, collection=collection))
    with pytest.raises(InvalidError, match=r"homogeneous image collection.*with incompatible bands was encountered"):
        read(image, ONE)


def test_bands_in_another_order_are_matched_by_name() -> None:
    collection = images(constant(1, 2, names=["a", "b"]), constant(4, 3, names=["b", "a"]))
    assert written(invoke("ImageCollection.mosaic", collection=collection)) == 4
