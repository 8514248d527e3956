"""``ee.Image``: bands, tables of values, coordinates, random numbers, painting, colours, projections, clipping."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer
from rasterio.features import rasterize

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.geometry.geometry import geojson
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image
from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.graphs import Ready, invoke
from local_tests.support.images import UTM, asset, constant, evaluate, pixel, read, stored, values_of

RANDOM = np.random.default_rng(6)
BYTES = RANDOM.integers(0, 256, (48, 64)).astype(np.uint8)
THREE = constant(1, 2, 3, names=["red", "nir", "red_edge"])


def names(value: Any, *assets: Any) -> list[str]:
    return [band.name for band in evaluate(value, *assets).bands]


def point(x: float, y: float) -> Ready:
    return invoke("GeometryConstructors.Point", coordinates=[x, y])


def rectangle(left: float, bottom: float, right: float, top: float, crs: str = "EPSG:32613") -> Ready:
    return invoke(
        "GeometryConstructors.Rectangle", coordinates=[left, bottom, right, top],
        crs=invoke("Projection", crs=crs), geodesic=False,
    )  # fmt: skip


class TestBands:
    def test_select(self) -> None:
        assert names(invoke("Image.select", input=THREE, bandSelectors=["nir", 0])) == ["nir", "red"]
        assert names(invoke("Image.select", input=THREE, bandSelectors=["red.*"])) == ["red", "red_edge"]
        assert names(invoke("Image.select", input=THREE, bandSelectors=[-1])) == ["red_edge"]
        assert names(invoke("Image.select", input=THREE, bandSelectors=["red", "red"])) == ["red", "red_1"]
        assert names(invoke("Image.select", input=THREE, bandSelectors=[0, 1], newNames=["a", "b"])) == ["a", "b"]
        with pytest.raises(InvalidError, match=r"Band pattern 'swir' did not match any bands"):
            evaluate(invoke("Image.select", input=THREE, bandSelectors=["swir"]))
        with pytest.raises(InvalidError, match=r"band number \(3\)"):
            evaluate(invoke("Image.select", input=THREE, bandSelectors=[3]))
        with pytest.raises(InvalidError):
            evaluate(invoke("Image.select", input=THREE, bandSelectors=["(unclosed"]))

    def test_add_bands(self) -> None:
        more = constant(7, 8, names=["nir", "swir"])
        assert names(invoke("Image.addBands", dstImg=THREE, srcImg=more)) == ["red", "nir", "red_edge", "nir_1", "swir"]
        overwritten = invoke("Image.addBands", dstImg=THREE, srcImg=more, overwrite=True)
        assert names(overwritten) == ["red", "nir", "red_edge", "swir"]
        assert pixel(overwritten) == [1, 7, 3, 8]
        assert names(invoke("Image.addBands", dstImg=THREE, srcImg=more, names=["swir"]))[3:] == ["swir"]

    def test_cat(self) -> None:
        """If two or more bands share a name, they are suffixed with an incrementing index."""
        assert names(invoke("Image.cat", images=[constant(1), constant(2), constant(3)])) == [
            "constant",
            "constant_1",
            "constant_2",
        ]
        assert pixel(invoke("Image.cat", images=[constant(1), constant(2.5)])) == [1, 2.5]

    def test_rename_and_slice(self) -> None:
        assert names(invoke("Image.rename", input=THREE, names=["a", "b", "c"])) == ["a", "b", "c"]
        assert names(invoke("Image.slice", image=THREE, start=1)) == ["nir", "red_edge"]
        assert names(invoke("Image.slice", image=THREE, start=0, end=-1)) == ["red", "nir"]
        assert names(invoke("Image.regexpRename", input=THREE, regex="^red(.*)", replacement="R$1")) == [
            "R",
            "nir",
            "R_edge",
        ]
        with pytest.raises(InvalidError, match="unique"):
            evaluate(invoke("Image.rename", input=THREE, names=["a", "a", "b"]))

    def test_cast(self) -> None:
        image = evaluate(
            invoke(
                "Image.cast",
                image=constant(300, 2.7, names=["b", "a"]),
                bandTypes={"b": "byte", "z": "float", "c": "int8"},
            )
        )
        assert [(b.name, b.type) for b in image.bands] == [
            ("b", PixelType("int", 0, 255)), ("a", PixelType("double", 2.7, 2.7)), ("c", PixelType("int", -128, 127)),
            ("z", PixelType("float")),
        ]  # fmt: skip
        found = read(image)
        assert found[0].values[0, 0] == 255
        assert not found[2].valid.any()
        ordered = invoke("Image.cast", image=constant(1), bandTypes={"z": "float"}, bandOrder=["z", "constant"])
        assert names(ordered) == ["z", "constant"]

    def test_types(self) -> None:
        assert evaluate(invoke("Image.bandTypes", image=stored()), asset(BYTES)) == {"B1": PixelType("int", 0, 255)}

    def test_metadata(self) -> None:
        found = asset(BYTES, properties={"cloud": 12.5, "system:time_start": 86_400_000})
        assert pixel(invoke("Image.metadata", image=stored(), property="cloud"), found) in ([12.5], [None])
        assert names(invoke("Image.metadata", image=stored(), property="cloud"), found) == ["cloud"]
        assert evaluate(invoke("Image.date", image=stored()), found).milliseconds == 86_400_000
        assert evaluate(invoke("Image.id", element=stored()), found) == "image"


class TestRemap:
    def test_documented(self) -> None:
        """samples/python/apidocs/ee_image_remap.py: the band is called "remapped"; properties are kept."""
        source = asset((BYTES % 4 * 10).astype(np.uint8), properties={"a": 1})
        image = evaluate(invoke("Image.remap", image=stored(), from_=[10, 20], to=[1, 2], defaultValue=0), source)
        assert [b.name for b in image.bands] == ["remapped"]
        assert image.properties["a"] == 1
        assert np.array_equal(values_of(image), np.array([0, 1, 2, 0])[BYTES % 4])

    def test_unlisted_values_are_masked(self) -> None:
        found = values_of(evaluate(invoke("Image.remap", image=stored(), from_=[5], to=[7.5]), asset(BYTES)))
        assert np.array_equal(np.isfinite(found), BYTES == 5)
        assert set(found[np.isfinite(found)]) == {7.5}

    @pytest.mark.slow
    @settings(max_examples=60, deadline=None)
    @given(st.dictionaries(st.integers(-9, 9), st.integers(-99, 99), min_size=1, max_size=8), st.integers(-9, 9))
    def test_is_a_dictionary(self, table: dict[int, int], value: int) -> None:
        expected = table.get(value, 1000)
        call = invoke(
            "Image.remap", image=constant(value), from_=list(table), to=list(table.values()), defaultValue=1000
        )
        assert pixel(call) == [expected]

    def test_bands_and_lengths(self) -> None:
        assert pixel(invoke("Image.remap", image=THREE, from_=[2], to=[5], bandName="nir")) == [5]
        with pytest.raises(InvalidError, match="same number"):
            evaluate(invoke("Image.remap", image=THREE, from_=[2], to=[]))

    @pytest.mark.parametrize(
        ("behavior", "expected"),
        [
            ("extrapolate", [-10, 5, 30, 40]),
            ("clamp", [0, 5, 30, 30]),
            ("input", [-1, 5, 30, 4]),
            ("mask", [None, 5, 30, None]),
        ],
    )
    def test_interpolate(self, behavior: str, expected: list[float | None]) -> None:
        found = [
            pixel(invoke("Image.interpolate", image=constant(v), x=[0, 2, 3], y=[0, 20, 30], behavior=behavior))[0]
            for v in (-1, 0.5, 3, 4)
        ]
        assert found == expected

    def test_the_first_band_is_interpolated(self) -> None:
        """ "Interpolates each point in the first band of the input image" (apidocs/ee-image-interpolate)."""
        assert pixel(invoke("Image.interpolate", image=THREE, x=[0, 4], y=[0, 40], behavior="clamp")) == [10]

    def test_interpolate_needs_rising_knots(self) -> None:
        with pytest.raises(InvalidError, match="strictly increasing"):
            evaluate(invoke("Image.interpolate", image=constant(1), x=[0, 0], y=[1, 2]))


class TestCoordinates:
    @pytest.mark.parametrize("crs", ["EPSG:32613", "EPSG:4326", "EPSG:3857"])
    def test_longitude_and_latitude(self, crs: str) -> None:
        x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(-105, 40)
        edge = 1e-4 if crs == "EPSG:4326" else 10
        grid = PixelGrid(crs, Affine(edge, 0, x, 0, -edge, y), 30, 20)
        longitude, latitude = read(evaluate(invoke("Image.pixelLonLat")), grid)
        xs, ys = grid.transform * np.meshgrid(np.arange(30) + 0.5, np.arange(20) + 0.5)
        lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(xs, ys)
        assert np.allclose(longitude.values, lon, atol=1e-10)
        assert np.allclose(latitude.values, lat, atol=1e-10)
        assert names(invoke("Image.pixelLonLat")) == ["longitude", "latitude"]

    def test_pixel_coordinates(self) -> None:
        projection = invoke("Projection", crs="EPSG:32613", transform=list(UTM.transform)[:6])
        x, y = read(evaluate(invoke("Image.pixelCoordinates", projection=projection)))
        assert np.array_equal(x.values[0], np.arange(64) + 0.5)
        assert np.array_equal(y.values[:, 0], np.arange(48) + 0.5)

    @pytest.mark.parametrize(
        "grid",
        [
            PixelGrid("EPSG:4326", Affine(0.25, 0, 10, 0, -0.25, 60), 8, 8),
            PixelGrid("EPSG:4326", Affine(1, 0, -180, 0, -1, 90), 6, 180),
            PixelGrid("EPSG:32613", Affine(30, 0, 400_000, 0, -30, 4_400_000), 10, 10),
            PixelGrid("EPSG:3857", Affine(1000, 0, 1e6, 0, -1000, 8e6), 10, 10),
            PixelGrid("SR-ORG:6974", Affine(926.6, 0, -8e6, 0, -926.6, 4.4e6), 6, 6),
            PixelGrid("EPSG:3413", Affine(5000, 0, 300_000, 0, -5000, -100_000), 8, 8),
            PixelGrid("EPSG:32601", Affine(50_000, 0, 100_000, 0, -50_000, 2e6), 6, 6),
        ],
        ids=lambda g: f"{g.crs} {g.transform.a:g}",
    )
    def test_areas_are_the_ellipsoid_s(self, grid: PixelGrid) -> None:
        """Against pyproj.Geod, with the edges of pixels cut into pieces that follow them."""
        areas = values_of(evaluate(invoke("Image.pixelArea")), grid)
        to_lonlat = Transformer.from_crs(
            "+proj=sinu +R=6371007.181" if ":6974" in grid.crs else grid.crs, "EPSG:4326", always_xy=True
        )
        geod = Geod(ellps="WGS84")
        for row, column in [(0, 0), (1, 3), (grid.height - 1, grid.width - 1), (grid.height // 2, 2)]:
            square = shapely.segmentize(shapely.box(column, row, column + 1, row + 1), 0.005)
            x, y = grid.transform * shapely.get_coordinates(square).T
            expected = abs(geod.polygon_area_perimeter(*to_lonlat.transform(x, y))[0])
            assert areas[row, column] == pytest.approx(expected, rel=2e-4 if grid.transform.a > 1000 else 1e-5)

    def test_the_whole_earth(self) -> None:
        areas = values_of(
            evaluate(invoke("Image.pixelArea")), PixelGrid("EPSG:4326", Affine(1, 0, -180, 0, -1, 90), 360, 180)
        )
        assert areas.sum() == pytest.approx(510_065_621_724_089, rel=1e-9)  # WGS84: 510,065,622 km²


class TestRandom:
    def test_windows_agree(self) -> None:
        image = evaluate(invoke("Image.random", seed=3))
        whole = values_of(image)
        assert np.array_equal(values_of(image, UTM.window(10, 5, 20, 20)), whole[5:25, 10:30])
        assert np.array_equal(values_of(evaluate(invoke("Image.random", seed=3))), whole)
        assert not np.array_equal(values_of(evaluate(invoke("Image.random", seed=4))), whole)
        assert [(b.name, b.type.precision) for b in image.bands] == [("random", "double")]

    def test_distributions(self) -> None:
        grid = PixelGrid("EPSG:32613", UTM.transform, 400, 400)
        uniform = values_of(evaluate(invoke("Image.random")), grid)
        assert 0 <= uniform.min() < 0.001
        assert 0.999 < uniform.max() < 1
        assert np.histogram(uniform, 20, (0, 1))[0].min() > 7_500
        normal = values_of(evaluate(invoke("Image.random", distribution="normal")), grid)
        assert abs(normal.mean()) < 0.01
        assert abs(normal.std() - 1) < 0.01
        assert abs(np.corrcoef(uniform[:, 1:].ravel(), uniform[:, :-1].ravel())[0, 1]) < 0.01

    def test_unknown_distribution(self) -> None:
        with pytest.raises(InvalidError, match="distribution"):
            evaluate(invoke("Image.random", distribution="poisson"))


class TestPaint:
    POLYGON = shapely.Polygon([(500_100, 4_399_900), (500_400, 4_399_870), (500_300, 4_399_600), (500_120, 4_399_700)])

    def feature(self, shape: Any, **properties: Any) -> Ready:
        rings = [[list(c) for c in shape.exterior.coords]]
        geometry = invoke(
            "GeometryConstructors.Polygon",
            coordinates=rings,
            crs=invoke("Projection", crs="EPSG:32613"),
            geodesic=False,
        )
        return invoke("Feature", geometry=geometry, metadata=properties)

    def collection(self, *features: Ready) -> Ready:
        return invoke("Collection", features=list(features))

    def test_filled(self) -> None:
        image = evaluate(
            invoke("Image.paint", image=invoke("Image.toByte", value=constant(1)),
                   featureCollection=self.collection(self.feature(self.POLYGON)), color=9),
        )  # fmt: skip
        burnt = rasterize([(self.POLYGON, 9)], out_shape=UTM.shape, transform=UTM.transform, fill=1)
        assert np.array_equal(values_of(image), burnt)
        assert image.bands[0].type == PixelType("int", 0, 255)

    def test_an_empty_image_becomes_valid_where_it_is_painted(self) -> None:
        """ee.Image().byte().paint(…), the pattern of the guides."""
        empty = invoke("Image.toByte", value=invoke("Image.mask", image=constant(0), mask=constant(0)))
        features = self.collection(self.feature(self.POLYGON, kind=4), self.feature(self.POLYGON.buffer(-60), kind=6))
        found = values_of(evaluate(invoke("Image.paint", image=empty, featureCollection=features, color="kind")))
        outer = rasterize([(self.POLYGON, 4)], out_shape=UTM.shape, transform=UTM.transform)
        both = rasterize([(self.POLYGON.buffer(-60), 6)], out=outer.copy(), transform=UTM.transform)
        assert np.array_equal(np.nan_to_num(found), both)

    def test_outlines(self) -> None:
        image = invoke(
            "Image.paint",
            image=constant(0),
            featureCollection=self.collection(self.feature(self.POLYGON)),
            color=1,
            width=2,
        )
        found = values_of(evaluate(image)) > 0
        x, y = UTM.transform * np.meshgrid(np.arange(64) + 0.5, np.arange(48) + 0.5)
        distance = shapely.distance(shapely.points(x, y), self.POLYGON.exterior)
        assert found[distance < 9].all()
        assert not found[distance > 11].any()

    @pytest.mark.parametrize("width", [7, "wide"])
    def test_windows_beside_an_outline_have_their_part_of_it(self, width: Any) -> None:
        features = self.collection(self.feature(self.POLYGON, wide=7))
        image = evaluate(invoke("Image.paint", image=constant(0), featureCollection=features, color=1, width=width))
        whole = values_of(image)
        beside = UTM.window(0, 0, 9, 48)  # the polygon begins at column 10
        assert whole[:, :9].any()
        assert np.array_equal(values_of(image, beside), whole[:, :9])

    def test_features_without_the_property_are_left_out(self) -> None:
        features = self.collection(self.feature(self.POLYGON))
        assert (
            values_of(evaluate(invoke("Image.paint", image=constant(3), featureCollection=features, color="kind"))) == 3
        ).all()


class TestBlend:
    def test_the_top_hides_the_bottom(self) -> None:
        masked = invoke("Image.updateMask", image=constant(9), mask=0)
        assert pixel(invoke("Image.blend", bottom=constant(1), top=constant(9))) == [9]
        assert pixel(invoke("Image.blend", bottom=constant(1), top=masked)) == [1]
        assert pixel(invoke("Image.blend", bottom=constant(1, 2), top=masked)) == [1, 2]

    def test_the_mask_is_the_opacity(self) -> None:
        half = invoke("Image.updateMask", image=constant(10), mask=0.5)
        assert pixel(invoke("Image.blend", bottom=constant(20), top=half)) == [15]
        assert pixel(invoke("Image.mask", image=invoke("Image.blend", bottom=half, top=half))) == [0.75]


@given(*[st.floats(0, 1, width=32)] * 3)
def test_colour_spaces(a: float, b: float, c: float) -> None:
    """Against the standard library's colorsys."""
    image = constant(a, b, c)
    hsv = evaluate(invoke("Image.rgbToHsv", image=image))
    assert [band.name for band in hsv.bands] == ["hue", "saturation", "value"]
    found = [p.values[0, 0] for p in read(hsv)]
    expected = colorsys.rgb_to_hsv(a, b, c)
    assert (found[0] - expected[0] + 0.5) % 1 == pytest.approx(0.5, abs=1e-6)
    assert found[1:] == pytest.approx(expected[1:], abs=1e-6)
    back = evaluate(invoke("Image.hsvToRgb", image=image))
    assert [band.name for band in back.bands] == ["red", "green", "blue"]
    assert [p.values[0, 0] for p in read(back)] == pytest.approx(colorsys.hsv_to_rgb(a, b, c), abs=1e-6)


class TestProjections:
    def test_the_default_is_that_of_the_file(self) -> None:
        projection = evaluate(invoke("Image.projection", image=stored()), asset(BYTES))
        assert (projection.crs, projection.transform) == (UTM.crs, UTM.transform)
        two = invoke("Image.addBands", dstImg=stored(), srcImg=constant(1))
        with pytest.raises(InvalidError, match="different projections"):
            evaluate(invoke("Image.projection", image=two), asset(BYTES))

    def test_reproject_computes_on_its_pixels(self) -> None:
        """On a finer grid each pixel of the reprojected image is a block."""
        transform = [40, 0, 500_000, 0, -40, 4_400_000]
        image = evaluate(
            invoke(
                "Image.reproject", image=stored(), crs=invoke("Projection", crs="EPSG:32613"), crsTransform=transform
            ),
            asset(BYTES),
        )
        found = values_of(image)
        coarse = BYTES[2::4, 2::4]
        assert np.array_equal(found, np.repeat(np.repeat(coarse, 4, axis=0), 4, axis=1))

    def test_arithmetic_happens_where_it_is_asked_for(self) -> None:
        grid = PixelGrid(UTM.crs, UTM.transform * Affine.scale(3), 10, 10)
        double = values_of(evaluate(invoke("Image.multiply", image1=stored(), image2=2), asset(BYTES)), grid)
        assert np.array_equal(double, BYTES[1:31:3, 1:31:3].astype(int) * 2)

    def test_a_default_projection_touches_no_pixel(self) -> None:
        image = evaluate(
            invoke("Image.setDefaultProjection", image=stored(), crs=invoke("Projection", crs="EPSG:4326"), scale=1000),
            asset(BYTES),
        )
        assert np.array_equal(values_of(image), BYTES)
        assert image.bands[0].projection.nominal_scale == pytest.approx(1000)

    def test_computed_images_are_interpolated_between_their_own_pixels(self) -> None:
        """resample() after arithmetic gives what resample() before it does."""
        grid = PixelGrid(UTM.crs, UTM.transform * Affine.translation(3.3, 4.4) * Affine.scale(0.37), 50, 40)
        before = invoke("Image.multiply", image1=invoke("Image.resample", image=stored(), mode="bicubic"), image2=2.5)
        after = invoke("Image.resample", image=invoke("Image.multiply", image1=stored(), image2=2.5), mode="bicubic")
        a, b = (values_of(evaluate(v, asset(BYTES)), grid) for v in (before, after))
        assert np.allclose(a, b, rtol=1e-5)

    def test_constants_are_not_interpolated(self) -> None:
        assert pixel(invoke("Image.resample", image=constant(5))) == [5]

    @pytest.mark.parametrize(
        "more", [{"scale": 0}, {"scale": -3}, {"crsTransform": [1, 2, 3]}, {"crsTransform": [0, 0, 0, 0, 0, 0]},
                 {"scale": 3, "crsTransform": [1, 0, 0, 0, 1, 0]}],
    )  # fmt: skip
    def test_bad_grids(self, more: dict[str, Any]) -> None:
        with pytest.raises(InvalidError):
            evaluate(invoke("Image.reproject", image=constant(1), crs=invoke("Projection", crs="EPSG:4326"), **more))


class TestClipping:
    def clipped(self, **more: Any) -> Image:
        image: Image = evaluate(invoke("Image.clipToBoundsAndScale", input=stored(), **more), asset(BYTES))
        return image

    def test_clip(self) -> None:
        region = rectangle(500_096, 4_399_696, 500_304, 4_399_904)
        found = values_of(evaluate(invoke("Image.clip", input=stored(), geometry=region), asset(BYTES)))
        inside = np.zeros((48, 64), dtype=bool)
        inside[10:30, 10:30] = True
        assert np.array_equal(np.isfinite(found), inside)

    def test_the_grid_of_a_download_is_exact(self) -> None:
        """crs, crs_transform and dimensions: reproject, then the rectangle of so many pixels in that projection."""
        transform = [10.0, 0.0, 500_123.4, 0.0, -10.0, 4_399_876.5]
        projection = invoke("Projection", crs="EPSG:32613")
        moved = invoke("Image.reproject", image=stored(), crs=projection, crsTransform=transform)
        region = invoke(
            "GeometryConstructors.Rectangle",
            coordinates=[0, 0, 20, 15],
            crs=invoke("Image.projection", image=moved),
            geodesic=False,
        )
        image = evaluate(invoke("Image.clipToBoundsAndScale", input=moved, geometry=region), asset(BYTES))
        grid = image.bands[0].grid
        assert grid == PixelGrid("EPSG:32613", Affine(*transform), 20, 15)
        assert np.array_equal(values_of(image, grid), BYTES[12:27, 12:32])

    def test_a_composite_without_region_is_as_large_as_its_outline(self) -> None:
        """It had whole degrees; tiles of 0.02 degrees have 224 pixels (https://doi.org/10.1038/s41597-022-01775-8)."""
        tile = invoke("Image.clip", input=constant(1), geometry=rectangle(-105.11, 39.99, -105.09, 40.01, "EPSG:4326"))
        grid = evaluate(invoke("Image.clipToBoundsAndScale", input=tile, scale=10)).bands[0].grid
        assert {grid.width, grid.height} <= {223, 224}

    def test_the_footprint_is_the_grid_in_its_projection(self) -> None:
        inside = self.clipped(geometry=rectangle(500_105, 4_399_700, 500_305, 4_399_900))
        beyond = self.clipped(geometry=rectangle(500_100, 4_399_700, 600_000, 4_399_900))
        for image, right in ((inside, 500_310), (beyond, 500_640)):
            assert image.footprint is not None
            found = geojson(image.footprint)
            assert found["crs"] == {"type": "name", "properties": {"name": "EPSG:32613"}}
            assert shapely.geometry.shape(found).bounds == pytest.approx((500_100, 4_399_700, right, 4_399_900))

    def test_its_own_pixels(self) -> None:
        band = self.clipped(geometry=rectangle(500_100, 4_399_700, 500_300, 4_399_900)).bands[0]
        assert band.grid == UTM.window(10, 10, 20, 20)
        band = self.clipped(geometry=rectangle(500_105, 4_399_700, 500_305, 4_399_900)).bands[0]
        assert band.grid == UTM.window(10, 10, 21, 20)

    def test_a_size_divides_the_bounds(self) -> None:
        grid = (
            self.clipped(geometry=rectangle(500_105, 4_399_700, 500_305, 4_399_900), width=40, height=10).bands[0].grid
        )
        assert grid is not None
        assert grid.shape == (10, 40)
        assert grid.bounds == pytest.approx((500_105, 4_399_700, 500_305, 4_399_900))

    def test_the_longest_side(self) -> None:
        grid = self.clipped(geometry=rectangle(500_100, 4_399_800, 500_300, 4_399_900), maxDimension=50).bands[0].grid
        assert grid is not None
        assert grid.shape == (25, 50)

    def test_a_scale_keeps_the_lattice(self) -> None:
        """Pixels of 30 m that begin where the image's own lattice does: 300 m across may meet 11 of them."""
        grid = self.clipped(geometry=rectangle(500_105, 4_399_605, 500_405, 4_399_905), scale=30).bands[0].grid
        assert grid is not None
        assert grid.shape == (11, 11)
        assert grid.transform == Affine(30, 0, 500_090, 0, -30, 4_399_910)

    def test_composites_point_north(self) -> None:
        image = evaluate(
            invoke(
                "Image.clipToBoundsAndScale",
                input=constant(1),
                geometry=rectangle(10, 40, 12, 41, "EPSG:4326"),
                width=20,
                height=10,
            )
        )
        assert image.bands[0].grid == PixelGrid("EPSG:4326", Affine(0.1, 0, 10, 0, -0.1, 41), 20, 10)

    def test_constants_take_the_pixels_of_the_other_bands(self) -> None:
        both = invoke("Image.addBands", dstImg=constant(1), srcImg=stored())
        region = rectangle(500_100, 4_399_700, 500_300, 4_399_900)
        for more in ({}, {"scale": 30}, {"geometry": region}, {"geometry": region, "scale": 30}):
            image = evaluate(invoke("Image.clipToBoundsAndScale", input=both, **more), asset(BYTES))
            first, second = (band.grid for band in image.bands)
            assert first == second == self.clipped(**more).bands[0].grid

    def test_a_point_is_a_pixel(self) -> None:
        grid = self.clipped(geometry=point(-104.999, 39.748)).bands[0].grid
        assert grid is not None
        assert grid.shape == (1, 1)
        assert self.clipped(geometry=point(-104.999, 39.748), width=5, height=5).bands[0].grid is not None

    @pytest.mark.parametrize("more", [{"maxDimension": 3, "width": 3}, {"scale": 0}, {"width": 0, "height": 3}])
    def test_bad_sizes(self, more: dict[str, Any]) -> None:
        with pytest.raises(InvalidError):
            self.clipped(geometry=point(0, 0), **more)

    def test_unbounded(self) -> None:
        with pytest.raises(InvalidError, match="must be bounded"):
            evaluate(invoke("Image.clipToBoundsAndScale", input=constant(1), width=3, height=3))
