"""Every function of the client's list with values of every kind in every place: an answer or an error of Earth
Engine's own, in time, never an exception that nobody thought of.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from affine import Affine

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.expression_evaluator import Evaluator
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.evaluation.signatures import load_signatures
from eechips_local.functions import load_functions
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image, Render
from eechips_local.protocol.request_errors import EarthEngineError
from eechips_local.values.value_json import Encoder
from eechips_local.values.values import Collection
from local_tests.support.graphs import EmptyStore, Graph, Ready, invoke

pytestmark = pytest.mark.slow

LIMITS = ServiceLimits(seconds=2.0, memory=256 << 20)
PLACE = PixelGrid("EPSG:4326", Affine(0.0002, 0, 10, 0, -0.0002, 20.001), 7, 5)

GRAPH = Graph()
_FUNCTION = GRAPH.function(lambda x, y: y, "x", "y")
_POINT = invoke("GeometryConstructors.Point", coordinates=[10, 20])
_BOX = invoke("GeometryConstructors.BBox", west=10, south=20, east=10.001, north=20.001)
_IMAGE = invoke("Image.toUint8", value=invoke("Image.multiply", image1=invoke("Image.random", seed=1), image2=5))
_BANDS = invoke("Image.constant", value=[1.5, 2])
_FEATURE = invoke("Feature", geometry=_BOX, metadata={"a": 1, "b": "x"})
_FEATURES = invoke("Collection", features=[_FEATURE, invoke("Feature", geometry=_POINT, metadata={"a": 2})])
_IMAGES = invoke("ImageCollection.fromImages", images=[invoke("Image.constant", value=3), _BANDS])

VALUES: dict[str, Any] = {
    "null": None, "true": True, "0": 0, "-1": -1, "3": 3, "1.5": 1.5, "1e300": 1e300, "2**62": 2**62,
    "-2**63": -(2.0**63), "no text": "", "text": "x", "crs": "EPSG:4326", "band": "constant",
    "[]": [], "[1, 2, 3]": [1, 2, 3], "mixed": [1, "a", None, [2]], "deep": [[1, [2]], [[3]]],
    "pairs": [[1, 2], [3, 4]], "{}": {}, "dictionary": {"a": 1, "b": "x"},
    "date": invoke("Date", value=0), "range": invoke("DateRange", start=0, end=86_400_000),
    "array": invoke("Array", values=[1, 2, 3]), "matrix": invoke("Array", values=[[1.5, 2], [3, 4]]),
    "point": _POINT, "box": _BOX,
    "line": invoke("GeometryConstructors.LineString", coordinates=[[0, 0], [1, 1]]),
    "empty geometry": invoke("Geometry.difference", left=_POINT, right=_POINT),
    "feature": _FEATURE, "null geometry": invoke("Feature", geometry=None, metadata={"q": None}),
    "features": _FEATURES, "no features": invoke("Collection", features=[]),
    "image": _IMAGE, "bands": _BANDS, "array image": invoke("Image.toArray", image=_BANDS, axis=0),
    "no bands": invoke("Image.select", input=_IMAGE, bandSelectors=[]),
    "masked": invoke("Image.mask", image=_IMAGE, mask=0),
    "images": _IMAGES, "no images": invoke("ImageCollection.fromImages", images=[]),
    "filter": invoke("Filter.equals", leftField="a", rightValue=1),
    "join filter": invoke("Filter.equals", leftField="a", rightField="a"),
    "reducer": invoke("Reducer.mean"), "histogram": invoke("Reducer.histogram"),
    "regression": invoke("Reducer.linearRegression", numX=2),
    "grouped": invoke("Reducer.group", reducer=invoke("Reducer.mean")),
    "kernel": invoke("Kernel.square", radius=1), "distances": invoke("Kernel.euclidean", radius=2),
    "projection": invoke("Projection", crs="EPSG:32633"), "join": invoke("Join.saveAll", matchesKey="m"),
    "margin": invoke("ErrorMargin", value=1), "function": _FUNCTION,
}  # fmt: skip

FITTING = {
    "Image": "image", "Element": "feature", "Feature": "feature", "FeatureCollection": "features",
    "ImageCollection": "images", "Geometry": "box", "Reducer": "reducer", "Kernel": "kernel",
    "Projection": "projection", "Number": "3", "Integer": "3", "Float": "1.5", "Long": "3", "List": "[1, 2, 3]",
    "Dictionary": "dictionary", "Array": "matrix", "Date": "date", "DateRange": "range", "Filter": "filter",
    "Join": "join", "ErrorMargin": "margin", "Algorithm": "function", "Boolean": "true",
}  # fmt: skip
"""A value of each type; text for all others."""


def calls(name: str) -> Iterator[tuple[str, Ready]]:
    """A call with every value in the place of each argument; the others fit."""
    arguments = load_signatures()[name].arguments
    fitting = {a.name: VALUES[FITTING.get(a.type.split("<")[0], "text")] for a in arguments if not a.optional}
    for argument in arguments:
        for kind, value in VALUES.items():
            yield f"{argument.name}: {kind}", invoke(name, **{**fitting, argument.name: value})


def answer(call: Ready) -> str | None:
    """The message of the error, if that is what it gives. The value is told in full, and pixels are computed."""
    context = Context(EmptyStore(), LIMITS)
    try:
        value = Evaluator(GRAPH.expression(call), context).evaluate()
        Encoder(context).encode(value)
        images = [value] if isinstance(value, Image) else []
        if isinstance(value, Collection) and value.element == "Image":
            images = list(value)[:2]
        for image in images:
            Render(64 << 20).read(image.bands[:20], PLACE)
    except EarthEngineError as error:
        return str(error)
    return None


def check(name: str, every: int) -> int:
    """Checks each so-many-th call of a function; how many there were."""
    count = 0
    for number, (case, call) in enumerate(calls(name)):
        if number % every:
            continue
        try:
            message = answer(call)
        except Exception as error:
            raise AssertionError(f"{name}, {case}: {error!r}") from error
        assert message is None or message.strip(), (name, case)
        count += 1
    return count


CLASSES = sorted({name.split(".")[0] for name in load_functions()})


@pytest.mark.parametrize("kind", CLASSES)
def test_a_sample_of_all_calls(kind: str) -> None:
    """Each eleventh value: over the arguments of all functions every value has its turn."""
    with warnings.catch_warnings(), np.errstate(all="warn"):
        for name in sorted(load_functions()):
            if name.split(".")[0] == kind:
                check(name, 11)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", CLASSES)
def test_all_calls(kind: str) -> None:
    assert sum(check(name, 1) for name in load_functions() if name.split(".")[0] == kind)
