"""The type that an image declares holds its values: what is written to a file is what was computed.

``reduceRegion`` gives the computed value, files hold it in the declared type. A type that is too narrow would cut it
without a word.
"""

from __future__ import annotations

import math
from random import Random

import pytest

from eechips_local.evaluation.signatures import load_signatures
from eechips_local.functions import load_functions
from eechips_local.pixels.output.encode import filled
from eechips_local.protocol.request_errors import EarthEngineError
from local_tests.support.graphs import Ready, invoke
from local_tests.support.images import ONE, constant, evaluate, read
from tests.fuzz.budget import Budget

CASTS = ("toUint8", "toInt8", "toUint16", "toInt16", "toUint32", "toInt32", "toInt64", "toFloat", "toDouble")
VALUES = (0, 1, 2, 3, 7, 100, 127, 200, 255, -1, -5, -100, -128, 1.5, -2.5, 30000, 70000, 2e9)
REDUCERS = (
    "max", "min", "sum", "product", "mean", "median", "mode", "first", "last", "count", "bitwiseAnd", "bitwiseOr",
    "stdDev", "variance", "allNonZero", "countDistinct", "firstNonNull", "minMax", "kurtosis",
)  # fmt: skip
_IMAGE = "Image<unknown bands>"


def _taking(images: int) -> list[str]:
    """Functions that give an image and need so many images, and nothing else."""
    needed = {name: [a.type for a in load_signatures()[name].arguments if not a.optional] for name in load_functions()}
    return sorted(
        name
        for name, kinds in needed.items()
        if kinds == [_IMAGE] * images and load_signatures()[name].returns == _IMAGE
    )


ONE_IMAGE, TWO_IMAGES = _taking(1), _taking(2)


def leaf(random: Random) -> Ready:
    return invoke(f"Image.{random.choice(CASTS)}", value=constant(random.choice(VALUES)))


def drawn(random: Random) -> Ready:
    """An image made of constants of several types."""
    a, b, c = (leaf(random) for _ in range(3))
    number, reducer = random.choice(VALUES), invoke(f"Reducer.{random.choice(REDUCERS)}")
    both = invoke("Image.addBands", dstImg=a, srcImg=b)
    collection = invoke("ImageCollection.fromImages", images=[a, b, c])
    one, two = random.choice(ONE_IMAGE), random.choice(TWO_IMAGES)
    names = [argument.name for argument in load_signatures()[two].arguments]
    return random.choice([
        invoke(one, **{load_signatures()[one].arguments[0].name: a}),
        *[invoke(two, **{names[0]: a, names[1]: b})] * 3,
        invoke("Image.reduce", image=both, reducer=reducer),
        invoke("ImageCollection.reduce", collection=collection, reducer=reducer),
        invoke("ImageCollection.mosaic", collection=collection),
        invoke("ImageCollection.qualityMosaic", collection=collection, qualityBand="constant"),
        invoke("Image.reduceNeighborhood", image=a, reducer=reducer, kernel=invoke("Kernel.square", radius=1)),
        invoke("Image.where", input=a, test=b, value=c),
        invoke("Image.unmask", input=invoke("Image.updateMask", image=a, mask=b), value=c),
        invoke("Image.remap", image=a, from_=[1, 2, 3], to=[number] * 3, defaultValue=random.choice(VALUES)),
        invoke("Image.clamp", input=a, low=number, high=2e9),
        invoke("Image.interpolate", image=a, x=[0, 10], y=[number, random.choice(VALUES)]),
        invoke("Image.arrayGet", image=invoke("Image.toArray", image=both, axis=0), position=constant(1)),
    ])  # fmt: skip


@pytest.mark.slow
def test_written_pixels_equal_computed_pixels(budget: Budget) -> None:
    compared = 0
    for random in budget.draws(least=200):
        node = drawn(random)
        try:
            image = evaluate(node)
            pixels = read(image, ONE)
        except EarthEngineError:  # for example bits of a float
            continue
        for band, found in zip(image.bands, pixels, strict=True):
            if band.type.dimensions or not found.valid.all():
                continue
            value, written = found.values.item(), filled(band, found).item()
            is_float = band.type.precision != "int"
            same = value == written or (is_float and math.isclose(value, written, rel_tol=1e-6)) or value != value
            assert same, f"seed {budget.last}: {value} became {written} as {band.type}\n{node.content}"
            compared += 1
    assert compared > 50
