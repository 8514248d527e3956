"""Probes: which images a collection may have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eechips_local.probes.probe import ANY_VALUE, OPEN, Build, ExpectedResult, Probe, error, first, info, value

_MIXED = "Expected a homogeneous image collection"
_REFUSED = error(_MIXED)
_ACCEPTED = ANY_VALUE


def _mosaic(*images: Callable[[Any], Any]) -> Build:
    """Return what builds the mosaic of images; the last one that is not masked has its value."""
    return lambda ee: ee.ImageCollection([image(ee) for image in images]).mosaic()


def _byte(ee: Any) -> Any:
    return ee.Image(5).toByte()


def _zero(ee: Any) -> Any:
    return ee.Image(0)


def _mosaic_probe(
    name: str, question: str, fact: str, expected: ExpectedResult, *images: Callable[[Any], Any]
) -> Probe:
    return Probe(f"types/{name}", question, fact, first(_mosaic(*images)), expected)


def _bands(*names: str) -> Callable[[Any], Any]:
    """Return what builds an image of bytes with some bands."""
    return lambda ee: ee.Image(list(range(1, len(names) + 1))).toByte().rename(list(names))


_PAIRS = (
    _mosaic_probe(
        "constant-first", "Is a byte refused after a constant 0?", "constant-first", _REFUSED, _zero, _byte
    ),
    _mosaic_probe(
        "masked-constant-first", "Is a byte refused after a constant 0 that is masked, as eechips' mosaics had it?",
        "constant-first", _REFUSED, lambda ee: ee.Image(0).updateMask(0), _byte,
    ),
    _mosaic_probe(
        "constant-last", "Is a constant 0 accepted after a byte?", "constant-last", _ACCEPTED, _byte, _zero
    ),
    _mosaic_probe(
        "masked-constant-last", "Is a masked constant 0 accepted after a byte?", "constant-last", _ACCEPTED,
        _byte, lambda ee: ee.Image(0).selfMask(),
    ),
    _mosaic_probe(
        "constant-after-comparison", "Is a constant 0 accepted after gt(0)?", "constant-last", _ACCEPTED,
        lambda ee: ee.Image(5).toByte().gt(0).rename("constant"), _zero,
    ),
    _mosaic_probe(
        "larger-constant-last", "Is a constant 300 refused after a byte?", "fits-inside", _REFUSED,
        _byte, lambda ee: ee.Image(300),
    ),
    _mosaic_probe(
        "two-constants", "Are constants of different values refused?", "two-constants", _REFUSED,
        _zero, lambda ee: ee.Image(1),
    ),
    _mosaic_probe(
        "equal-constants", "Are constants of one value accepted?", "two-constants", _ACCEPTED,
        lambda ee: ee.Image(7), lambda ee: ee.Image(7),
    ),
    _mosaic_probe(
        "float-constants", "Are constants of different decimals refused?", "two-constants", _REFUSED,
        lambda ee: ee.Image(0.5), lambda ee: ee.Image(1.5),
    ),
    _mosaic_probe(
        "float-numbers", "Are images of Number.float() of different values refused?", "two-constants", _REFUSED,
        lambda ee: ee.Image.constant(ee.Number(0).float()), lambda ee: ee.Image.constant(ee.Number(1).float()),
    ),
    _mosaic_probe(
        "double-constants", "Are constants accepted that are cast to double?", "casts", _ACCEPTED,
        lambda ee: ee.Image(0).double(), lambda ee: ee.Image(1).double(),
    ),
    _mosaic_probe(
        "float-cast-constants", "Are constants accepted that are cast to float?", "casts", _ACCEPTED,
        lambda ee: ee.Image(0).float(), lambda ee: ee.Image(1.5).float(),
    ),
    _mosaic_probe(
        "short-cast-constants", "Are constants accepted that are cast to int16?", "casts", _ACCEPTED,
        lambda ee: ee.Image(0).toInt16(), lambda ee: ee.Image(1).toInt16(),
    ),
    _mosaic_probe(
        "byte-after-short", "Is a byte accepted after an int16?", "fits-inside", _ACCEPTED,
        lambda ee: ee.Image(5).toInt16(), _byte,
    ),
    _mosaic_probe(
        "short-after-byte", "Is an int16 refused after a byte?", "fits-inside", _REFUSED,
        _byte, lambda ee: ee.Image(5).toInt16(),
    ),
    _mosaic_probe(
        "unsigned-after-signed", "Is a uint16 refused after an int16?", "fits-inside", _REFUSED,
        lambda ee: ee.Image(5).toInt16(), lambda ee: ee.Image(5).toUint16(),
    ),
    _mosaic_probe(
        "byte-after-float", "Is a byte accepted after a float?", "fits-inside", _ACCEPTED,
        lambda ee: ee.Image(5).toFloat(), _byte,
    ),
    _mosaic_probe(
        "float-after-byte", "Is a float refused after a byte?", "fits-inside", _REFUSED,
        _byte, lambda ee: ee.Image(5.5).toFloat(),
    ),
    _mosaic_probe(
        "float-after-double", "Is a float accepted after a double?", "fits-inside", _ACCEPTED,
        lambda ee: ee.Image(5).toDouble(), lambda ee: ee.Image(5).toFloat(),
    ),
    _mosaic_probe(
        "double-after-float", "Is a double refused after a float?", "fits-inside", OPEN,
        lambda ee: ee.Image(5).toFloat(), lambda ee: ee.Image(5).toDouble(),
    ),
    _mosaic_probe(
        "long-after-float", "Is a 32-bit integer accepted after a float?", "fits-inside", OPEN,
        lambda ee: ee.Image(5).toFloat(), lambda ee: ee.Image(5).toInt32(),
    ),
    _mosaic_probe(
        "smaller-factor-last", "Is a byte times 0.1 accepted after a byte times 1.5?", "range-of-arithmetic", OPEN,
        lambda ee: ee.Image(5).toByte().multiply(1.5), lambda ee: ee.Image(5).toByte().multiply(0.1),
    ),
    _mosaic_probe(
        "larger-factor-last", "Is a byte times 1.5 refused after a byte times 0.1?", "range-of-arithmetic", _REFUSED,
        lambda ee: ee.Image(5).toByte().multiply(0.1), lambda ee: ee.Image(5).toByte().multiply(1.5),
    ),
    _mosaic_probe(
        "comparisons", "Are eq() and eq().Or() accepted together?", "range-of-arithmetic", _ACCEPTED,
        lambda ee: ee.Image(5).toByte().eq(5), lambda ee: ee.Image(5).toByte().eq(4).Or(ee.Image(1).toByte().eq(1)),
    ),
    _mosaic_probe(
        "remapped", "Are images refused that are remapped to other classes?", "range-of-arithmetic", OPEN,
        lambda ee: ee.Image(5).toByte().remap([5], [1], 0), lambda ee: ee.Image(5).toByte().remap([5], [9], 0),
    ),
    _mosaic_probe(
        "visualized", "Are pictures of different images accepted?", "casts", _ACCEPTED,
        lambda ee: ee.Image(5).visualize(min=0, max=10), lambda ee: ee.Image(0.5).visualize(min=0, max=1),
    ),
    _mosaic_probe(
        "other-names", "Are images with other bands refused?", "other-bands", _REFUSED, _bands("a"), _bands("b")
    ),
    _mosaic_probe(
        "fewer-bands", "Is an image with fewer bands refused?", "other-bands", _REFUSED, _bands("a", "b"), _bands("a")
    ),
    _mosaic_probe(
        "more-bands", "Is an image with more bands refused?", "other-bands", _REFUSED, _bands("a"), _bands("a", "b")
    ),
    _mosaic_probe(
        "no-bands", "Is an image without bands refused?", "other-bands", OPEN,
        _bands("a"), lambda ee: ee.Image(1).select([]),
    ),
    _mosaic_probe(
        "band-order", "Is another order of bands refused?", "band-order", _REFUSED, _bands("a", "b"), _bands("b", "a")
    ),
    Probe(
        "types/selected-after", "Does select() of a common band after mosaic() come too late?", "other-bands",
        first(lambda ee: _mosaic(_bands("a", "b"), _bands("a"))(ee).select("a")), _REFUSED,
    ),
    Probe(
        "types/selected-before", "Does select() of each image make them alike?", "casts",
        first(
            lambda ee: ee.ImageCollection([_bands("a", "b")(ee), _bands("b", "a")(ee)]).select(["a"]).mosaic()
        ),
        _ACCEPTED,
    ),
    Probe(
        "types/cast-after-select", "Do select(list) and toFloat() of each image cure all?", "casts",
        first(
            lambda ee: ee.ImageCollection([_bands("a", "b")(ee), ee.Image([0.5, 7]).rename(["b", "a"])])
            .map(lambda image: ee.Image(image).select(["a", "b"]).toFloat())
            .mosaic()
        ),
        value({"a": 7, "b": 0.5}),
    ),
)  # fmt: skip

_MIXED_REDUCERS = ("sum", "mean", "median", "max", "min", "mode", "count", "product", "And", "Or")


def _reduced(name: str) -> Build:
    return lambda ee: getattr(ee.ImageCollection([_byte(ee), ee.Image(0.5)]), name)()


_REDUCERS = tuple(
    Probe(
        f"types/{name.lower()}-of-mixed", f"Does {name}() refuse a float after a byte?", "reducers-check",
        first(_reduced(name)), _REFUSED,
    )
    for name in _MIXED_REDUCERS
)  # fmt: skip

_OTHERS = (
    Probe(
        "types/percentile-of-mixed", "Does reduce(percentile) refuse a float after a byte?", "reducers-check",
        first(lambda ee: ee.ImageCollection([_byte(ee), ee.Image(0.5)]).reduce(ee.Reducer.percentile([50]))), _REFUSED,
    ),
    Probe(
        "types/sum-of-masks", "Does reduce(sum) accept constants 0 after bytes, as OpenET's tests have it?",
        "constant-last",
        first(lambda ee: ee.ImageCollection([_byte(ee), _byte(ee), _zero(ee)]).reduce(ee.Reducer.sum())),
        value({"constant_sum": 10}),
    ),
    Probe(
        "types/months-in-seconds", "Is a sum of constants refused in reduceRegion?", "two-constants",
        first(lambda ee: ee.ImageCollection([ee.Image(2678400), ee.Image(2419200)]).sum()), _REFUSED,
    ),
    Probe(
        "types/quality-mosaic", "Does qualityMosaic() refuse a float after a byte?", "quality-mosaic",
        first(lambda ee: ee.ImageCollection([_byte(ee), ee.Image(0.5)]).qualityMosaic("constant")),
    ),
    Probe(
        "types/quality-mosaic-bands", "Does qualityMosaic() refuse an image with fewer bands?", "quality-mosaic",
        first(lambda ee: ee.ImageCollection([_bands("a", "b")(ee), _bands("a")(ee)]).qualityMosaic("a")),
    ),
    Probe(
        "types/quality-ties", "Which of two images of equal quality does qualityMosaic() take?", "quality-ties",
        first(
            lambda ee: ee.ImageCollection(
                [_bands("a", "b")(ee), _bands("a", "b")(ee).multiply([1, 3]).toByte()]
            ).qualityMosaic("a")
        ),
    ),
    Probe(
        "types/to-bands", "Does toBands() join images of other bands and types?", "to-bands",
        first(lambda ee: ee.ImageCollection([_bands("a", "b")(ee), ee.Image(0.5).rename("c")]).toBands()),
        value({"0_a": 1, "0_b": 2, "1_c": 0.5}),
    ),
    Probe(
        "types/to-array", "Does toArray() take a byte and a float?", "to-array",
        first(
            lambda ee: ee.ImageCollection([_byte(ee), ee.Image(0.5)]).toArray().arrayProject([0]).arrayFlatten(
                [["first", "second"]]
            )
        ),
    ),
    Probe(
        "types/to-array-per-band", "Does toArrayPerBand() refuse a float after a byte?", "to-array",
        first(
            lambda ee: ee.ImageCollection([_byte(ee), ee.Image(0.5)]).toArrayPerBand(0).arrayFlatten(
                [["first", "second"]]
            )
        ),
    ),
    Probe(
        "types/cast", "Does cast() add a missing band?", "cast-adds-bands",
        first(
            lambda ee: ee.ImageCollection([_bands("a", "b")(ee), _bands("a")(ee)])
            .cast({"a": "byte", "b": "byte"}, ["a", "b"])
            .mosaic()
        ),
        value({"a": 1, "b": 2}),
    ),
    Probe(
        "types/composite-bands", "Are names and types of a refused mosaic answered?", "lazy-check",
        info(lambda ee: _mosaic(_bands("a", "b"), _bands("a"))(ee).bandTypes()), _ACCEPTED,
    ),
    Probe(
        "types/printed-collection", "Is a mixed collection printed?", "lazy-check",
        info(lambda ee: ee.ImageCollection.fromImages([ee.Image(0), ee.Image(1), _bands("a", "b")(ee)])), _ACCEPTED,
    ),
    Probe(
        "types/merged", "Do merge() and sort() leave mixed collections alone?", "lazy-check",
        info(
            lambda ee: ee.ImageCollection([_byte(ee)]).merge(ee.ImageCollection([_bands("a")(ee)]))
            .sort("system:index").aggregate_array("system:index")
        ),
        value(["1_0", "2_0"]),
    ),
    Probe(
        "types/first-of-mixed", "Does first() leave a mixed collection alone?", "lazy-check",
        first(lambda ee: ee.ImageCollection([_byte(ee), _bands("a", "b")(ee)]).first()), value({"constant": 5}),
    ),
    Probe(
        "types/sampled", "Is sample() of a mixed mosaic refused?", "reducers-check",
        info(
            lambda ee: _mosaic(_zero, lambda ee: ee.Image(1))(ee).sample(
                ee.Geometry.Point([-105.1, 39.9]), 10, "EPSG:32613"
            )
        ),
        _REFUSED,
    ),
    Probe(
        "types/get-region", "What does getRegion() do with images of other bands?", "get-region-mixed",
        info(
            lambda ee: ee.ImageCollection([_bands("a", "b")(ee), _bands("a")(ee)]).getRegion(
                ee.Geometry.Point([-105.1, 39.9]), 10, "EPSG:32613"
            )
        ),
    ),
    Probe(
        "types/printed-types", "How are the types of bands printed?", "printed-types",
        info(
            lambda ee: ee.Image.cat(
                ee.Image(0).rename("zero"), ee.Image(7).rename("seven"), ee.Image(0.5).rename("half"),
                ee.Image(5).toByte().rename("byte"), ee.Image(5).toInt16().rename("short"),
                ee.Image(5).toUint16().rename("unsigned"), ee.Image(5).toInt32().rename("int"),
                ee.Image(5).toInt64().rename("long"), ee.Image(5).toFloat().rename("float"),
                ee.Image(5).toDouble().rename("double"), ee.Image(5).gt(0).rename("gt"),
                ee.Image(5).toByte().multiply(0.1).rename("scaled"), ee.Image(0).updateMask(0).rename("masked"),
                ee.Image.constant(ee.Number(1).float()).rename("number"),
            )
        ),
    ),
)  # fmt: skip

PROBES = (*_PAIRS, *_REDUCERS, *_OTHERS)
"""Probes of the types of collections."""
