"""Reductions over regions: exactextract and numpy on the same pixels, and the documented rules of inclusion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize

from eechips_local import reducers as r
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.functions.neighborhoods.image_vectors import segments
from eechips_local.geometry.map_projection import Projection
from eechips_local.pixels.grids import region_pixels
from eechips_local.pixels.grids.area_fractions import cell_areas, fractions
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.grids.region_pixels import Lattice, PixelRegion, RegionPixels
from eechips_local.pixels.grids.region_reduction import reduce_region, reduce_regions
from eechips_local.pixels.grids.sampled_pixels import gather
from eechips_local.pixels.lazy_image import Image
from eechips_local.pixels.stored_image import stored_image
from eechips_local.protocol.request_errors import InvalidError, LimitError
from eechips_local.reducers import Reducer
from eechips_local.values.values import Array, Feature, Geometry
from local_tests.support.graphs import Ready, invoke
from local_tests.support.images import UTM, Store, asset, evaluate, stored
from local_tests.support.region_weights import counted, is_sure, moments

RANDOM = np.random.default_rng(3)
GRID = PixelGrid("EPSG:32613", Affine(100, 0, 500_000, 0, -100, 4_400_000), 60, 50)
LATTICE = Projection(GRID.crs, GRID.transform)
VALUES = RANDOM.integers(1, 200, (2, 50, 60)).astype(np.int16)
VALID = RANDOM.random((2, 50, 60)) < 0.9
IMAGE = asset(VALUES, GRID, valid=VALID)
METRES = {"type": "name", "properties": {"name": "EPSG:32613"}}


def context(**limits: Any) -> Context:
    return Context(Store(IMAGE), ServiceLimits(**limits))


def lattice(most: int = 10**7) -> Lattice:
    return Lattice(LATTICE, most)


def metres(shape: shapely.Geometry) -> Geometry:
    return Geometry(shape, Projection("EPSG:32613"))


def over(shape: shapely.Geometry, reducer: Reducer, image: Image | None = None) -> Mapping[str, Any]:
    return reduce_region(context(), image or stored_image(IMAGE), reducer, metres(shape), lattice())


def box(column: float, row: float, width: float, height: float) -> shapely.Polygon:
    """A rectangle given in pixels."""
    corners = [GRID.transform * c for c in ((column, row), (column + width, row + height))]
    return shapely.box(corners[0][0], corners[1][1], corners[1][0], corners[0][1])


@st.composite
def polygons(draw: st.DrawFn) -> shapely.Geometry:
    """Polygons in and around the image: stars, some with a hole, some of two parts."""
    shapes = []
    for _ in range(draw(st.integers(1, 2))):
        x, y = draw(st.floats(499_000, 507_000)), draw(st.floats(4_394_000, 4_401_000))
        radii = draw(st.lists(st.floats(20, 2500), min_size=3, max_size=8))
        angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
        ring = np.column_stack([x + np.multiply(radii, np.cos(angles)), y + np.multiply(radii, np.sin(angles))])
        star = shapely.make_valid(shapely.Polygon(ring))
        if draw(st.booleans()):
            star = star.difference(shapely.Point(x, y).buffer(min(radii) / 2))
        shapes.append(star)
    whole = shapely.union_all(shapes)
    parts = [p for p in shapely.get_parts(whole) if p.geom_type == "Polygon"]
    return shapely.MultiPolygon(parts) if len(parts) > 1 else parts[0]


@given(polygons())
def test_weighted_reductions_equal_exactextract(shape: shapely.Geometry) -> None:
    source = NumPyRasterSource(
        np.where(VALID[0], VALUES[0], np.nan), xmin=500_000, ymin=4_395_000, xmax=506_000, ymax=4_400_000, nodata=np.nan
    )
    feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)}
    (found,) = exact_extract(source, [feature], ["values", "coverage"])
    if not is_sure(found["properties"]["coverage"]):
        return
    weights = counted(found["properties"]["coverage"])
    if not weights.any():
        assert over(shape, r.MEAN) == {"B1": None, "B2": over(shape, r.MEAN)["B2"]}
        return
    truth = moments(found["properties"]["values"], weights)
    for name, reducer in (("mean", r.MEAN), ("sum", r.SUM), ("variance", r.VARIANCE), ("stdDev", r.STD_DEV)):
        # exactextract keeps fractions in 32 bits.
        assert over(shape, reducer)["B1"] == pytest.approx(truth[name], rel=1e-4, abs=1e-2)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(polygons())
def test_unweighted_reductions_take_the_pixels_whose_centres_lie_inside(shape: shapely.Geometry) -> None:
    columns, rows = np.meshgrid(np.arange(60) + 0.5, np.arange(50) + 0.5)
    x, y = GRID.transform * (columns, rows)
    # A centre on the edge may go either way.
    near = shapely.dwithin(shapely.boundary(shape), shapely.points(x, y), 1e-6)
    inside = shapely.contains_xy(shape, x, y)
    if near.any():
        return
    held = VALUES[1][inside & VALID[1]]
    assert over(shape, r.COUNT)["B2"] == len(held)
    found = over(shape, r.combine(r.MIN_MAX, r.unweighted(r.MEAN), shared=True))
    if len(held):
        assert found["B2_min"] == held.min()
        assert found["B2_max"] == held.max()
        assert found["B2_mean"] == pytest.approx(held.mean())
    else:
        assert found["B2_min"] is None
        assert found["B2_mean"] is None


@given(st.lists(st.one_of(polygons(), st.just(None)), min_size=1, max_size=6))
def test_many_regions_together_equal_one_after_the_other(shapes: list[shapely.Geometry | None]) -> None:
    reducer = r.combine(r.combine(r.MEAN, r.MEDIAN, shared=True), r.combine(r.COUNT, r.SUM, shared=True), shared=True)
    image = stored_image(IMAGE)
    found = list(reduce_regions(context(), image, reducer, [s and metres(s) for s in shapes], lattice()))
    for shape, results in zip(shapes, found, strict=True):
        if shape is None:
            assert results == [None, None, 0, 0] * 2
        else:
            assert results == pytest.approx(list(over(shape, reducer).values()))


@pytest.mark.parametrize("reverse", [False, True])
def test_areas_of_cells_are_those_of_their_intersections(reverse: bool) -> None:
    """Of parts with a hole, on lines of the grid, and beyond the grid on all sides, with rings in either direction."""
    shapes = [
        shapely.Point(6.3, 5.2).buffer(4.7).difference(shapely.Point(7.0, 5.0).buffer(2.2)),
        shapely.box(12, 3, 15, 6.5),
        shapely.box(-1e6, 10.25, 1e7, 11.5),
        shapely.Polygon([(16.5, -7), (30, 4.5), (16.5, 8)]),
        shapely.Polygon([(-3, -3), (2, -3), (-3, 2.9)]),
    ]
    whole = shapely.MultiPolygon([shapely.reverse(shape) if reverse else shape for shape in shapes])
    rows, columns = np.indices((12, 18))
    expected = shapely.area(shapely.intersection(shapely.box(columns, rows, columns + 1, rows + 1), whole))
    np.testing.assert_allclose(cell_areas(whole, (12, 18)), counted(expected), rtol=0, atol=1e-12)


@pytest.mark.slow
def test_cells_on_a_long_coast_are_cut_as_by_the_whole_of_it() -> None:
    turns = np.linspace(0.0, 2.0 * np.pi, 3000, endpoint=False)
    radius = 40.0 * (1.0 + 0.05 * np.sin(turns * 200.0))
    coast = shapely.Polygon(np.stack([50.0 + radius * np.cos(turns), 50.0 + radius * np.sin(turns)], axis=1))
    shapely.prepare(coast)
    rows, columns = (part.ravel() for part in np.indices((100, 100)))
    whole = shapely.area(shapely.intersection(shapely.box(columns, rows, columns + 1, rows + 1), coast))
    np.testing.assert_allclose(cell_areas(coast, (100, 100)).ravel(), counted(whole), rtol=0, atol=1e-12)


class TestInclusion:
    """https://developers.google.com/earth-engine/guides/reducers_reduce_region, "Pixels in the region"."""

    def test_a_region_without_a_pixel_centre(self) -> None:
        """It has no pixel for unweighted reducers, and a part of one for weighted ones."""
        corner = box(10.0, 10.0, 0.25, 0.25)
        value = float(VALUES[0, 10, 10])
        assert VALID[0, 10, 10]
        assert over(corner, r.COUNT)["B1"] == 0
        assert over(corner, r.MAX)["B1"] is None
        assert over(corner, r.MEAN)["B1"] == value
        assert over(corner, r.SUM)["B1"] == pytest.approx(value * 16 / 255)

    def test_less_than_a_256th_of_a_pixel_is_none(self) -> None:
        """eHealthAfrica/heatwave_modelling_CHAP has no mean of 0.16% of a pixel; the guide says "roughly 0.5%"."""
        assert VALID[0, 10, 10]
        assert over(box(10.0, 10.0, 0.04, 0.04), r.MEAN)["B1"] is None
        assert over(box(10.0, 10.0, 0.07, 0.07), r.MEAN)["B1"] == VALUES[0, 10, 10]

    def test_a_region_outside_the_image(self) -> None:
        outside = box(100, 100, 5, 5)
        assert over(outside, r.MEAN) == {"B1": None, "B2": None}
        assert over(outside, r.SUM) == {"B1": 0, "B2": 0}
        assert over(outside, r.COUNT) == {"B1": 0, "B2": 0}

    def test_a_point_takes_its_whole_pixel(self) -> None:
        x, y = GRID.transform * (20.9, 30.1)
        point = shapely.Point(x, y)
        assert VALID[0, 30, 20]
        for reducer in (r.MEAN, r.SUM, r.MIN, r.FIRST):
            assert over(point, reducer)["B1"] == VALUES[0, 30, 20]
        both = shapely.MultiPoint([(x, y), (x + 1, y), (x + 500, y)])
        assert over(both, r.COUNT)["B1"] == 1 + VALID[0, 30, 25]

    def test_a_line_takes_what_it_touches(self) -> None:
        line = shapely.LineString([GRID.transform * (5.5, 7.5), GRID.transform * (15.5, 7.5)])
        assert over(line, r.COUNT)["B1"] == VALID[0, 7, 5:16].sum()
        assert over(line, r.SUM)["B1"] == VALUES[0, 7, 5:16][VALID[0, 7, 5:16]].sum()

    def test_a_mixed_collection(self) -> None:
        mixed = shapely.GeometryCollection([box(0, 0, 2, 2), shapely.Point(*(GRID.transform * (30.5, 30.5)))])
        assert over(mixed, r.COUNT)["B1"] == VALID[0, :2, :2].sum() + VALID[0, 30, 30]

    def test_weights_are_the_lesser_of_mask_and_fraction(self) -> None:
        faded = invoke("Image.updateMask", image=stored(), mask=invoke("Image.constant", value=0.6))
        found = evaluate(faded, IMAGE)
        assert VALID[0, 12, 11]
        half, most = box(11, 12, 0.5, 1), box(11, 12, 0.9, 1)
        assert over(half, r.SUM, found)["B1"] == pytest.approx(128 / 255 * VALUES[0, 12, 11])
        assert over(most, r.SUM, found)["B1"] == pytest.approx(0.6 * VALUES[0, 12, 11])

    def test_two_inputs_need_both(self) -> None:
        whole = box(0, 0, 60, 50)
        both = VALID[0] & VALID[1]
        scale, offset = np.polyfit(VALUES[0][both], VALUES[1][both], 1)
        assert over(whole, r.LINEAR_FIT) == {"scale": pytest.approx(scale), "offset": pytest.approx(offset)}
        grouped = over(whole, r.group(r.SUM, 1, "zone"))["groups"]
        assert [g["zone"] for g in grouped] == sorted(set(VALUES[1][VALID[1]].tolist()))
        zone = grouped[7]
        assert zone["sum"] == VALUES[0][VALID[0] & VALID[1] & (VALUES[1] == zone["zone"])].sum()


class TestLimits:
    def test_too_many_pixels(self) -> None:
        with pytest.raises(InvalidError, match="Found 3000, but maxPixels allows only 100"):
            reduce_region(context(), stored_image(IMAGE), r.MEAN, metres(box(0, 0, 60, 50)), lattice(100))

    def test_best_effort_takes_larger_pixels(self) -> None:
        wide = Lattice(LATTICE, 100, best_effort=True)
        found = reduce_region(context(), stored_image(IMAGE), r.MEAN, metres(box(0, 0, 60, 50)), wide)
        values, valid = VALUES[:, 4::8, 4::8], VALID[:, 4::8, 4::8]
        assert found == {name: pytest.approx(values[i][valid[i]].mean()) for i, name in enumerate(("B1", "B2"))}

    def test_pixels_of_a_large_region_are_found_once_more_and_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[int] = []
        cover = PixelRegion.cover

        def counted(self: PixelRegion, column: int, row: int, grid: PixelGrid) -> RegionPixels:
            calls.append(grid.width * grid.height)
            return cover(self, column, row, grid)

        monkeypatch.setattr(PixelRegion, "cover", counted)
        monkeypatch.setattr(region_pixels, "_REMEMBERED", 10)
        wide, evaluation = Lattice(LATTICE, 1000, best_effort=True), context()
        ring = metres(shapely.Point(503_000, 4_397_500).buffer(2000, 16))
        results = [
            reduce_region(evaluation, stored_image(IMAGE), r.MEAN, Geometry(ring.shape, ring.projection), wide)
            for _ in range(4)
        ]
        assert results == [reduce_region(context(), stored_image(IMAGE), r.MEAN, ring, wide)] * 4
        assert len(calls) == 3  # the third is that of the other evaluation

    @pytest.mark.parametrize("step", [4, 8])
    def test_blocks_within_a_region_and_at_its_edge_make_the_whole(
        self, step: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ring = shapely.Polygon(
            shapely.Point(30, 25).buffer(22, 16).exterior, [shapely.Point(33, 21).buffer(3, 4).exterior]
        )
        region = region_pixels.region_on(Geometry(ring, LATTICE), LATTICE)
        monkeypatch.setattr(region_pixels, "_BLOCK", step)
        parts = [region.cover(*block) for block in region.blocks()]
        whole = region.cover(region.column, region.row, region.grid)
        columns, rows, fraction, centre = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("columns", "rows", "fraction", "centre")
        )
        order = np.lexsort((columns, rows))
        assert np.array_equal(columns[order], whole.columns)
        assert np.array_equal(rows[order], whole.rows)
        assert fraction[order] == pytest.approx(whole.fraction, abs=1e-9)
        assert np.array_equal(centre[order], whole.centre)
        assert any(len(part) == step * step and (part.fraction == 1).all() for part in parts)

    def test_bands_and_inputs_must_agree(self) -> None:
        with pytest.raises(InvalidError, match="Need 3 bands"):
            over(box(0, 0, 2, 2), r.linear_regression(2, 1))

    def test_pixels_too_small_to_count(self) -> None:
        tiny = Lattice(Projection("EPSG:32613", Affine(1e-10, 0, 0, 0, -1e-10, 0)), 10**9)
        with pytest.raises(InvalidError, match="too small"):
            reduce_region(context(), stored_image(IMAGE), r.MEAN, metres(box(0, 0, 60, 50)), tiny)

    def test_copies_of_copies(self) -> None:
        with pytest.raises(InvalidError, match="at most 10000"):
            r.repeat(r.repeat(r.MEAN, 5000), 5000)

    @pytest.mark.slow
    def test_large_regions_are_read_in_blocks(self) -> None:
        values = RANDOM.integers(0, 99, (2100, 1500)).astype(np.uint8)
        grid = PixelGrid("EPSG:32613", Affine(10, 0, 500_000, 0, -10, 4_400_000), 1500, 2100)
        image = stored_image(asset(values, grid))
        area = Lattice(Projection(grid.crs, grid.transform), 10**8)
        ring = metres(shapely.Point(507_500, 4_389_500).buffer(7000, 64))
        columns, rows = np.meshgrid(np.arange(1500) + 0.5, np.arange(2100) + 0.5)
        inside = shapely.contains_xy(ring.shape, *(grid.transform * (columns, rows)))
        found = reduce_region(context(), image, r.combine(r.COUNT, r.unweighted(r.SUM), shared=True), ring, area)
        assert found == {"B1_count": inside.sum(), "B1_sum": int(values[inside].sum())}
        many = list(reduce_regions(context(), image, r.COUNT, [ring, metres(shapely.Point(500_005, 4_399_995))], area))
        assert many == [[inside.sum()], [1]]
        with pytest.raises(LimitError, match="User memory limit exceeded"):
            reduce_region(context(memory=8 << 20), image, r.MEDIAN, ring, area)


class TestThroughTheGraph:
    def region(self) -> Ready:
        corners = [[500_000, 4_398_000], [502_000, 4_398_000], [502_000, 4_400_000], [500_000, 4_400_000]]
        return invoke(
            "GeometryConstructors.Polygon", coordinates=[corners], geodesic=False,
            crs=invoke("Projection", crs="EPSG:32613"),
        )  # fmt: skip

    def reduced(self, reducer: Ready, **more: Any) -> Any:
        return evaluate(
            invoke("Image.reduceRegion", image=stored(), reducer=reducer, geometry=self.region(), **more), IMAGE
        )

    def test_scale_and_crs(self) -> None:
        both = self.reduced(invoke("Reducer.count"))
        assert both == {"B1": VALID[0, :20, :20].sum(), "B2": VALID[1, :20, :20].sum()}
        assert self.reduced(invoke("Reducer.countEvery"), scale=200)["B1"] <= 100
        assert self.reduced(invoke("Reducer.count"), crsTransform=list(GRID.transform[:6])) == both
        with pytest.raises(InvalidError, match="crsTransform and scale"):
            self.reduced(invoke("Reducer.count"), scale=10, crsTransform=list(GRID.transform[:6]))

    def test_arrays_of_pixels(self) -> None:
        """The first step of principal components: the covariance of an array image over a region."""
        arrays = invoke("Image.toArray", image=stored())
        found = evaluate(
            invoke("Image.reduceRegion", image=arrays, reducer=invoke("Reducer.covariance"), geometry=self.region()),
            IMAGE,
        )
        there = VALID[0, :20, :20] & VALID[1, :20, :20]
        truth = np.cov(VALUES[:, :20, :20][:, there], ddof=0)
        assert isinstance(found["array"], Array)
        np.testing.assert_allclose(found["array"].values, truth)

    def test_reduce_regions_names(self) -> None:
        table = invoke("Collection", features=[invoke("Feature", geometry=self.region(), metadata={"a": 1})])

        def properties(image: Ready, reducer: Ready) -> set[str]:
            (feature,) = evaluate(invoke("Image.reduceRegions", image=image, collection=table, reducer=reducer), IMAGE)
            assert isinstance(feature, Feature)
            return set(feature.properties) - {"a", "system:index"}

        one = invoke("Image.select", input=stored(), bandSelectors=["B1"])
        ends, mean = invoke("Reducer.minMax"), invoke("Reducer.mean")
        assert properties(one, mean) == {"mean"}
        assert properties(one, ends) == {"min", "max"}
        assert properties(stored(), mean) == {"B1", "B2"}
        assert properties(stored(), ends) == {"B1_min", "B1_max", "B2_min", "B2_max"}
        assert properties(stored(), invoke("Reducer.linearFit")) == {"scale", "offset"}

    def test_nulls_of_reduce_regions_are_left_out(self) -> None:
        far = invoke("GeometryConstructors.Point", coordinates=[10, 10])
        table = invoke("Collection", features=[invoke("Feature", geometry=far, metadata={"a": 1})])
        (feature,) = evaluate(
            invoke("Image.reduceRegions", image=stored(), collection=table, reducer=invoke("Reducer.mean")), IMAGE
        )
        assert feature.properties == {"a": 1, "system:index": "0"}

    def test_unbounded_images_need_a_region(self) -> None:
        one = invoke("Image.constant", value=1)
        with pytest.raises(InvalidError, match="unbounded"):
            evaluate(invoke("Image.reduceRegion", image=one, reducer=invoke("Reducer.mean")))

    def test_reduce_over_bands(self) -> None:
        reduced = evaluate(invoke("Image.reduce", image=stored(), reducer=invoke("Reducer.minMax")), IMAGE)
        assert [band.name for band in reduced.bands] == ["min", "max"]
        assert [band.type.precision for band in reduced.bands] == ["int", "int"]
        listed = invoke("Reducer.toList")
        with pytest.raises(InvalidError, match="not a number"):
            evaluate(invoke("Image.reduce", image=stored(), reducer=listed), IMAGE)
        with pytest.raises(InvalidError, match="single input"):
            evaluate(invoke("Image.reduce", image=stored(), reducer=invoke("Reducer.linearFit")), IMAGE)


class TestVectors:
    LABELS = np.array([[1, 1, 2, 2, 2], [1, 3, 3, 2, 1], [3, 3, 1, 1, 1], [4, 4, 4, 1, 4]], dtype=np.uint8)

    def vectors(self, reducer: Ready | None = None, *, is_single: bool = False, **more: Any) -> list[Feature]:
        grid = PixelGrid(UTM.crs, UTM.transform, 5, 4)
        extra = np.arange(20, dtype=np.int16).reshape(4, 5)
        image = asset(np.stack([self.LABELS.astype(np.int16), extra]), grid)
        one = reducer is None or is_single
        chosen = invoke("Image.select", input=stored(), bandSelectors=[0]) if one else stored()
        given_reducer = {} if reducer is None else {"reducer": reducer}
        found: list[Feature] = list(
            evaluate(invoke("Image.reduceToVectors", image=chosen, **given_reducer, **more), image)
        )
        return found

    def test_segments_and_counts(self) -> None:
        vectors = self.vectors()
        assert [f.properties["system:index"] for f in vectors] == ["+0+1", "+1+2", "+2+3", "+3+1", "+3+3", "+4+3"]
        found = [(f.properties["label"], f.properties["count"]) for f in vectors]
        assert found == [(1, 3), (3, 4), (4, 3), (2, 4), (1, 5), (4, 1)]
        stated = self.vectors(invoke("Reducer.countEvery"), is_single=True)
        assert [(f.properties["label"], f.properties["count"]) for f in stated] == found
        four = [(f.properties["label"], f.properties["count"]) for f in self.vectors(eightConnected=False)]
        assert sorted(four) == sorted([(1, 3), (2, 4), (3, 4), (1, 5), (4, 3), (4, 1)])

    def test_reducers_and_geometry(self) -> None:
        found = self.vectors(invoke("Reducer.mean"), geometryInNativeProjection=True)
        first = found[0]
        assert first.properties["mean"] == pytest.approx(np.mean([0, 1, 5]))
        assert first.geometry is not None
        assert first.geometry.projection.crs == UTM.crs
        assert first.geometry.shape.area == pytest.approx(300)
        centre = self.vectors(geometryType="centroid", geometryInNativeProjection=True)[0].geometry
        assert centre is not None
        assert centre.shape.x == pytest.approx(500_000 + 10 * (0.5 + 1.5 + 0.5) / 3)
        boxes = self.vectors(geometryType="bb")[0].geometry
        assert boxes is not None
        assert boxes.projection.crs == "EPSG:4326"

    @pytest.mark.parametrize("eight", [False, True])
    def test_every_pixel_belongs_to_one_segment_of_its_value(self, eight: bool) -> None:
        labels = RANDOM.integers(0, 3, (40, 50)).astype(np.uint8)
        valid = RANDOM.random((40, 50)) < 0.9
        found = segments(labels, valid, eight=eight)
        pixels = np.concatenate([s.pixels for s in found])
        assert sorted(pixels.tolist()) == np.flatnonzero(valid).tolist()
        assert all((labels.ravel()[s.pixels] == s.label).all() for s in found)
        assert [s.shape.area for s in found] == [len(s.pixels) for s in found]
        firsts = [int(s.pixels[0]) for s in found]
        assert firsts == sorted(firsts)

    def test_more_outlines_than_memory_holds_are_refused(self) -> None:
        noise = RANDOM.integers(0, 60_000, (720, 720)).astype(np.int32)
        with pytest.raises(LimitError, match=r"^User memory limit exceeded\.$"):
            segments(noise, np.ones(noise.shape, dtype=bool), eight=False)

    def test_the_first_band_must_be_whole(self) -> None:
        with pytest.raises(InvalidError, match="integer"):
            evaluate(
                invoke("Image.reduceToVectors", image=invoke("Image.constant", value=0.5), geometry=None, scale=10)
            )


def test_scattered_pixels_are_gathered_in_their_order() -> None:
    source = asset(VALUES, GRID, valid=VALID)
    columns, rows = RANDOM.integers(-3, 63, 200), RANDOM.integers(-3, 53, 200)
    found = gather(context(), stored_image(source).bands, LATTICE, columns, rows)
    there = (columns >= 0) & (columns < 60) & (rows >= 0) & (rows < 50)
    for band, values, valid in zip(found, VALUES, VALID, strict=True):
        expected = np.zeros(200, dtype=bool)
        expected[there] = valid[rows[there], columns[there]]
        np.testing.assert_array_equal(band.mask, expected)
        np.testing.assert_array_equal(band.values[expected], values[rows[expected], columns[expected]])


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 24), st.integers(0, 24)), min_size=3, max_size=6, unique=True),
    st.sampled_from([0.5, 0.37]),
)
def test_few_pixels_are_taken_as_gdal_takes_many(corners: list[tuple[int, int]], step: float) -> None:
    """Corners and edges on centres and borders of pixels, where it matters which neighbour gets them."""
    shape = shapely.Polygon(np.multiply(corners, step))
    assume(shape.is_valid and shape.area > 0)
    grid = PixelGrid(GRID.crs, GRID.transform, 13, 13)
    local = Geometry(shape, LATTICE)
    cover = PixelRegion(shape, LATTICE, 0, 0, 13, 13).cover(0, 0, grid)
    centre, fraction = np.zeros((13, 13), dtype=bool), np.zeros((13, 13))
    centre[cover.rows, cover.columns] = cover.centre
    fraction[cover.rows, cover.columns] = cover.fraction
    # Multiples of 0.37 are rounded: on which side of such an edge a centre lies is then nobody's to say.
    rows, columns = np.mgrid[0:13, 0:13]
    unclear = (step != 0.5) & (shapely.distance(shape.exterior, shapely.points(columns + 0.5, rows + 0.5)) < 1e-9)
    np.testing.assert_array_equal(centre | unclear, rasterize([shape], (13, 13)).astype(bool) | unclear)
    np.testing.assert_allclose(fraction, fractions(local, grid), atol=1e-12)
