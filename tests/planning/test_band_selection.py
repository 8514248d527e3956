"""Bands computed by a local Earth Engine over HTTP: values against numpy, names and errors."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ee
import numpy as np
import numpy.typing as npt
import pytest
from affine import Affine

from eechips.datasets import Dataset, find_dataset, read_dataset
from eechips.datasets.spectral_indices import get_index, list_indices, list_supported, match_bands
from eechips.errors import UnknownDatasetError, UsageError
from eechips.planning import asset_metadata
from eechips.planning.imagery.band_selection import BandSelection, select_bands
from eechips_local.assets import ingest
from local_tests.support.captured_log import CapturedLog
from local_tests.support.local_earth_engine import Server, initialize
from tests.support.coded_store import write_geotiff

Array = npt.NDArray[Any]

EDGE = 24
CRS, CORNER = "EPSG:32613", (500_000, 4_400_000)
ID = "COPERNICUS/S2_ALL_BANDS"  # its beginning gives the wavelengths
SCALE, OFFSET = 2.75e-05, -0.2
COMMON = {
    "A": "coastal", "B": "blue", "G": "green", "G1": "green1", "N": "nir", "N2": "nir08", "R": "red",
    "RE1": "rededge1", "RE2": "rededge2", "RE3": "rededge3", "S1": "swir1", "S2": "swir2", "T": "thermal",
    "Y": "yellow",
}  # fmt: skip
RADAR = ("VV", "VH", "HV", "HH")
WAVELENGTHS = {"G": 559.8, "N": 832.8, "N2": 864.7, "R": 664.6, "S1": 1613.7, "S2": 2202.4}  # nm, Sentinel-2A


@pytest.fixture(scope="module")
def stored() -> dict[str, Array]:
    """Random values of every band of the list, with zeros, equal bands and negative reflectances among them."""
    random = np.random.default_rng(7)
    found = {}
    for name in COMMON:
        values = random.integers(7_000, 50_000, (EDGE, EDGE)).astype(np.uint16)
        values[0, :8] = 12_000  # equal in all bands: differences are zero
        values[1, :8] = random.integers(1, 7_000, 8)  # reflectances below zero
        found[f"x{name}"] = values
    for name in RADAR:
        found[name] = random.uniform(-25, 5, (EDGE, EDGE)).astype(np.float32)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, stored: Mapping[str, Array]) -> Path:
    """The record of a dataset with every band of the list, and its image."""
    made = tmp_path_factory.mktemp("bands")
    lines = [
        'alias = "ALLBANDS"', f'id = "{ID}"', 'kind = "image"', 'title = "All"', 'provider = "Test"',
        'default_bands = ["xR", "xN"]', "pixel_size = 10", "start = 2020-06-01", 'licence = "none"',
        'citation = "none"', "checked = 2026-11-01",
    ]  # fmt: skip
    for position, name in enumerate(stored):
        lines += ["[visualization]", "min = 0", "max = 1"] if position == 0 else []
        lines += ["[[bands]]", f'name = "{name}"']
        if name in RADAR:
            lines.append('units = "dB"')
        else:
            lines += [f'common_names = ["{COMMON[name[1:]]}"]', f"scale = {SCALE}", f"offset = {OFFSET}"]
    (made / "all.toml").write_text("\n".join(lines))
    files = []
    for part in (COMMON, RADAR):
        bands = np.stack([values for name, values in stored.items() if (name in RADAR) == (part is RADAR)])
        files.append(made / f"{len(files)}.tif")
        write_geotiff(files[-1], CRS, Affine(10, 0, CORNER[0], 0, -10, CORNER[1]), bands)
    ingest(files, made / "store", ID, time_start="2020-06-01", bands=list(stored), one_image=True)
    return made


@pytest.fixture(scope="module")
def record(folder: Path) -> Dataset:
    return read_dataset(folder / "all.toml")


@pytest.fixture
def image(folder: Path, serve: Callable[..., Server]) -> Any:
    """The image in a local Earth Engine, with the client connected to it."""
    initialize(serve("--assets", str(folder / "store"), "--rate", "none", "--concurrency", "none"))
    return ee.Image(ID)


def fetch(image: Any) -> Any:
    """Return the pixels of an image as a structured array, with the mask of each band as ``<band>_mask``."""
    masks = image.mask().rename(image.bandNames().map(lambda name: ee.String(name).cat("_mask")))
    return ee.data.computePixels(
        {
            "expression": image.unmask(-9999).addBands(masks.toByte()),
            "fileFormat": "NUMPY_NDARRAY",
            "grid": {
                "dimensions": {"width": EDGE, "height": EDGE},
                "affineTransform": {
                    "scaleX": 10, "shearX": 0, "translateX": CORNER[0],
                    "shearY": 0, "scaleY": -10, "translateY": CORNER[1],
                },
                "crsCode": CRS,
            },
        }
    )  # fmt: skip


def reflectance(stored: Mapping[str, Array]) -> dict[str, Array]:
    """Return the variables of the list's formulas: reflectances, and radar in linear power."""
    found = {name[1:]: values.astype(float) * SCALE + OFFSET for name, values in stored.items() if name not in RADAR}
    found["T1"] = found["T"]
    return found | {name: 10 ** (stored[name].astype(float) / 10) for name in RADAR}


def evaluate(formula: str, values: Mapping[str, Any]) -> Array:
    """Return a formula of the list by numpy."""
    kernels = {
        f"k{a}{b}": np.exp(-((values[a] - values[b]) ** 2) / (2 * values["sigma"] ** 2))
        for a in "NRBG"
        for b in "NRBGL"
    }
    with np.errstate(all="ignore"):
        found: Array = np.asarray(eval(formula, {"__builtins__": {}}, {**values, **kernels}), dtype=float)
    return np.broadcast_to(found, (EDGE, EDGE))


def compare(pixels: Any, name: str, expected: Array) -> int:
    """Check the values of a band; return the number of pixels that have none."""
    values, valid = pixels[name], pixels[f"{name}_mask"] != 0
    assert values.dtype == np.float32
    assert np.array_equal(valid, np.isfinite(expected)), name
    assert np.allclose(values[valid], expected[valid].astype(np.float32), rtol=3e-6, atol=1e-9), name
    return int((~valid).sum())


@pytest.mark.slow
def test_every_index_of_the_list_equals_numpy(image: Any, stored: Mapping[str, Array], record: Dataset) -> None:
    indices = list_supported(record)
    assert {index.name for index in list_indices()} - {index.name for index in indices} == {"NIRvP"}
    constants = {name: value for index in indices for name, value in match_bands(index, record).numbers.items()}
    assert constants["sigma"] == 0.5
    assert {f"lambda{band}": value for band, value in WAVELENGTHS.items()}.items() <= constants.items()
    values = {**reflectance(stored), **constants}
    undefined = 0
    for first in range(0, len(indices), 40):
        some = indices[first : first + 40]
        selection = select_bands("ALLBANDS", record, indices=[index.name for index in some])
        assert selection.names == tuple(index.name for index in some)
        pixels = fetch(selection.select(image))
        for index in some:
            undefined += compare(pixels, index.name, evaluate(index.formula, values))
    assert undefined > 100  # the stored values reach divisions by zero and roots of negative numbers


@pytest.mark.slow
def test_indices_equal_those_of_spyndex(image: Any, stored: Mapping[str, Array], record: Dataset) -> None:
    spyndex = pytest.importorskip("spyndex", reason="spyndex is not installed: numpy is the only oracle of indices")
    names = ["NDVI", "EVI", "SAVI", "NDWI", "NBR", "MSAVI", "IRECI", "BAIS2", "NDISImndwi", "VHVVR", "GEMI"]
    pixels = fetch(select_bands("ALLBANDS", record, indices=names).select(image))
    for name in names:
        inputs = match_bands(get_index(name), record)
        values = {each: reflectance(stored)[each] for each in inputs.bands} | dict(inputs.numbers)
        with np.errstate(all="ignore"):
            compare(pixels, name, np.asarray(spyndex.computeIndex(name, params=values)))


@pytest.mark.parametrize(
    ("formula", "compute"),
    [
        ("(xN - xR) / (xN + xR)", lambda n, r: (n - r) / (n + r)),
        ("(nir - red) / (nir + red)", lambda n, r: (n - r) / (n + r)),
        ("b('xN') * 2 ** -1 + -red", lambda n, r: n / 2 - r),
        ("1 / (nir - red)", lambda n, r: 1 / (n - r)),
        ("(nir - red) ** 0.5", lambda n, r: (n - r) ** 0.5),
        ("(nir - red) ** -0.5", lambda n, r: (n - r) ** -0.5),
        ("(nir - red) ** -2", lambda n, r: (n - r) ** -2.0),
        ("(nir - red) ** ((red > 9000) / 2)", lambda n, r: (n - r) ** ((r > 9000) / 2)),
        ("2 ** (nir / 10000)", lambda n, r: 2 ** (n / 10000)),
        ("sqrt(nir - red)", lambda n, r: np.sqrt(n - r)),
        ("log(nir - red) + log10(red)", lambda n, r: np.log(n - r) + np.log10(r)),
        ("exp(-nir / 10000) * sin(red) + cos(red)", lambda n, r: np.exp(-n / 10000) * np.sin(r) + np.cos(r)),
        ("atan(tan(red)) + tanh(nir / 10000)", lambda n, r: np.arctan(np.tan(r)) + np.tanh(n / 10000)),
        ("floor(nir / 7) - ceil(red / 7)", lambda n, r: np.floor(n / 7) - np.ceil(r / 7)),
        ("round(nir / 4 + 0.01)", lambda n, r: np.round(n / 4 + 0.01)),
        ("max(nir, red) - min(nir, 9000)", lambda n, r: np.maximum(n, r) - np.minimum(n, 9000)),
        ("abs(red - nir)", lambda n, r: np.abs(r - n)),
        ("pow(nir, 2) * 1e-6 + (1 / 3)", lambda n, r: n**2 * 1e-6 + 1 / 3),
        ("nir > red and not red >= 9000 or nir == red", lambda n, r: ((n > r) & ~(r >= 9000)) | (n == r)),
        ("(nir < red) + (nir <= red) * 2 + (nir != red) * 4", lambda n, r: (n < r) + (n <= r) * 2 + (n != r) * 4),
    ],
)  # fmt: skip
def test_expressions_equal_numpy_where_numpy_has_a_value(
    image: Any, stored: Mapping[str, Array], record: Dataset, formula: str, compute: Callable[[Array, Array], Array]
) -> None:
    pixels = fetch(select_bands("ALLBANDS", record, expressions=[f"found = {formula}"]).select(image))
    with np.errstate(all="ignore"):
        expected = np.asarray(compute(stored["xN"].astype(float), stored["xR"].astype(float)), dtype=float)
    compare(pixels, "found", expected)


def test_bands_come_first_then_indices_then_expressions(
    image: Any, stored: Mapping[str, Array], record: Dataset
) -> None:
    selection = select_bands("ALLBANDS", record, ["red", "xN"], ["NDVI", "evi"], ["twice = 2*xB", "sum=red+nir"])
    assert selection.names == ("red", "xN", "NDVI", "EVI", "twice", "sum")
    assert selection.stored == ("xR", "xN", "xB")
    assert pickle.loads(pickle.dumps(selection)) == selection
    pixels = fetch(selection.select(image))
    assert [name for name in pixels.dtype.names if not name.endswith("_mask")] == list(selection.names)
    assert np.array_equal(pixels["red"], stored["xR"])
    assert np.array_equal(pixels["xN"], stored["xN"])
    compare(pixels, "twice", 2.0 * stored["xB"])
    bands = selection.find_bands(asset_metadata.fetch_metadata(ID))
    assert [band.dtype for band in bands] == ["uint16", "uint16", "float32", "float32", "float32", "float32"]
    assert {band.grid.crs for band in bands} == {CRS}


def test_scaled_bands_are_reflectances_under_the_same_names(
    image: Any, stored: Mapping[str, Array], record: Dataset
) -> None:
    selection = select_bands("ALLBANDS", record, ["xR", "nir", "VV"], expressions=["d=nir-red"], is_scaled=True)
    pixels = fetch(selection.select(image))
    values = reflectance(stored)
    compare(pixels, "xR", values["R"])
    compare(pixels, "nir", values["N"])
    compare(pixels, "VV", stored["VV"].astype(float))  # decibels have no scale
    compare(pixels, "d", values["N"] - values["R"])
    default = select_bands("ALLBANDS", record, is_scaled=True)
    assert default.names == ("xR", "xN")
    assert len(default.computed) == 2


def test_masked_pixels_stay_masked_and_properties_are_kept(image: Any, record: Dataset) -> None:
    hidden = image.updateMask(image.select("xR").lt(20_000))
    made: Any = select_bands("ALLBANDS", record, ["xB"], ["NDVI"]).select(hidden)
    pixels = fetch(made)
    assert 0 < (pixels["NDVI_mask"] != 0).mean() < 1
    assert np.all(pixels["NDVI_mask"][pixels["xB_mask"] == 0] == 0)
    about = made.getInfo()
    assert about["properties"]["system:time_start"] == image.get("system:time_start").getInfo()
    assert about["bands"][1]["crs"] == CRS
    assert about["bands"][1]["crs_transform"] == [10, 0, CORNER[0], 0, -10, CORNER[1]]
    assert about["bands"][1]["data_type"] == {"type": "PixelType", "precision": "float"}


def test_stored_bands_alone_are_selected_as_before(image: Any, record: Dataset) -> None:
    selection = select_bands("ALLBANDS", record, ["xR", "xN"])
    assert selection == BandSelection(("xR", "xN"))
    assert selection.parameters == {}
    assert selection.select(image).serialize() == image.select(["xR", "xN"]).serialize()
    assert select_bands(ID, None, ["red"]) == BandSelection(("red",))
    assert select_bands(ID, None) == BandSelection(())


def test_a_dataset_without_a_record_takes_expressions_of_its_band_names(
    image: Any, stored: Mapping[str, Array]
) -> None:
    selection = select_bands(ID, None, expressions=["ndvi=(xN-xR)/(xN+xR)"])
    about = asset_metadata.fetch_metadata(ID)
    assert [band.name for band in selection.find_bands(about)] == ["ndvi"]
    n, r = stored["xN"].astype(float), stored["xR"].astype(float)
    compare(fetch(selection.select(image)), "ndvi", (n - r) / (n + r))
    with pytest.raises(UnknownDatasetError, match="has no band 'xRR'; did you mean"):
        select_bands(ID, None, expressions=["y=xRR"]).find_bands(about)


def test_parameters_hold_the_formula_and_the_scale_of_each_input(record: Dataset) -> None:
    selection = select_bands("ALLBANDS", record, ["red"], ["SAVI"], ["y=VV+1"])
    assert selection.parameters == {
        "computed": [
            {"name": "red", "formula": "xR"},
            {
                "name": "SAVI",
                "formula": "(1.0 + L) * (N - R) / (N + R + L)",
                "values": {"N": "xN * 2.75e-05 + -0.2", "R": "xR * 2.75e-05 + -0.2", "L": 1.0},
            },
            {"name": "y", "formula": "VV+1", "values": {"VV": "VV"}},
        ]
    }
    radar = select_bands("ALLBANDS", record, indices=["VHVVR"]).parameters["computed"][0]["values"]
    assert radar == {"VH": "10 ** ((VH) / 10)", "VV": "10 ** ((VV) / 10)"}


def test_an_index_of_counts_without_a_scale_is_computed_with_a_warning(caplog: CapturedLog) -> None:
    naip = find_dataset("NAIP")
    select_bands("NAIP", naip, indices=["NDVI", "GNDVI", "VARI", "SR", "GCC"])
    assert caplog.text == ""  # ratios need no scale
    select_bands("NAIP", naip, indices=["EVI", "SAVI", "ExG"])
    assert "SAVI is computed from the stored values" in caplog.text
    assert "EVI is computed from the stored values of N, R, B: the record of NAIP has no scale" in caplog.text
    caplog.clear()
    select_bands("S2", find_dataset("S2"), indices=["EVI"])
    select_bands("HLSL30", find_dataset("HLSL30"), indices=["EVI"])
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"indices": ["NDVJ"]}, "no spectral index 'NDVJ'"),
        ({"indices": ["NDVI", "ndvi"]}, "NDVI is asked for twice"),
        ({"bands": ["B4"], "expressions": ["B4=B8"]}, "B4 is asked for twice"),
        ({"expressions": ["ndvi"]}, r"index='ndvi' is not NAME=FORMULA"),
        ({"expressions": ["=B8"]}, "not NAME=FORMULA"),
        ({"expressions": ["x="]}, "not NAME=FORMULA"),
        ({"expressions": ["x==B8"]}, "not NAME=FORMULA"),
        ({"expressions": ["a b=B8"]}, "not NAME=FORMULA"),
        ({"expressions": ["a/b=B8"]}, "not NAME=FORMULA"),
        ({"expressions": ["x=B8+nirr"]}, r"index='x=B8\+nirr': S2 has no band 'nirr'; did you mean 'nir' or"),
        ({"expressions": ["x=B8+zzzzzz"]}, "has no band 'zzzzzz'; there are B1, B2"),
        ({"expressions": ["x=3"]}, "has no band"),
    ],
)
def test_wrong_choices_are_refused_before_any_request(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        select_bands("S2", find_dataset("S2"), **options)


def test_indices_and_scales_need_a_record() -> None:
    with pytest.raises(UsageError, match="`index` needs the record of a dataset, and users/me/x has none"):
        select_bands("users/me/x", None, indices=["NDVI"])
    with pytest.raises(UsageError, match="`values` needs the record"):
        select_bands("users/me/x", None, ["B1"], is_scaled=True)


def test_the_finest_band_of_an_index_decides_its_pixels() -> None:
    (ndmi,) = select_bands("S2", find_dataset("S2"), indices=["NDMI"]).computed
    (nbr2,) = select_bands("S2", find_dataset("S2"), indices=["NBR2"]).computed
    assert ndmi.reference == "B8"
    assert nbr2.reference == "B11"
    assert math.isclose(
        dict(select_bands("S2", find_dataset("S2"), indices=["kNDVI"]).computed[0].constants)["sigma"], 0.5
    )
