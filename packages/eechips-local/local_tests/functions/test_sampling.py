"""Pixels and points drawn from images and regions: where they lie, what they hold, and that draws are repeatable."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

from eechips_local.evaluation.asset_model import ImageAsset
from eechips_local.functions.vectors.random_points import random_points
from eechips_local.pixels.grids.pixel_grid import PixelGrid, transformer
from eechips_local.protocol.request_errors import InvalidError, LimitError
from eechips_local.values.randomness import normal, random_words, uniform
from eechips_local.values.values import Feature, Geometry
from local_tests.support.graphs import Ready, invoke
from local_tests.support.images import asset, evaluate, read, stored

RANDOM = np.random.default_rng(8)
GRID = PixelGrid("EPSG:32613", Affine(100, 0, 500_000, 0, -100, 4_400_000), 40, 30)
VALUES = np.stack([RANDOM.integers(0, 4, (30, 40)), np.arange(1200).reshape(30, 40)]).astype(np.int16)
VALID = np.stack([np.ones((30, 40), dtype=bool), RANDOM.random((30, 40)) < 0.8])
IMAGE = asset(VALUES, GRID, valid=VALID, names=["zone", "place"], properties={"a": 1, "system:time_start": 5})


def rectangle(left: float, top: float, right: float, bottom: float) -> Ready:
    """A planar rectangle given in pixels."""
    (west, north), (east, south) = (GRID.transform * corner for corner in ((left, top), (right, bottom)))
    ring = [[west, south], [east, south], [east, north], [west, north]]
    return invoke(
        "GeometryConstructors.Polygon", coordinates=[ring], geodesic=False, crs=invoke("Projection", crs=GRID.crs)
    )


ALL = rectangle(0, 0, 40, 30)


def features(name: str, source: ImageAsset = IMAGE, **arguments: Any) -> list[Feature]:
    found: list[Feature] = list(evaluate(invoke(name, image=stored(), **arguments), source))
    return found


def places(found: list[Feature]) -> list[int]:
    return [f.properties["place"] for f in found]


class TestRandomNumbers:
    def test_random_words_never_change(self) -> None:
        """Samples of published runs depend on these numbers: they may never change. The first are SplitMix64's own."""
        assert random_words(7, np.arange(2)).tolist() == [7191089600892374487, 309689372594955804]
        assert random_words(-1, 3, 5).tolist() == [15690421696435646790]

    def test_random_words_do_not_depend_on_other_elements(self) -> None:
        rows, columns = np.arange(5)[:, None], np.arange(7)[None, :]
        table = random_words(3, rows, columns)
        assert table.shape == (5, 7)
        assert table[2, 4] == random_words(3, 2, 4)[0]
        assert len(np.unique(table)) == 35

    def test_random_numbers_are_uniform_or_normal(self) -> None:
        numbers = uniform(random_words(1, np.arange(100_000)))
        assert ((numbers >= 0) & (numbers < 1)).all()
        counts = np.histogram(numbers, 50, (0, 1))[0]
        # Chi-squared with 49 degrees of freedom exceeds 94 once in 10,000 times.
        assert ((counts - 2000) ** 2 / 2000).sum() < 94
        bell = normal(random_words(1, np.arange(50_000), 0), random_words(1, np.arange(50_000), 1))
        assert abs(bell.mean()) < 0.02
        assert abs(bell.std() - 1) < 0.02


class TestRandomPoints:
    def points(self, shape: shapely.Geometry, count: int, seed: int = 0, **more: Any) -> np.ndarray:
        drawn = random_points(Geometry(shape, **more), seed, 100)
        return np.array([next(drawn) for _ in range(count)])

    def test_inside_and_repeatable(self) -> None:
        holed = shapely.Point(10, 45).buffer(3).difference(shapely.Point(10, 45).buffer(2))
        parts = shapely.MultiPolygon([holed, shapely.box(-170, -80, -169.99, -79.99)])
        found = self.points(parts, 500)
        assert shapely.contains_xy(parts, found[:, 0], found[:, 1]).all()
        np.testing.assert_array_equal(found[:50], self.points(parts, 50))
        assert not np.array_equal(found[:50], self.points(parts, 50, seed=1))

    def test_uniform_on_the_sphere(self) -> None:
        """As many points in each band of latitude as its area on the sphere has it."""
        found = self.points(shapely.box(-20, 0, 40, 80), 20_000)
        edges = np.linspace(0, 80, 9)
        counts = np.histogram(found[:, 1], edges)[0]
        share = np.diff(np.sin(np.radians(edges))) / np.sin(np.radians(80))
        # Chi-squared with 7 degrees of freedom exceeds 30 once in 10,000 times.
        assert ((counts - 20_000 * share) ** 2 / (20_000 * share)).sum() < 30

    def test_parts_by_their_area(self) -> None:
        parts = shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(100, 59, 102, 60)])
        geod = Geod(ellps="sphere")
        areas = [abs(geod.geometry_area_perimeter(p)[0]) for p in parts.geoms]
        found = self.points(parts, 20_000)
        assert (found[:, 0] < 50).mean() == pytest.approx(areas[0] / sum(areas), abs=0.015)

    def test_thin_regions_are_quick(self) -> None:
        sliver = shapely.Polygon([(0, 0), (60, 60), (60, 60.001), (0, 0.001)])
        assert shapely.contains_xy(sliver, *self.points(sliver, 200).T).all()

    def test_lines_by_length_points_by_turn(self) -> None:
        line = shapely.MultiLineString([[(0, 0), (3, 0)], [(10, 0), (11, 0)]])
        found = self.points(line, 2000)
        assert (found[:, 0] < 5).mean() == pytest.approx(0.75, abs=0.05)
        mixed = shapely.GeometryCollection([line, shapely.Point(50, 50)])
        assert not (self.points(mixed, 100)[:, 0] == 50).any()
        dots = shapely.MultiPoint([(1, 2), (3, 4)])
        assert Counter(map(tuple, self.points(dots, 100).tolist())).keys() == {(1.0, 2.0), (3.0, 4.0)}

    def test_across_the_antimeridian(self) -> None:
        found = self.points(shapely.box(170, -5, 190, 5), 300)
        assert ((found[:, 0] >= -180) & (found[:, 0] < 180)).all()
        assert ((found[:, 0] > 170) | (found[:, 0] < -170)).all()

    def test_through_the_graph(self) -> None:
        region = invoke("GeometryConstructors.Rectangle", coordinates=[-105, 39, -104, 40])
        found = list(evaluate(invoke("FeatureCollection.randomPoints", region=region, points=7000, seed=2)))
        assert len(found) == 7000
        assert [f.properties for f in found[:2]] == [{"system:index": "0"}, {"system:index": "1"}]
        with pytest.raises(LimitError):
            evaluate(invoke("FeatureCollection.randomPoints", region=region, points=10**9))
        nowhere = invoke("GeometryConstructors.MultiPoint", coordinates=[])
        with pytest.raises(InvalidError, match="empty"):
            evaluate(invoke("FeatureCollection.randomPoints", region=nowhere))


class TestSample:
    def test_every_pixel_of_a_region(self) -> None:
        found = features("Image.sample", region=rectangle(3, 4, 8, 7))
        expected = [
            int(VALUES[1, row, column]) for row in range(4, 7) for column in range(3, 8) if VALID[1, row, column]
        ]
        assert places(found) == expected
        assert found[0].geometry is None
        everything = features("Image.sample", region=rectangle(3, 4, 8, 7), dropNulls=False)
        assert len(everything) == 15
        assert sum("place" not in f.properties for f in everything) == 15 - len(expected)

    def test_the_documented_region(self) -> None:
        """ee_image_sample.py: without a scale there is a feature for every pixel of the image's own."""
        assert len(features("Image.sample", region=ALL)) == VALID[1].sum()

    def test_geometries_are_centres(self) -> None:
        found = features("Image.sample", region=ALL, geometries=True)
        to_grid = transformer("EPSG:4326", GRID.crs)
        for feature in found[:50]:
            assert feature.geometry is not None
            column, row = ~GRID.transform * to_grid.transform(feature.geometry.shape.x, feature.geometry.shape.y)
            place = feature.properties["place"]
            assert (column, row) == (
                pytest.approx(place % 40 + 0.5, abs=1e-6),
                pytest.approx(place // 40 + 0.5, abs=1e-6),
            )

    def test_a_part(self) -> None:
        some = features("Image.sample", region=ALL, numPixels=100, dropNulls=False, seed=4)
        assert len(some) == 100
        more = features("Image.sample", region=ALL, numPixels=400, dropNulls=False, seed=4)
        assert {f.properties.get("place") for f in some} <= {f.properties.get("place") for f in more}
        part = features("Image.sample", region=ALL, factor=0.25, dropNulls=False)
        assert 230 < len(part) < 370
        assert places(features("Image.sample", region=ALL, seed=1, factor=0.1)) != places(
            features("Image.sample", region=ALL, seed=2, factor=0.1)
        )
        with pytest.raises(InvalidError, match="both"):
            features("Image.sample", region=ALL, factor=0.5, numPixels=5)

    def test_a_few_pixels_of_a_huge_region(self) -> None:
        """A state at a metre has 10^11 pixels: they are not looked at one by one."""
        region = invoke("GeometryConstructors.Rectangle", coordinates=[-109, 37, -102, 41])
        image = invoke("Image.constant", value=3)
        found = list(
            evaluate(invoke("Image.sample", image=image, region=region, scale=1, numPixels=500, geometries=True))
        )
        assert len(found) == 500
        assert len({f.geometry.shape.wkb for f in found}) == 500
        assert all(-109 < f.geometry.shape.x < -102 and 37 < f.geometry.shape.y < 41.1 for f in found)


class TestStratifiedSample:
    def test_stratified_samples_have_the_requested_count_of_each_class(self) -> None:
        found = features("Image.stratifiedSample", numPoints=20, classBand="zone", region=ALL)
        assert Counter(f.properties["zone"] for f in found) == dict.fromkeys(range(4), 20)
        assert len(set(places(found))) == 80
        for feature in found:
            assert VALUES[0].ravel()[feature.properties["place"]] == feature.properties["zone"]
        assert [f.properties["system:index"] for f in found] == [str(i) for i in range(80)]

    def test_all_where_there_are_fewer(self) -> None:
        found = features("Image.stratifiedSample", numPoints=10**6, region=ALL)
        assert len(found) == VALID[1].sum()
        nulls = features("Image.stratifiedSample", numPoints=10**6, region=ALL, dropNulls=False)
        assert len(nulls) == 1200

    def test_classes_of_their_own_sizes(self) -> None:
        found = features(
            "Image.stratifiedSample", numPoints=0, region=ALL, classValues=[1, 3, 9], classPoints=[5, 7, 2]
        )
        assert Counter(f.properties["zone"] for f in found) == {1: 5, 3: 7}
        with pytest.raises(InvalidError, match="same size"):
            features("Image.stratifiedSample", numPoints=0, region=ALL, classValues=[1])

    def test_seeds(self) -> None:
        first = places(features("Image.stratifiedSample", numPoints=5, region=ALL, seed=1))
        assert first == places(features("Image.stratifiedSample", numPoints=5, region=ALL, seed=1))
        assert first != places(features("Image.stratifiedSample", numPoints=5, region=ALL, seed=2))

    def test_refusals(self) -> None:
        with pytest.raises(InvalidError, match="did not match any bands"):
            features("Image.stratifiedSample", numPoints=5, classBand="nothing", region=ALL)
        # Code 56155825210: whole numbers in a band of floats were refused, too, until they were cast.
        for value in (0.5, 1.0):
            floats = asset(np.full((30, 40), value, dtype=np.float32), GRID)
            with pytest.raises(InvalidError, match="integer typed"):
                features("Image.stratifiedSample", floats, numPoints=5, region=ALL)


class TestSampleRegions:
    def regions(self) -> Ready:
        rows = [(rectangle(3, 4, 8, 7), {"name": "a", "size": 1}), (rectangle(20, 20, 20.2, 20.2), {"name": "none"})]
        x, y = transformer(GRID.crs, "EPSG:4326").transform(*(GRID.transform * (10.1, 10.9)))
        rows.append((invoke("GeometryConstructors.Point", coordinates=[x, y]), {"name": "point"}))
        return invoke("Collection", features=[invoke("Feature", geometry=g, metadata=m) for g, m in rows])

    def test_a_feature_for_each_pixel(self) -> None:
        found = features("Image.sampleRegions", collection=self.regions(), geometries=True)
        inside = [f for f in found if f.properties["name"] == "a"]
        expected = [
            int(VALUES[1, row, column]) for row in range(4, 7) for column in range(3, 8) if VALID[1, row, column]
        ]
        assert places(inside) == expected
        assert inside[2].properties["system:index"] == "0_2"
        assert inside[0].properties["size"] == 1
        assert all(f.geometry is not None for f in found)
        assert [f.properties["place"] for f in found if f.properties["name"] == "point"] == [410]
        assert not [f for f in found if f.properties["name"] == "none"]

    def test_properties(self) -> None:
        found = features("Image.sampleRegions", collection=self.regions(), properties=["size"])
        assert set(found[0].properties) == {"size", "zone", "place", "system:index"}

    def test_the_documented_rectangles_hold_36_pixels(self) -> None:
        """ee_image_sampleregions.py: "each intersecting 36 pixels at 10 m scale" of a Sentinel-2 image."""
        boxes = [
            [-122.50620929, 37.76502806, -122.50552264, 37.76556663],
            [-122.50530270, 37.76565568, -122.50460533, 37.76619425],
        ]
        grid = PixelGrid("EPSG:32610", Affine(10, 0, 499_980, 0, -10, 4_200_000), 10_980, 10_980)
        image = asset(np.ones((1, 1), dtype=np.uint8), PixelGrid(grid.crs, grid.transform, 1, 1))
        whole = invoke("Image.unmask", input=stored(), sameFootprint=False)
        rows = [
            invoke("Feature", geometry=invoke("GeometryConstructors.Rectangle", coordinates=b), metadata={"id": i})
            for i, b in enumerate(boxes)
        ]
        found = evaluate(
            invoke("Image.sampleRegions", image=whole, collection=invoke("Collection", features=rows), scale=10), image
        )
        assert Counter(f.properties["id"] for f in found) == {0: 36, 1: 36}


class TestSampleRectangle:
    def rectangle(self, band: str, **more: Any) -> Feature:
        chosen = invoke("Image.select", input=stored(), bandSelectors=[band])
        found: Feature = evaluate(invoke("Image.sampleRectangle", image=chosen, **more), IMAGE)
        return found

    def test_pixels_as_arrays(self) -> None:
        found = self.rectangle("zone", region=rectangle(3, 4, 8, 7))
        np.testing.assert_array_equal(found.properties["zone"].values, VALUES[0, 4:7, 3:8])
        assert found.properties["a"] == 1
        assert "system:time_start" not in found.properties
        whole = self.rectangle("zone", properties=[])
        assert whole.properties["zone"].values.shape == (30, 40)

    def test_masked_pixels_need_a_default(self) -> None:
        with pytest.raises(InvalidError, match="default value"):
            self.rectangle("place", region=ALL)
        found = self.rectangle("place", region=ALL, defaultValue=-9)
        np.testing.assert_array_equal(found.properties["place"].values, np.where(VALID[1], VALUES[1], -9))

    def test_too_many(self) -> None:
        with pytest.raises(InvalidError, match="must be <= 262144"):
            self.rectangle("zone", region=rectangle(0, 0, 600, 600), defaultValue=0)


class TestReduceToImage:
    def image(self, reducer: str, *rows: tuple[Ready, dict[str, Any]], properties: tuple[str, ...] = ("v",)) -> Any:
        table = invoke("Collection", features=[invoke("Feature", geometry=g, metadata=m) for g, m in rows])
        made = invoke(
            "Collection.reduceToImage", collection=table, properties=list(properties), reducer=invoke(reducer)
        )
        image = evaluate(made)
        return image, read(image, GRID)

    def test_every_feature_that_meets_a_pixel(self) -> None:
        left, right = rectangle(0, 0, 10.5, 30), rectangle(10.2, 0, 20, 30)
        image, (total,) = self.image("Reducer.sum", (left, {"v": 1}), (right, {"v": 10}), (ALL, {"v": None}))
        assert [band.name for band in image.bands] == ["sum"]
        assert total.values[5, [0, 9, 10, 15]].tolist() == [1, 1, 11, 10]
        assert total.valid[5, 19]
        assert not total.valid[5, 25]

    def test_points_and_outputs(self) -> None:
        dots = [(shapely.Point(*(GRID.transform * (3.2 + i / 10, 4.5))), i) for i in range(5)]
        rows = [
            (
                invoke(
                    "GeometryConstructors.Point", coordinates=[dot.x, dot.y], crs=invoke("Projection", crs=GRID.crs)
                ),
                {"v": i},
            )
            for dot, i in dots
        ]
        image, (low, high) = self.image("Reducer.minMax", *rows)
        assert [band.name for band in image.bands] == ["min", "max"]
        assert (low.values[4, 3], high.values[4, 3]) == (0, 4)
        assert low.valid.sum() == 1

    def test_properties_must_be_numbers_and_fit_the_reducer(self) -> None:
        with pytest.raises(InvalidError, match="must be a number"):
            self.image("Reducer.first", (ALL, {"v": "x"}))
        with pytest.raises(InvalidError, match="Need 1 properties"):
            self.image("Reducer.first", (ALL, {"v": 1}), properties=("v", "w"))


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 40), st.floats(0, 30), st.floats(0.01, 12)), min_size=1, max_size=6))
def test_a_pixel_holds_the_sum_of_the_discs_that_meet_it(discs: list[tuple[float, float, float]]) -> None:
    shapes = [shapely.Point(*(GRID.transform * (x, y))).buffer(100 * radius, 8) for x, y, radius in discs]
    rows = [
        invoke(
            "Feature",
            geometry=invoke(
                "GeometryConstructors.Polygon", coordinates=[np.asarray(s.exterior.coords).tolist()], geodesic=False,
                crs=invoke("Projection", crs=GRID.crs),
            ),
            metadata={"v": 2**i},
        )
        for i, s in enumerate(shapes)
    ]  # fmt: skip
    made = invoke(
        "Collection.reduceToImage", collection=invoke("Collection", features=rows), properties=["v"],
        reducer=invoke("Reducer.sum"),
    )  # fmt: skip
    (found,) = read(evaluate(made), GRID)
    columns, rows_ = np.meshgrid(np.arange(40), np.arange(30))
    west, north = GRID.transform * (columns, rows_)
    cells, inner = (
        shapely.box(west, north - 100, west + 100, north),
        shapely.box(west + 1, north - 99, west + 99, north - 1),
    )
    sure = sum(2**i * shapely.intersects(s, inner) for i, s in enumerate(shapes))
    least = sum(2**i * shapely.intersects(s, cells) for i, s in enumerate(shapes))
    clear = sure == least
    np.testing.assert_array_equal(np.where(found.valid, found.values, 0)[clear], sure[clear])
