"""Scripts as people write them for Earth Engine, run by the real client against the demo planet.

Each says what must come out: by another way to the same result, or by numpy over pixels that were downloaded.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image as Picture

pytestmark = pytest.mark.slow

DAY = 86_400_000
SENTINEL, LANDSAT = "COPERNICUS/S2_SR_HARMONIZED", "LANDSAT/LC08/C02/T1_L2"


class Scene:
    """What the scripts share: the client, a place, collections over it."""

    def __init__(self, ee: Any) -> None:
        self.ee = ee
        self.point = ee.Geometry.Point(-105.27, 40.02)
        self.region = self.point.buffer(400).bounds()
        self.elevation = ee.Image("USGS/SRTMGL1_003")
        self.cover = ee.ImageCollection("ESA/WorldCover/v200").first()

    def sentinel(self, start: str = "2020-05-01", end: str = "2020-06-15") -> Any:
        return self.ee.ImageCollection(SENTINEL).filterBounds(self.point).filterDate(start, end)

    def landsat(self, start: str = "2019-01-01", end: str = "2019-05-01") -> Any:
        return self.ee.ImageCollection(LANDSAT).filterBounds(self.point).filterDate(start, end)

    def pixels(self, image: Any, scale: float = 30) -> np.ndarray:
        """Pixels around the point in UTM, as a masked record array."""
        return np.load(
            io.BytesIO(
                self.ee.data.computePixels(
                    {
                        "expression": image,
                        "fileFormat": "NPY",
                        "grid": {
                            "dimensions": {"width": 24, "height": 20},
                            "affineTransform": {
                                "scaleX": scale, "scaleY": -scale, "translateX": 476_400, "translateY": 4_430_400,
                            },
                            "crsCode": "EPSG:32613",
                        },
                    }
                )
            )
        )  # fmt: skip

    def first(self, image: Any, scale: float = 30) -> dict[str, Any]:
        found: dict[str, Any] = image.reduceRegion("first", self.point, scale).getInfo()
        return found


@pytest.fixture
def scene(demo_ee: Any) -> Scene:
    return Scene(demo_ee)


class TestClouds:
    """The usual masks, against the same bits in numpy."""

    def test_qa60(self, scene: Scene) -> None:
        image = scene.sentinel().first()
        quality = image.select("QA60")
        clear = quality.bitwiseAnd(1 << 10).eq(0).And(quality.bitwiseAnd(1 << 11).eq(0))
        masked = image.select("B4").updateMask(clear).divide(10000).unmask(-1)
        found = scene.pixels(masked.addBands(image.select("B4", "QA60"), overwrite=False), 10)
        cloudy = (found["QA60"].astype(int) & (1 << 10 | 1 << 11)) != 0
        assert np.allclose(found["B4"], np.where(cloudy, -1, found["B4_1"] / 10000), atol=1e-6)

    def test_scene_classes(self, scene: Scene) -> None:
        image = scene.sentinel().first()
        classes = image.select("SCL")
        bad = classes.eq(3).Or(classes.eq(8)).Or(classes.eq(9)).Or(classes.eq(10))
        found = scene.pixels(bad.addBands(classes).rename(["bad", "SCL"]), 20)
        assert np.array_equal(found["bad"] != 0, np.isin(found["SCL"], [3, 8, 9, 10]))

    def test_landsat_scale_factors(self, scene: Scene) -> None:
        def prepared(image: Any) -> Any:
            clear = image.select("QA_PIXEL").bitwiseAnd(int("11111", 2)).eq(0)
            optical = image.select("SR_B.").multiply(0.0000275).add(-0.2)
            thermal = image.select("ST_B.*").multiply(0.00341802).add(149.0)
            unsaturated = image.select("QA_RADSAT").eq(0)
            return (
                image.addBands(optical, None, True)
                .addBands(thermal, None, True)
                .updateMask(clear)
                .updateMask(unsaturated)
            )

        raw = scene.landsat().first()
        made = scene.pixels(prepared(raw).select("SR_B4", "ST_B10").unmask(-9))
        source = scene.pixels(raw.select("SR_B4", "ST_B10", "QA_PIXEL", "QA_RADSAT"))
        clear = ((source["QA_PIXEL"].astype(int) & 31) == 0) & (source["QA_RADSAT"] == 0)
        assert np.allclose(made["SR_B4"], np.where(clear, source["SR_B4"] * 0.0000275 - 0.2, -9))
        assert np.allclose(made["ST_B10"], np.where(clear, source["ST_B10"] * 0.00341802 + 149, -9))

    def test_cloud_score_plus_by_link(self, scene: Scene) -> None:
        scores = scene.ee.ImageCollection("GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED")
        linked = scene.sentinel().linkCollection(scores, ["cs", "cs_cdf"])
        assert linked.size().getInfo() == scene.sentinel().size().getInfo()
        first = linked.first()
        own = scores.filter(scene.ee.Filter.eq("system:index", first.get("system:index"))).first()
        assert np.array_equal(scene.pixels(first.select("cs"), 10), scene.pixels(own.select("cs"), 10))


class TestSeries:
    """Time series and composites."""

    def ndvi(self, scene: Scene) -> Any:
        def add(image: Any) -> Any:
            return (
                image.normalizedDifference(["SR_B5", "SR_B4"])
                .rename("NDVI")
                .copyProperties(image, ["system:time_start"])
            )

        return scene.landsat("2019-01-01", "2020-01-01").map(add)

    def test_monthly_composites(self, scene: Scene) -> None:
        ee, series = scene.ee, self.ndvi(scene)

        def month(number: Any) -> Any:
            start = ee.Date("2019-01-01").advance(number, "month")
            found = series.filterDate(start, start.advance(1, "month"))
            return found.median().set({"label": start.format("YYYY-MM"), "n": found.size()})

        months = ee.ImageCollection(ee.List.sequence(0, 5).map(month))
        assert months.aggregate_array("label").getInfo() == [f"2019-{m:02}" for m in range(1, 7)]
        by_calendar = [series.filter(ee.Filter.calendarRange(m, m, "month")).size().getInfo() for m in range(1, 7)]
        assert months.aggregate_array("n").getInfo() == by_calendar
        assert months.toBands().bandNames().getInfo() == [f"{i}_NDVI" for i in range(6)]

    def test_harmonic_regression(self, scene: Scene) -> None:
        """The coefficients are numpy's least squares of the same series."""
        ee = scene.ee
        names = ["constant", "t", "cos", "sin"]

        def variables(image: Any) -> Any:
            years = image.date().difference(ee.Date("1970-01-01"), "year")
            time = ee.Image(years).float().rename("t")
            angle = time.multiply(2 * math.pi)
            return image.addBands([ee.Image.constant(1), time, angle.cos().rename("cos"), angle.sin().rename("sin")])

        series = self.ndvi(scene).map(variables)
        fit = series.select([*names, "NDVI"]).reduce(ee.Reducer.linearRegression(4, 1))
        flat = fit.select("coefficients").arrayProject([0]).arrayFlatten([names])
        found = scene.first(flat)
        rows = series.select([*names, "NDVI"]).getRegion(scene.point, 30).getInfo()
        table = np.array([row[4:] for row in rows[1:] if None not in row], dtype=float)
        expected = np.linalg.lstsq(table[:, :4], table[:, 4], rcond=None)[0]
        assert np.allclose([found[name] for name in names], expected, atol=1e-3, rtol=1e-4)
        residual = scene.first(fit.select("residuals").arrayGet([0]))["residuals"]
        assert residual == pytest.approx(np.sqrt(np.mean((table[:, 4] - table[:, :4] @ expected) ** 2)), rel=1e-5)

    def test_region_table(self, scene: Scene) -> None:
        table = self.ndvi(scene).limit(4).getRegion(scene.point, 30).getInfo()
        assert table[0] == ["id", "longitude", "latitude", "time", "NDVI"]
        ids = self.ndvi(scene).limit(4).aggregate_array("system:index").getInfo()
        assert [row[0] for row in table[1:]] == ids
        x, y = table[1][1:3]
        assert math.hypot((x + 105.27) * 85_000, (y - 40.02) * 111_000) < 30

    def test_zonal_table_of_a_series(self, scene: Scene) -> None:
        """reduceRegions in map, flattened: the same as reduceRegion one by one."""
        ee = scene.ee
        zones = ee.FeatureCollection([ee.Feature(scene.point.buffer(size), {"zone": str(size)}) for size in (100, 200)])

        def table(image: Any) -> Any:
            means = image.reduceRegions(zones, ee.Reducer.mean().setOutputs(["ndvi"]), 30)
            return means.map(lambda f: f.set("date", image.date().format("YYYY-MM-dd")))

        series = self.ndvi(scene).limit(3)
        rows = series.map(table).flatten().getInfo()["features"]
        assert [r["properties"]["zone"] for r in rows] == ["100", "200"] * 3
        images = series.toList(3)
        for index in range(3):
            image = ee.Image(images.get(index))
            expected = image.reduceRegion("mean", scene.point.buffer(200), 30).get("NDVI").getInfo()
            assert rows[2 * index + 1]["properties"].get("ndvi") == pytest.approx(expected)

    def test_greenest_pixel_by_arrays(self, scene: Scene) -> None:
        """guides/arrays_sorting, with masked images: the same as the maximum."""
        series = self.ndvi(scene).map(lambda image: image.updateMask(image.gt(0)))
        array = series.toArray()
        last = array.arraySort().arraySlice(0, -1).arrayProject([1]).arrayFlatten([["NDVI"]])
        found, expected = scene.pixels(last.unmask(-5)), scene.pixels(series.max().unmask(-5))
        assert np.allclose(found["NDVI"], expected["NDVI"])
        counts = scene.pixels(array.arrayLength(0).unmask(0))
        assert np.array_equal(counts["array"], scene.pixels(series.count().unmask(0))["NDVI"])

    def test_mosaics_of_days(self, scene: Scene) -> None:
        ee, images = scene.ee, scene.sentinel()
        days = images.aggregate_array("system:time_start").map(lambda t: ee.Date(t).format("YYYY-MM-dd")).distinct()

        def mosaic(day: Any) -> Any:
            start = ee.Date.parse("YYYY-MM-dd", day)
            return images.filterDate(start, start.advance(1, "day")).mosaic().set("date", day)

        made = ee.ImageCollection(days.map(mosaic))
        stamps = images.aggregate_array("system:time_start").getInfo()
        assert made.aggregate_array("date").getInfo() == sorted(
            {np.datetime64(int(t), "ms").astype("datetime64[D]").item().isoformat() for t in stamps}
        )
        assert np.array_equal(
            scene.pixels(ee.Image(made.first()).select("B4"), 10), scene.pixels(images.first().select("B4"), 10)
        )

    def test_nearest_image_in_time(self, scene: Scene) -> None:
        ee = scene.ee
        condition = ee.Filter.maxDifference(
            difference=20 * DAY, leftField="system:time_start", rightField="system:time_start"
        )
        join = ee.Join.saveBest(matchKey="best", measureKey="gap")
        landsat = scene.landsat("2020-04-01", "2020-07-15")
        joined = ee.ImageCollection(join.apply(scene.sentinel(), landsat, condition))
        times = scene.sentinel().aggregate_array("system:time_start").getInfo()
        others = landsat.aggregate_array("system:time_start").getInfo()
        gaps = [min(abs(t - o) for o in others) for t in times]
        # The measure is saved on the match, not on what it matches.
        measured = joined.map(lambda image: image.set("gap", ee.Image(image.get("best")).get("gap")))
        assert measured.aggregate_array("gap").getInfo() == [gap for gap in gaps if gap <= 20 * DAY]
        both = ee.Image(joined.first())
        names = both.select("B4").addBands(ee.Image(both.get("best")).select("SR_B4")).bandNames().getInfo()
        assert names == ["B4", "SR_B4"]

    def test_quality_mosaic_and_iteration(self, scene: Scene) -> None:
        ee, series = scene.ee, self.ndvi(scene).limit(4)
        total = ee.Image(series.iterate(lambda image, so_far: ee.Image(so_far).add(image.unmask(0)), ee.Image(0)))
        expected = series.map(lambda image: image.unmask(0)).sum()
        assert np.allclose(scene.pixels(total)["constant"], scene.pixels(expected)["NDVI"])
        best = series.qualityMosaic("NDVI").unmask(-2)
        assert np.allclose(scene.pixels(best)["NDVI"], scene.pixels(series.max().unmask(-2))["NDVI"])


class TestPixels:
    """Expressions, arrays, neighbourhoods and objects, against numpy."""

    def test_enhanced_vegetation_index(self, scene: Scene) -> None:
        image = scene.sentinel().first()
        bands = {"NIR": image.select("B8"), "RED": image.select("B4"), "BLUE": image.select("B2")}
        index = image.expression("2.5 * ((NIR - RED) / (NIR + 6 * RED - 7.5 * BLUE + 10000))", bands)
        found = scene.pixels(index.rename("EVI").addBands(image.select("B8", "B4", "B2")), 10)
        nir, red, blue = (found[name].astype(float) for name in ("B8", "B4", "B2"))
        assert np.allclose(found["EVI"], 2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 10000), rtol=1e-6)

    def test_tasseled_cap(self, scene: Scene) -> None:
        matrix = [[0.3, 0.2, 0.4, 0.6], [-0.2, -0.1, -0.4, 0.7]]
        image = scene.sentinel().first().select("B2", "B3", "B4", "B8")
        column = image.toArray().toArray(1)
        product = scene.ee.Image(scene.ee.Array(matrix)).matrixMultiply(column)
        caps = product.arrayProject([0]).arrayFlatten([["brightness", "greenness"]])
        found = scene.pixels(caps.addBands(image), 10)
        bands = np.stack([found[name] for name in ("B2", "B3", "B4", "B8")]).astype(float)
        assert np.allclose(found["brightness"], np.tensordot(matrix[0], bands, 1))
        assert np.allclose(found["greenness"], np.tensordot(matrix[1], bands, 1))

    def test_principal_components(self, scene: Scene) -> None:
        """guides/arrays_eigen_analysis: the axes are numpy's, the largest first."""
        ee = scene.ee
        image = scene.sentinel().first().select("B2", "B3", "B4", "B8").toFloat()
        means = image.reduceRegion("mean", scene.region, 20).toImage(image.bandNames())
        centred = image.subtract(means).toArray()
        covariance = ee.Array(centred.reduceRegion(ee.Reducer.centeredCovariance(), scene.region, 20).get("array"))
        eigen = np.array(covariance.eigen().getInfo())
        values, vectors = np.linalg.eigh(np.array(covariance.getInfo()))
        assert np.allclose(eigen[:, 0], values[::-1])
        assert np.allclose(np.abs(eigen[:, 1:] @ vectors[:, ::-1]), np.eye(4), atol=1e-6)

    def test_edges_and_texture(self, scene: Scene) -> None:
        kernel = scene.ee.Kernel.fixed(3, 3, [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], -1, -1, False)
        native = scene.elevation.reproject("EPSG:32613", None, 30)
        whole = scene.pixels(native)["elevation"].astype(float)
        around = [np.roll(whole, (r, c), (0, 1)) for r in (-1, 0, 1) for c in (-1, 0, 1)]
        edges = scene.pixels(native.convolve(kernel))["elevation"]
        assert np.allclose(edges[1:-1, 1:-1], (9 * whole - sum(around))[1:-1, 1:-1])
        spread = scene.pixels(native.reduceNeighborhood("stdDev", scene.ee.Kernel.square(1)))
        assert np.allclose(spread["elevation_stdDev"][1:-1, 1:-1], np.std(around, axis=0)[1:-1, 1:-1])

    def test_objects(self, scene: Scene) -> None:
        """guides/image_objects: labels, sizes, means of objects."""
        ee = scene.ee
        high = scene.elevation.gt(3650).selfMask().reproject("EPSG:32613", None, 30)
        labelled = high.connectedComponents(ee.Kernel.plus(1), 256)
        assert labelled.bandNames().getInfo() == ["elevation", "labels"]
        size = labelled.select("labels").connectedPixelCount(256, False)
        means = (
            scene.elevation.rename("h").addBands(labelled.select("labels")).reduceConnectedComponents("mean", "labels")
        )
        found = scene.pixels(labelled.select("labels").addBands(size.rename("n")).addBands(means).unmask(0))
        for label in np.unique(found["labels"][found["labels"] > 0]):
            where = found["labels"] == label
            assert len(np.unique(found["n"][where])) == len(np.unique(found["h"][where])) == 1

    def test_distance_to_water(self, scene: Scene) -> None:
        target = scene.elevation.gt(3660).reproject("EPSG:32613", None, 30)
        both = target.distance(scene.ee.Kernel.euclidean(5, "pixels")).rename("d").unmask(-1)
        fast = target.fastDistanceTransform(5).sqrt()
        found = scene.pixels(both.addBands(fast))
        near = found["d"] >= 0
        assert np.allclose(found["d"][near], found["distance"][near])
        assert (found["distance"][~near] > 5).all()
        assert (found["d"] == 0).any()

    def test_zonal_histogram_and_areas(self, scene: Scene) -> None:
        ee = scene.ee
        counts = scene.cover.reduceRegion(ee.Reducer.frequencyHistogram(), scene.region, 10).get("Map").getInfo()
        areas = (
            ee.Image.pixelArea()
            .addBands(scene.cover)
            .reduceRegion(
                reducer=ee.Reducer.sum().group(groupField=1, groupName="class"), geometry=scene.region, scale=10
            )
        )
        groups = {str(int(g["class"])): g["sum"] for g in areas.get("groups").getInfo()}
        assert groups.keys() == counts.keys()
        total = scene.region.area(1).getInfo()
        # pixels lie on the ellipsoid, areas of geometries on the authalic sphere
        assert sum(groups.values()) == pytest.approx(total, rel=2e-3)
        share = sum(counts.values())
        for name, area in groups.items():
            assert area / total == pytest.approx(counts[name] / share, abs=0.01)

    def test_stratified_sample(self, scene: Scene) -> None:
        sample = scene.cover.addBands(scene.elevation).stratifiedSample(
            numPoints=5, classBand="Map", region=scene.region, scale=30, geometries=True, seed=3
        )
        rows = sample.getInfo()["features"]
        by_class: dict[int, int] = {}
        for row in rows:
            by_class[row["properties"]["Map"]] = by_class.get(row["properties"]["Map"], 0) + 1
            assert row["geometry"]["type"] == "Point"
        assert max(by_class.values()) == 5

    def test_rectangle_as_numpy(self, scene: Scene) -> None:
        block = np.array(scene.elevation.sampleRectangle(scene.point.buffer(120).bounds()).get("elevation").getInfo())
        assert block.ndim == 2
        here = scene.first(scene.elevation)["elevation"]
        assert here in block

    def test_cut_into_vectors(self, scene: Scene) -> None:
        vectors = scene.cover.reduceToVectors(geometry=scene.region, scale=20, eightConnected=False)
        table = vectors.reduceColumns(scene.ee.Reducer.sum(), ["count"]).get("sum").getInfo()
        pixels = scene.cover.reduceRegion(scene.ee.Reducer.count().unweighted(), scene.region, 20).get("Map").getInfo()
        assert table == pixels

    def test_unmixing(self, scene: Scene) -> None:
        image = scene.sentinel().first().select("B2", "B3", "B4", "B8")
        ends = [[300, 400, 500, 3000], [800, 900, 1000, 1500], [200, 100, 80, 50]]
        free = scene.pixels(image.unmix(ends).addBands(image), 10)
        bands = np.stack([free[b] for b in ("B2", "B3", "B4", "B8")]).reshape(4, -1).astype(float)
        expected = np.linalg.lstsq(np.array(ends, dtype=float).T, bands, rcond=None)[0]
        assert np.allclose([free[f"band_{i}"].ravel() for i in range(3)], expected)
        bound = scene.pixels(image.unmix(ends, True, True), 10)
        shares = np.stack([bound[f"band_{i}"] for i in range(3)])
        assert np.allclose(shares.sum(axis=0), 1)
        assert (shares >= 0).all()

    def test_moving_and_texture_bands(self, scene: Scene) -> None:
        native = scene.elevation.reproject("EPSG:32613", None, 30)
        moved = scene.pixels(native.translate(30, -60))["elevation"]
        plain = scene.pixels(native)["elevation"]
        assert np.array_equal(moved[2:, 1:], plain[:-2, :-1])
        texture = native.toInt().glcmTexture(size=2)
        assert len(texture.bandNames().getInfo()) == 18
        assert np.isfinite(scene.pixels(texture.select("elevation_contrast"))["elevation_contrast"]).all()

    def test_change_statistics(self, scene: Scene) -> None:
        """chi2cdf as change detection scripts have it: the incomplete gamma function of two images."""
        chi2 = scene.elevation.divide(1000)
        found = scene.pixels(chi2.divide(2).gammainc(scene.ee.Number(2).divide(2)).addBands(chi2.rename("x")))
        assert np.allclose(found["elevation"], 1 - np.exp(-found["x"] / 2), atol=1e-6)

    @pytest.mark.exhaustive
    def test_superpixels_and_their_statistics(self, scene: Scene) -> None:
        """Object-based analysis as it is much copied: seeds, SNIC, and statistics of the objects as features."""
        ee = scene.ee
        bands = ["B2", "B3", "B4", "B8"]
        image = scene.sentinel().median().select(bands).divide(10_000).convolve(ee.Kernel.gaussian(3))
        gradient = image.spectralErosion().spectralGradient("emd")
        seeds = ee.Algorithms.Image.Segmentation.seedGrid(12)
        snic = ee.Algorithms.Image.Segmentation.SNIC(
            image=image, size=12, compactness=0.1, connectivity=8, neighborhoodSize=24, seeds=seeds
        ).select([f"{band}_mean" for band in bands] + ["clusters"], [*bands, "clusters"])
        clusters = snic.select("clusters")
        deviation = image.addBands(clusters).reduceConnectedComponents(ee.Reducer.stdDev(), "clusters", 64)
        area = ee.Image.pixelArea().addBands(clusters).reduceConnectedComponents(ee.Reducer.sum(), "clusters", 64)
        found = scene.pixels(snic.addBands(deviation.select("B8")).addBands(area).addBands(gradient), 10)
        objects = found["clusters"].ravel()
        assert 2 <= len(np.unique(objects)) < 60
        for name in ("B8", "B8_1", "area"):
            values = found[name].ravel()
            assert all(np.ptp(values[objects == number]) < 1e-6 * max(1, values.max()) for number in np.unique(objects))
        assert (found["gradient"] >= 0).all()
        vectors = clusters.reduceToVectors(geometry=scene.region, scale=10, geometryType="centroid")
        assert vectors.size().getInfo() > 20

    def test_shadows_of_terrain(self, scene: Scene) -> None:
        """The mask of topographic corrections: by the sun of a scene, with the neighborhood that most scripts take."""
        ee = scene.ee
        image = scene.landsat("2019-01-01", "2019-02-15").first()
        zenith = ee.Number(90).subtract(image.getNumber("SUN_ELEVATION"))
        elevation = scene.elevation.resample("bilinear").multiply(3)
        shadow = ee.Algorithms.HillShadow(elevation, image.get("SUN_AZIMUTH"), zenith, 100, True).focal_mode(3)
        lit = scene.pixels(shadow.addBands(ee.Terrain.hillshade(elevation, image.get("SUN_AZIMUTH"), 30)))
        assert set(np.unique(lit["shadow"])) <= {0, 1}
        assert lit["shadow"].any()

    def test_displaced_clouds(self, scene: Scene) -> None:
        ee = scene.ee
        image = ee.ImageCollection("COPERNICUS/S2_HARMONIZED").filterBounds(scene.point).first()
        found = scene.pixels(ee.Algorithms.Sentinel2.CDI(image), 20)["cdi"]
        assert (np.abs(found) <= 1).all()
        assert found.std() > 0


class TestTables:
    def test_random_points_split_by_a_random_column(self, scene: Scene) -> None:
        points = scene.ee.FeatureCollection.randomPoints(scene.region, 60, 4).randomColumn("r", 7)
        train, rest = points.filter("r < 0.7").size().getInfo(), points.filter("r >= 0.7").size().getInfo()
        assert train + rest == 60
        assert 30 < train < 54

    def test_grouped_statistics(self, scene: Scene) -> None:
        ee = scene.ee
        rows = [("a", 1.0), ("a", 3.0), ("b", 10.0)]
        table = ee.FeatureCollection([ee.Feature(None, {"k": k, "v": v}) for k, v in rows])
        found = table.reduceColumns(
            ee.Reducer.mean().combine(ee.Reducer.count(), "", True).group(1, "k"), ["v", "k"]
        ).getInfo()
        assert found == {"groups": [{"k": "a", "mean": 2, "count": 2}, {"k": "b", "mean": 10, "count": 1}]}

    def test_joins(self, scene: Scene) -> None:
        ee = scene.ee
        left = ee.FeatureCollection([ee.Feature(None, {"id": i, "l": i * 10}) for i in (1, 2, 3)])
        right = ee.FeatureCollection([ee.Feature(None, {"id": i, "r": i * 100}) for i in (2, 3, 3)])
        same = ee.Filter.equals(leftField="id", rightField="id")
        inner = ee.Join.inner().apply(left, right, same)
        pairs = inner.map(
            lambda p: ee.Feature(p.get("primary")).set("r", ee.Feature(p.get("secondary")).get("r"))
        ).reduceColumns(ee.Reducer.toList(2), ["l", "r"])
        assert sorted(pairs.get("list").getInfo()) == [[20, 200], [30, 300], [30, 300]]
        assert ee.Join.simple().apply(left, right, same).size().getInfo() == 2
        assert ee.Join.inverted().apply(left, right, same).aggregate_array("id").getInfo() == [1]
        saved = ee.Join.saveAll("m").apply(left, right, same)
        assert saved.map(lambda f: f.set("n", ee.List(f.get("m")).size())).aggregate_array("n").getInfo() == [1, 2]

    def test_errors_in_map_tell_the_element(self, scene: Scene) -> None:
        """guides/debugging: "Error in map(ID=2): Number.divide: Parameter 'left' is required"."""
        ee = scene.ee
        table = ee.FeatureCollection([ee.Feature(None, {"a": a} if a else {}) for a in (1, 2, None)])
        broken = table.map(lambda f: f.set("b", ee.Number(f.get("a")).divide(2)))
        with pytest.raises(ee.EEException) as caught:
            broken.getInfo()
        assert str(caught.value) == (
            "Error in map(ID=2):\nNumber.divide: Parameter 'left' is required and may not be null."
        )
        with pytest.raises(ee.EEException, match=r"^Collection.reduceColumns: Error in map\(ID=2\):\nNumber.divide: "):
            broken.reduceColumns("mean", ["b"]).getInfo()


class TestPictures:
    def picture(self, url: str) -> np.ndarray:
        response = requests.get(url, timeout=60)
        response.raise_for_status()
        return np.asarray(Picture.open(io.BytesIO(response.content)).convert("RGBA"))

    def test_palette(self, scene: Scene) -> None:
        options = {
            "min": 3400,
            "max": 3800,
            "palette": ["blue", "white", "green"],
            "region": scene.region,
            "dimensions": 64,
        }
        found = self.picture(scene.elevation.getThumbURL(options))
        assert max(found.shape[:2]) == 64
        assert (found[..., 3] == 255).all()

    @pytest.mark.parametrize("how", ["style", "draw", "paint", "map"])
    def test_features(self, scene: Scene, how: str) -> None:
        zones = scene.ee.FeatureCollection([scene.ee.Feature(scene.point.buffer(200), {"v": 1})])
        if how == "map":
            tile = zones.getMapId({"color": "FF0000"})["tile_fetcher"].url_format
            assert requests.get(tile.format(z=12, x=850, y=1553), timeout=60).status_code == 200
            return
        image = {
            "style": lambda: zones.style(color="FF0000", fillColor="00FF0080"),
            "draw": lambda: zones.draw("FF0000"),
            "paint": lambda: scene.ee.Image().byte().paint(zones, 1, 3).visualize(palette=["FF0000"]),
        }[how]()
        found = self.picture(image.getThumbURL({"region": scene.region, "dimensions": 100}))
        edge = (found[..., 0] == 255) & (found[..., 1] == 0) & (found[..., 3] == 255)
        assert 50 < edge.sum() < 2000
        assert found[2, 2, 3] == 0

    def test_structured_arrays(self, scene: Scene) -> None:
        image = scene.sentinel().first().select("B4", "B8").addBands(scene.elevation)
        url = image.getDownloadURL({"region": scene.region, "scale": 30, "format": "NPY"})
        found = np.load(io.BytesIO(requests.get(url, timeout=60).content))
        assert found.dtype.names == ("B4", "B8", "elevation")
        assert found.dtype["elevation"] == np.int16
