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

from local_tests.support.wild_scenes import Scene

pytestmark = pytest.mark.slow

DAY = 86_400_000


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
