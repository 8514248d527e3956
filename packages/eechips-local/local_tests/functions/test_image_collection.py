"""Image collections at each pixel: reductions, mosaics, stacks, links; numpy on the same layers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine

from eechips_local.evaluation.asset_model import ImageAsset
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.expression_evaluator import Evaluator
from eechips_local.pixels.grids.pixel_grid import PixelGrid, transformer
from eechips_local.pixels.lazy_image import Image
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.quota.compute_cost import COST, ComputeCost
from local_tests.support.graphs import Graph, Ready, invoke
from local_tests.support.images import Memory, asset, evaluate, read, stored

RANDOM = np.random.default_rng(21)
GRID = PixelGrid("EPSG:32613", Affine(100, 0, 500_000, 0, -100, 4_400_000), 8, 6)
COUNT = 7
VALUES = RANDOM.integers(0, 50, (COUNT, 2, 6, 8)).astype(np.int16)
VALID = RANDOM.random((COUNT, 2, 6, 8)) < 0.7
DAY = 86_400_000
IMAGES: list[ImageAsset] = [
    asset(VALUES[i], GRID, valid=VALID[i], names=["a", "b"], id=f"test/i{i}", properties={"system:time_start": i * DAY})
    for i in range(COUNT)
]
STACK = invoke("ImageCollection.fromImages", images=[stored(f"test/i{i}") for i in range(COUNT)])


def image(value: Any, graph: Graph | None = None) -> Image:
    found: Image = evaluate(value, *IMAGES, graph=graph)
    return found


def bands(value: Any) -> dict[str, np.ndarray]:
    """Values by band, NaN where masked."""
    made = image(value)
    pixels = read(made, GRID)
    return {
        band.name: np.where(
            p.valid.reshape(p.valid.shape + (1,) * (p.values.ndim - 2)), p.values.astype(np.float64), np.nan
        )
        for band, p in zip(made.bands, pixels, strict=True)
    }


def layers(band: int) -> np.ndarray:
    return np.where(VALID[:, band], VALUES[:, band].astype(np.float64), np.nan)


def ignoring(reduce: Any, stack: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return reduce(stack, axis=0)


class TestReductions:
    @pytest.mark.parametrize(
        ("name", "truth"),
        [
            ("mean", np.nanmean), ("min", np.nanmin), ("max", np.nanmax), ("median", np.nanmedian),
            ("stdDev", np.nanstd), ("variance", np.nanvar),
        ],
    )  # fmt: skip
    def test_against_numpy(self, name: str, truth: Any) -> None:
        found = bands(invoke("ImageCollection.reduce", collection=STACK, reducer=invoke(f"Reducer.{name}")))
        assert list(found) == [f"a_{name}", f"b_{name}"]
        for band, values in enumerate(found.values()):
            np.testing.assert_allclose(values, ignoring(truth, layers(band)))

    def test_shorthands_keep_the_names(self) -> None:
        for name, truth in (("max", np.nanmax), ("mean", np.nanmean)):
            found = bands(invoke(f"reduce.{name}", collection=STACK))
            assert list(found) == ["a", "b"]
            np.testing.assert_allclose(found["b"], ignoring(truth, layers(1)))
        counts = bands(invoke("reduce.count", collection=STACK))
        np.testing.assert_array_equal(counts["a"], VALID[:, 0].sum(axis=0))

    def test_a_pixel_without_values_is_masked(self) -> None:
        nothing = [asset(np.ones((6, 8)), GRID, valid=np.zeros((6, 8), dtype=bool), id=f"test/n{i}") for i in range(2)]
        empty = invoke("ImageCollection.fromImages", images=[stored("test/n0"), stored("test/n1")])
        for name, there in (("sum", False), ("mean", False), ("max", False), ("count", True)):
            made = evaluate(invoke(f"reduce.{name}", collection=empty), *nothing)
            assert read(made, GRID)[0].valid.all() == there

    def test_two_inputs(self) -> None:
        found = bands(invoke("ImageCollection.reduce", collection=STACK, reducer=invoke("Reducer.linearFit")))
        assert list(found) == ["scale", "offset"]
        there = VALID[:, 0, 2, 3] & VALID[:, 1, 2, 3]
        scale, offset = np.polyfit(VALUES[there, 0, 2, 3], VALUES[there, 1, 2, 3], 1)
        assert found["scale"][2, 3] == pytest.approx(scale)
        assert found["offset"][2, 3] == pytest.approx(offset)

    def test_regression_gives_arrays(self) -> None:
        """The loop of every trend tutorial: linearRegression, then arrayProject and arrayFlatten."""
        graph = Graph()
        with_one = graph.function(
            lambda i: invoke("Image.addBands", dstImg=invoke("Image.constant", value=1), srcImg=i), "i"
        )
        stack = invoke("Collection.map", collection=STACK, baseAlgorithm=with_one)
        made = invoke(
            "ImageCollection.reduce", collection=stack, reducer=invoke("Reducer.linearRegression", numX=2, numY=1)
        )
        coefficients, residuals = read(image(made, graph), GRID)
        assert coefficients.values.shape == (6, 8, 2, 1)
        assert residuals.values.shape == (6, 8, 1)
        there = VALID[:, 0, 2, 3] & VALID[:, 1, 2, 3]
        slope, offset = np.polyfit(VALUES[there, 0, 2, 3], VALUES[there, 1, 2, 3], 1)
        np.testing.assert_allclose(coefficients.values[2, 3].ravel(), [offset, slope])

    def test_types(self) -> None:
        def types(name: str) -> list[tuple[str, float | None]]:
            made = image(invoke("ImageCollection.reduce", collection=STACK, reducer=invoke(f"Reducer.{name}")))
            return [(band.type.precision, band.type.maximum) for band in made.bands[:1]]

        assert types("max") == [("int", 32767)]
        assert types("mean") == [("double", 32767)]
        assert types("anyNonZero") == [("int", 1)]
        with pytest.raises(InvalidError, match="not a number"):
            types("toList")

    def test_no_images(self) -> None:
        none = invoke("Collection.limit", collection=STACK, limit=0)
        assert image(invoke("reduce.mean", collection=none)).bands == ()
        assert image(invoke("ImageCollection.qualityMosaic", collection=none, qualityBand="a")).bands == ()


class TestComposites:
    def test_mosaic_is_the_last_on_top(self) -> None:
        found = bands(invoke("ImageCollection.mosaic", collection=STACK))
        expected = np.full((6, 8), np.nan)
        for layer in layers(0):
            expected = np.where(np.isnan(layer), expected, layer)
        np.testing.assert_array_equal(found["a"], expected)

    def test_quality_mosaic_takes_all_bands_of_the_best(self) -> None:
        found = bands(invoke("ImageCollection.qualityMosaic", collection=STACK, qualityBand="b"))
        quality = np.where(VALID[:, 1], VALUES[:, 1], -1)
        best = len(quality) - 1 - quality[::-1].argmax(axis=0)  # the last of several
        there = VALID[:, 1].any(axis=0)
        for band, name in enumerate("ab"):
            taken = np.take_along_axis(layers(band), best[None], axis=0)[0]
            np.testing.assert_array_equal(found[name], np.where(there, taken, np.nan))
        with pytest.raises(InvalidError, match="did not match any bands"):
            image(invoke("ImageCollection.qualityMosaic", collection=STACK, qualityBand="c"))

    def test_a_made_collection_keeps_the_indices_that_its_images_have(self) -> None:
        """As geedim's tests expect, which run against the service (``test_s2_image_get_mask_bands``)."""
        made = invoke("ImageCollection.fromImages", images=[stored("test/i2"), invoke("Image.constant", value=1)])
        found = evaluate(made, *IMAGES)
        assert [each.properties["system:index"] for each in found] == ["i2", "1"]

    def test_to_bands(self) -> None:
        made = image(invoke("ImageCollection.toBands", collection=STACK))
        assert [band.name for band in made.bands[:3]] == ["i0_a", "i0_b", "i1_a"]


class TestArrays:
    def full(self) -> tuple[list[ImageAsset], Ready]:
        images = [asset(VALUES[i], GRID, names=["a", "b"], id=f"test/f{i}") for i in range(3)]
        return images, invoke("ImageCollection.fromImages", images=[stored(f"test/f{i}") for i in range(3)])

    def test_to_array(self) -> None:
        images, stack = self.full()
        made = evaluate(invoke("ImageCollection.toArray", collection=stack), *images)
        (pixels,) = read(made, GRID)
        assert made.bands[0].name == "array"
        assert made.bands[0].type.dimensions == 2
        np.testing.assert_array_equal(pixels.values, np.moveaxis(VALUES[:3], (0, 1), (2, 3)))

    def test_to_array_drops_the_images_that_are_masked_in_any_band(self) -> None:
        array = invoke("ImageCollection.toArray", collection=STACK)
        found = bands(invoke("Image.arrayLength", input=array, axis=0))["array"]
        counts = VALID.all(axis=1).sum(axis=0)
        np.testing.assert_array_equal(found, np.where(counts > 0, counts, np.nan))

    def test_to_array_per_band(self) -> None:
        found = bands(invoke("ImageCollection.toArrayPerBand", collection=STACK))
        everywhere = VALID[:, 0].all(axis=0)
        assert found["a"].shape == (6, 8, COUNT)
        np.testing.assert_array_equal(found["a"][everywhere], np.moveaxis(VALUES[:, 0], 0, 2)[everywhere])
        assert np.isnan(found["a"][~everywhere]).all()
        with pytest.raises(InvalidError, match="axis"):
            image(invoke("ImageCollection.toArrayPerBand", collection=STACK, axis=1))


class TestBandsOfOthers:
    def cast(self, types: dict[str, str], order: list[str]) -> Image:
        made = invoke("ImageCollection.cast", collection=STACK, bandTypes=types, bandOrder=order)
        found: Image = next(iter(evaluate(made, *IMAGES)))
        return found

    def test_cast_adds_and_orders(self) -> None:
        types = {"b": "double", "c": "uint8", "a": "int8"}
        first = self.cast(types, ["c", "b", "a"])
        kinds = [(band.name, band.type.precision) for band in first.bands]
        assert kinds == [("c", "int"), ("b", "double"), ("a", "int")]
        empty, doubles, _ = read(first, GRID)
        assert not empty.valid.any()
        assert doubles.values.dtype == np.float64
        with pytest.raises(InvalidError, match="'b' is missing"):
            self.cast({"a": "int8"}, ["a"])
        with pytest.raises(InvalidError, match="bandOrder"):
            self.cast(types, ["a"])

    def test_combine_is_an_inner_join_by_index(self) -> None:
        some = invoke("Collection.limit", collection=STACK, limit=2)
        found = list(evaluate(invoke("ImageCollection.combine", primary=STACK, secondary=some), *IMAGES))
        assert [[band.name for band in i.bands] for i in found] == [["a", "b", "a_1", "b_1"]] * 2
        over = list(evaluate(invoke("ImageCollection.combine", primary=STACK, secondary=some, overwrite=True), *IMAGES))
        assert [[band.name for band in i.bands] for i in over] == [["a", "b"]] * 2

    def link(self, **more: Any) -> Image:
        others = [
            asset(np.full((6, 8), 9, np.uint8), GRID, names=["cloud"], id="other/i2", properties={"score": 5}),
            asset(np.full((6, 8), 7, np.uint8), GRID, names=["cloud"], id="other/i3", properties={"score": 6}),
        ]
        graph = Graph()
        named = graph.function(
            lambda i: invoke(
                "Element.set", object=i, key="scene", value=invoke("Element.get", object=i, property="score")
            ),
            "i",
        )
        made = invoke("ImageCollection.fromImages", images=[stored("other/i2"), stored("other/i3")])
        collection = invoke("Collection.map", collection=made, baseAlgorithm=named)
        source = invoke("Element.set", object=stored("test/i2"), key="scene", value=more.pop("scene", 6))
        found: Image = evaluate(
            invoke("Image.linkCollection", input=source, imageCollection=collection, matchPropertyName="scene", **more),
            *IMAGES, *others, graph=graph,
        )  # fmt: skip
        return found

    def test_links(self) -> None:
        linked = self.link(linkedBands=["cloud"], linkedProperties="score")
        assert [band.name for band in linked.bands] == ["a", "b", "cloud"]
        assert linked.properties["score"] == 6
        assert (read(linked, GRID)[2].values == 7).all()
        assert linked.properties["system:index"] == "i2"

    def test_without_a_match_bands_are_masked(self) -> None:
        lost = self.link(scene=99, linkedBands="cloud", linkedProperties=["score"])
        assert [band.name for band in lost.bands] == ["a", "b", "cloud"]
        assert not read(lost, GRID)[2].valid.any()
        assert "score" not in lost.properties


class TestGetRegion:
    def region(self, coordinates: Sequence[Any]) -> list[Any]:
        points = invoke("GeometryConstructors.MultiPoint", coordinates=list(coordinates))
        found: list[Any] = evaluate(
            invoke("ImageCollection.getRegion", collection=STACK, geometry=points, scale=100, crs="EPSG:32613"), *IMAGES
        )
        return found

    def lonlat(self, column: float, row: float) -> tuple[float, float]:
        x, y = GRID.transform * (column, row)
        return transformer(GRID.crs, "EPSG:4326").transform(x, y)

    def test_rows(self) -> None:
        table = self.region([self.lonlat(2.4, 3.6), self.lonlat(5.5, 1.5)])
        assert table[0] == ["id", "longitude", "latitude", "time", "a", "b"]
        assert len(table) == 1 + 2 * COUNT
        # Rows of a plain CRS at a scale go up, as ee.Projection('EPSG:4326').atScale(10) shows: the south comes first.
        for pixel, (column, row) in enumerate([(2, 3), (5, 1)]):
            for index in range(COUNT):
                row_id, longitude, latitude, time, a, b = table[1 + pixel * COUNT + index]
                assert (row_id, time) == (f"i{index}", index * DAY)
                assert (longitude, latitude) == pytest.approx(self.lonlat(column + 0.5, row + 0.5), abs=1e-9)
                values, valid = VALUES[index, :, row, column], VALID[index, :, row, column]
                assert [a, b] == [int(v) if ok else None for v, ok in zip(values, valid, strict=True)]

    def test_images_beside_the_region_have_no_rows(self) -> None:
        assert len(self.region([(0, 0)])) == 1

    def test_images_that_follow_from_those_before_are_computed_once(self) -> None:
        def double(value: Any) -> Ready:
            return invoke("Image.toDouble", value=value)

        graph = Graph()
        step = graph.function(
            lambda item, sums: invoke(
                "List.add",
                list=sums,
                element=double(invoke("Image.add", image1=item, image2=invoke("List.get", list=sums, index=-1))),
            ),
            "item",
            "sums",
        )
        sums = invoke("Collection.iterate", collection=STACK, function=step, first=[double(stored("test/i0"))])
        series = invoke("ImageCollection.fromImages", images=sums)
        point = invoke("GeometryConstructors.Point", coordinates=list(self.lonlat(2.4, 3.6)))
        token = COST.set(cost := ComputeCost())
        try:
            table = evaluate(
                invoke("ImageCollection.getRegion", collection=series, geometry=point, scale=100, crs="EPSG:32613"),
                *IMAGES,
                graph=graph,
            )
        finally:
            COST.reset(token)
        running = [VALUES[0, 0, 3, 2] + VALUES[:index, 0, 3, 2].sum() for index in range(COUNT + 1)]
        known = np.logical_and.accumulate(np.r_[VALID[0, 0, 3, 2], VALID[:, 0, 3, 2]])
        assert [row[4] for row in table[1:]] == [int(v) if ok else None for v, ok in zip(running, known, strict=True)]
        assert cost.pixels <= 2 * (3 * COUNT + 2)  # two bands: of each image, of its sum, and of the sum as a double

    def test_the_documented_region_takes_two_pixels(self) -> None:
        """ee_imagecollection_getregion.py: a rectangle that intersects 2 image pixels at 30 m scale in EPSG:4326."""
        box = invoke("GeometryConstructors.BBox", west=-90.496353, south=34.851971, east=-90.495749, north=34.852197)
        ones = invoke("ImageCollection.fromImages", images=[invoke("Image.constant", value=1)] * 5)
        table = evaluate(
            invoke("ImageCollection.getRegion", collection=ones, geometry=box, scale=30, crs="EPSG:4326"), *IMAGES
        )
        assert len(table) == 11

    @pytest.mark.slow
    def test_too_many_values(self) -> None:
        box = invoke("GeometryConstructors.BBox", west=-105, south=39, east=-104, north=40)
        one = invoke("ImageCollection.fromImages", images=[invoke("Image.constant", value=1)])
        with pytest.raises(InvalidError, match=r"Too many values: \d+ points x 1 bands x 1 images > 1048576"):
            evaluate(invoke("ImageCollection.getRegion", collection=one, geometry=box, scale=30, crs="EPSG:4326"))

    def test_bands_must_agree(self) -> None:
        mixed = invoke("ImageCollection.fromImages", images=[stored("test/i0"), invoke("Image.constant", value=1)])
        point = invoke("GeometryConstructors.Point", coordinates=[0, 0])
        with pytest.raises(InvalidError, match="Expected a homogeneous image collection"):
            evaluate(
                invoke("ImageCollection.getRegion", collection=mixed, geometry=point, scale=30, crs="EPSG:4326"),
                *IMAGES,
            )


def test_images_of_a_stored_collection_are_narrowed_to_the_grid() -> None:
    """A composite over a small grid asks the store for the images there, not for all of them."""

    class Tiles:
        id = "test/tiles"
        properties: Mapping[str, Any] = {}

        def __init__(self) -> None:
            self.bounds: list[Any] = []

        def images(self, query: Any) -> Any:
            self.bounds.append(query.bounds)
            for item in IMAGES:
                if query.bounds is None or item.footprint.intersects(shapely.box(*query.bounds)):
                    yield item

    tiles = Tiles()

    class Store:
        def get(self, asset_id: str) -> Any:
            return tiles

        def children(self, parent: str) -> tuple[str, ...]:
            return ()

        def describe(self) -> Mapping[str, Any]:
            return {}

    made = invoke("reduce.mean", collection=invoke("ImageCollection.load", id="test/tiles"))
    found = Evaluator(Graph().expression(made), Context(Store())).evaluate()
    read(found, GRID)
    assert tiles.bounds[-1] is not None
    west, south, east, north = tiles.bounds[-1]
    assert east - west < 0.1
    assert north - south < 0.1


@pytest.mark.parametrize("stack", [256 << 20, 1])
def test_a_reduction_reads_the_images_of_one_projection_after_each_other(
    monkeypatch: pytest.MonkeyPatch, stack: int
) -> None:
    """Dates of two tiles alternate; what is drawn of a tile, and where its pixels lie, serve all of its dates."""
    monkeypatch.setattr("eechips_local.pixels.composite._STACK", stack)
    reads: list[int] = []

    class Noted(Memory):
        def __init__(self, number: int) -> None:
            super().__init__(np.full((6, 8), number, dtype=np.uint8))
            self.number = number

        def read(self, bands: Sequence[int], window: Any, level: int) -> Any:
            reads.append(self.number)
            return super().read(bands, window, level)

    east = PixelGrid(GRID.crs, Affine(100, 0, 500_100, 0, -100, 4_400_000), 8, 6)
    tiles = []
    for number in range(6):
        tile = asset(np.zeros((6, 8), dtype=np.uint8), east if number % 2 else GRID, id=f"test/t{number}")
        info = replace(tile.bands[0], source=Noted(number))
        tiles.append(replace(tile, bands=(info,)))
    collection = invoke("ImageCollection.fromImages", images=[stored(tile.id) for tile in tiles])
    for reducer, expected in (("first", 0), ("last", 5), ("median", 2.5)):
        reads.clear()
        call = invoke("ImageCollection.reduce", collection=collection, reducer=invoke(f"Reducer.{reducer}"))
        (pixels,) = read(evaluate(call, *tiles), GRID)
        assert reads == [0, 2, 4, 1, 3, 5]
        assert pixels.values[3, 4] == expected
