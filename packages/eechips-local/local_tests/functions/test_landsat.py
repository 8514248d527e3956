"""Landsat's calibration against the USGS's formulas, and cloud scores and composites against numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.graphs import Ready, invoke
from local_tests.support.images import UTM, asset, evaluate, read, stored

SHAPE = UTM.shape
BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B9", "B10", "B11", "QA_PIXEL")
# As in the metadata of LC08_L1TP_044034_20140318_20200911_02_T1; K1 and K2 of band 11 are those of band 10 here.
OLI: dict[str, Any] = {
    "SPACECRAFT_ID": "LANDSAT_8", "SENSOR_ID": "OLI_TIRS", "SUN_ELEVATION": 46.5, "WRS_PATH": 44, "WRS_ROW": 34,
    "CLOUD_COVER": 1.0,
    **{f"REFLECTANCE_MULT_BAND_{n}": 2.0e-5 for n in range(1, 10)},
    **{f"REFLECTANCE_ADD_BAND_{n}": -0.1 for n in range(1, 10)},
    **{f"RADIANCE_MULT_BAND_{n}": 0.0123 for n in range(1, 10)},
    **{f"RADIANCE_ADD_BAND_{n}": -61.5 for n in range(1, 10)},
    **{f"RADIANCE_MULT_BAND_{n}": 3.342e-4 for n in (10, 11)},
    **{f"RADIANCE_ADD_BAND_{n}": 0.1 for n in (10, 11)},
    **{f"K1_CONSTANT_BAND_{n}": 774.8853 for n in (10, 11)},
    **{f"K2_CONSTANT_BAND_{n}": 1321.0789 for n in (10, 11)},
}  # fmt: skip
SUN = math.sin(math.radians(46.5))


def numbers(reflectance: Any, kelvin: float = 295.0) -> Any:
    """The stored numbers of a scene of one spectrum: six reflectances (blue to SWIR 2) everywhere."""
    radiance = 774.8853 / (math.exp(1321.0789 / kelvin) - 1)
    blue, green, red, nir, swir1, swir2 = (round((r * SUN + 0.1) / 2e-5) for r in reflectance)
    thermal = round((radiance - 0.1) / 3.342e-4)
    values = [blue, blue, green, red, nir, swir1, swir2, red, 5000, thermal, thermal, 21824]
    return np.stack([np.full(SHAPE, value, dtype=np.uint16) for value in values])


LAND = (0.10, 0.09, 0.08, 0.30, 0.20, 0.12)
CLOUD = (0.50, 0.50, 0.52, 0.55, 0.40, 0.30)
SNOW = (0.80, 0.80, 0.78, 0.70, 0.05, 0.04)


def scene(values: Any, id: str = "test/image", **more: Any) -> Any:
    return asset(values, names=BANDS, id=id, properties={**OLI, **more})


def named(image: Any) -> dict[str, Any]:
    return {band.name: p for band, p in zip(image.bands, read(image), strict=True)}


class TestCalibration:
    def test_reflectance_and_temperature_are_those_of_the_handbook(self) -> None:
        """Landsat 8 Data Users Handbook, section 5."""
        random = np.random.default_rng(1)
        values = random.integers(6000, 40_000, (len(BANDS), *SHAPE)).astype(np.uint16)
        found = named(evaluate(invoke("Landsat.TOA", input=stored()), scene(values)))
        for band in range(1, 10):
            expected = (values[band - 1] * 2.0e-5 - 0.1) / SUN
            assert np.allclose(found[f"B{band}"].values, expected, rtol=1e-6)
        radiance = values[9] * 3.342e-4 + 0.1
        assert np.allclose(found["B10"].values, 1321.0789 / np.log(774.8853 / radiance + 1), rtol=1e-6)
        assert np.array_equal(found["QA_PIXEL"].values, values[11])

    def test_radiance_is_linear(self) -> None:
        values = np.full((len(BANDS), *SHAPE), 10_000, dtype=np.uint16)
        found = named(evaluate(invoke("Landsat.calibratedRadiance", image=stored()), scene(values)))
        assert np.allclose(found["B4"].values, 0.0123 * 10_000 - 61.5, rtol=1e-6)
        assert np.allclose(found["B11"].values, 3.442, rtol=1e-6)

    def test_old_scenes_take_irradiance_and_distance_of_chander(self) -> None:
        """Chander et al. (2009): equation 2; table 6: 0.98331 astronomical units on 1 January, 1.01667 on 1 July."""
        values = np.full((7, *SHAPE), 100, dtype=np.uint8)
        names = ("B1", "B2", "B3", "B4", "B5", "B6", "B7")
        facts: dict[str, Any] = {"SPACECRAFT_ID": "LANDSAT_5", "SENSOR_ID": "TM", "SUN_ELEVATION": 60.0}
        for band in range(1, 8):
            facts |= {f"RADIANCE_MULT_BAND_{band}": 0.5, f"RADIANCE_ADD_BAND_{band}": -1.0}
        for moment, distance in ((1_104_537_600_000, 0.98331), (1_120_176_000_000, 1.01667)):
            stored_scene = asset(values, names=names, properties={**facts, "system:time_start": moment})
            found = named(evaluate(invoke("Landsat.TOA", input=stored()), stored_scene))
            expected = math.pi * 49.0 * distance**2 / (1536.0 * math.sin(math.radians(60)))
            assert np.allclose(found["B3"].values, expected, rtol=1e-3)
            assert np.allclose(found["B6"].values, 1260.56 / math.log(607.76 / 49.0 + 1), rtol=1e-6)

    def test_bands_of_one_number_are_thermal_by_their_sensor(self) -> None:
        values = np.full((len(BANDS), *SHAPE), 10_000, dtype=np.uint16)
        found = named(evaluate(invoke("Landsat.TOA", input=stored()), scene(values)))
        assert np.allclose(found["B6"].values, 0.1 / SUN, rtol=1e-6)  # shortwave infrared of OLI

    def test_missing_metadata_are_named(self) -> None:
        values = np.full((1, *SHAPE), 100, dtype=np.uint16)
        with pytest.raises(InvalidError, match=r"Landsat\.TOA: The image has no numeric property"):
            evaluate(invoke("Landsat.TOA", input=stored()), asset(values, names=["B4"]))
        with pytest.raises(InvalidError, match="no bands of a Landsat scene"):
            evaluate(invoke("Landsat.TOA", input=stored()), asset(values, names=["red"], properties=OLI))

    def test_metadata_stay(self) -> None:
        values = np.full((len(BANDS), *SHAPE), 10_000, dtype=np.uint16)
        image = evaluate(
            invoke("Landsat.translateMetadata", input=invoke("Landsat.TOA", input=stored())), scene(values)
        )
        assert image.properties["SENSOR_ID"] == "OLI_TIRS"


class TestCloudScore:
    @pytest.mark.parametrize(
        ("spectrum", "kelvin", "score"),
        [
            (LAND, 300.0, 0),
            (CLOUD, 280.0, 100),
            (CLOUD, 296.0, 40),  # by temperature: (296 - 300) / (290 - 300)
            (SNOW, 270.0, 0),  # its snow index of 0.88 is above 0.8
            ((0.18, 0.5, 0.5, 0.6, 0.3, 0.2), 270.0, 40),  # by blue: (0.18 - 0.1) / (0.3 - 0.1)
        ],
    )
    def test_the_least_sign_decides(self, spectrum: Any, kelvin: float, score: int) -> None:
        """The thresholds are published in Earth Engine's example SimpleCloudScore."""
        toa = invoke("Landsat.TOA", input=stored())
        image = evaluate(invoke("Landsat.simpleCloudScore", image=toa), scene(numbers(spectrum, kelvin)))
        assert [band.name for band in image.bands] == [*BANDS, "cloud"]
        found = named(image)["cloud"].values
        assert (found == score).all()

    def test_the_sensor_must_be_known(self) -> None:
        with pytest.raises(InvalidError, match="Cloud scores need the property SENSOR_ID, one of OLI_TIRS, ETM, TM"):
            evaluate(invoke("Landsat.simpleCloudScore", image=stored()), asset(numbers(LAND), names=BANDS))
        without = scene(numbers(LAND)[:5])
        with pytest.raises(InvalidError, match="B6 is missing"):
            evaluate(
                invoke("Landsat.simpleCloudScore", image=stored()),
                asset(numbers(LAND)[:5], names=BANDS[:5], properties=without.properties),
            )


def collection(*ids: str) -> Ready:
    return invoke("ImageCollection.fromImages", images=[stored(name) for name in ids])


class TestPathRowLimit:
    def test_the_least_cloudy_of_each_path_and_row_stay_in_order(self) -> None:
        scenes = [
            scene(numbers(LAND), "test/a", CLOUD_COVER=50.0),
            scene(numbers(LAND), "test/b", CLOUD_COVER=5.0),
            scene(numbers(LAND), "test/c", CLOUD_COVER=10.0),
            scene(numbers(LAND), "test/d", CLOUD_COVER=90.0, WRS_ROW=33),
        ]
        images = collection(*(s.id for s in scenes))

        def kept(cell: int, total: int) -> list[str]:
            limited = invoke("Landsat.pathRowLimit", collection=images, maxScenesPerPathRow=cell, maxScenesTotal=total)
            return [image.id for image in evaluate(limited, *scenes)]

        assert kept(2, 100) == ["test/b", "test/c", "test/d"]
        assert kept(1, 100) == ["test/b", "test/d"]
        assert kept(25, 2) == ["test/b", "test/c"]


class TestSimpleComposite:
    def test_clouds_are_left_out_and_the_rest_is_the_median(self) -> None:
        spectra = [(0.10 + d, 0.09 + d, 0.08 + d, 0.30 + d, 0.20 + d, 0.12 + d) for d in (0.0, 0.01, 0.04)]
        scenes = [scene(numbers(s, 300.0), f"test/{i}") for i, s in enumerate(spectra)]
        cloudy = scene(numbers(CLOUD, 280.0), "test/cloud")
        composite = invoke("Landsat.simpleComposite", collection=collection("test/0", "test/1", "test/cloud", "test/2"))
        image = evaluate(composite, *scenes, cloudy)
        assert [band.name for band in image.bands] == list(BANDS[:-1])
        found = named(image)
        assert all(p.values.dtype == np.uint8 for p in found.values())
        assert (found["B4"].values == round(0.09 * 255)).all()
        assert (found["B5"].values == round(0.31 * 255)).all()
        assert (found["B10"].values == 200).all()

    def test_scores_within_the_range_are_accepted(self) -> None:
        """Scores 0 and 40: both within a range of 40, and only the lower one within 39."""
        scenes = [scene(numbers(CLOUD, 300.0), "test/0"), scene(numbers(CLOUD, 296.0), "test/1")]
        for span, expected in ((39, 300.0), (40, 298.0)):
            composite = invoke(
                "Landsat.simpleComposite", collection=collection("test/0", "test/1"), cloudScoreRange=span, asFloat=True
            )
            assert np.allclose(named(evaluate(composite, *scenes))["B10"].values, expected, atol=0.05)

    def test_the_depth_takes_the_least_cloudy_scenes(self) -> None:
        scenes = [
            scene(numbers(LAND, 300.0), "test/0", CLOUD_COVER=30.0),
            scene(numbers((0.2, 0.2, 0.2, 0.3, 0.2, 0.2), 305.0), "test/1", CLOUD_COVER=2.0),
        ]
        composite = invoke("Landsat.simpleComposite", collection=collection("test/0", "test/1"), maxDepth=1)
        assert (named(evaluate(composite, *scenes))["B10"].values == 205).all()

    def test_percentiles_and_nothing(self) -> None:
        scenes = [scene(numbers(LAND, kelvin), f"test/{kelvin:g}") for kelvin in (300.0, 304.0, 308.0)]
        composite = invoke(
            "Landsat.simpleComposite", collection=collection("test/300", "test/304", "test/308"), percentile=100
        )
        assert (named(evaluate(composite, *scenes))["B10"].values == 208).all()
        assert evaluate(invoke("Landsat.simpleComposite", collection=collection())).bands == ()
