"""Scripts of expressions, arrays, neighbourhoods and objects, run by the real client against the demo planet.

Each says what must come out: by another way to the same result, or by numpy over pixels that were downloaded.
"""

from __future__ import annotations

import numpy as np
import pytest

from local_tests.support.wild_scenes import Scene

pytestmark = pytest.mark.slow


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
