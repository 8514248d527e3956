"""Masks against numpy, which reads the bits from the tables in the data's documentation, for every value there is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine

import eechips
from eechips.errors import UsageError
from eechips.planning.imagery.image_masking import parse_mask
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server, initialize
from tests.support.coded_store import write_geotiff

pytestmark = pytest.mark.slow

EDGE = 256  # pixels: 65,536 of them hold every number of 16 bits
CRS, CORNER = "EPSG:32613", (500_000, 4_400_000)
S2, CS = "COPERNICUS/S2_SR_HARMONIZED", "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED"
L8, LST = "LANDSAT/LC08/C02/T1_L2", "MODIS/061/MOD11A2"
NDVI, STATE, HLS = "MODIS/061/MOD13A2", "MODIS/061/MOD09GA", "NASA/HLS/HLSL30/v002"
INDEX = "20200601T175911_20200601T175905_T13TDE"
UNSCORED = "20200606T175911_20200606T175905_T13TDE"

Array = npt.NDArray[Any]
EVERY = np.arange(65_536, dtype=np.uint16).reshape(EDGE, EDGE)  # each number once
BYTES = (EVERY % 256).astype(np.uint8)
CLASSES = np.repeat(np.repeat(EVERY[: EDGE // 2, : EDGE // 2] % 12, 2, axis=0), 2, axis=1).astype(np.uint8)
SCORES = np.random.default_rng(5).random((2, EDGE, EDGE), dtype=np.float32)
VALUES = (EVERY % 9_973 + 1).astype(np.uint16)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Server:
    """One image of each dataset, two of Sentinel-2, of which one has no cloud score."""
    folder = tmp_path_factory.mktemp("masks")

    def write(name: str, *bands: Array, edge: int = 10) -> Path:
        path = folder / f"{name}.tif"
        write_geotiff(path, CRS, Affine(edge, 0, CORNER[0], 0, -edge, CORNER[1]), np.stack(bands))
        return path

    def add(asset: str, path: Path | list[Path], bands: list[str], **options: Any) -> None:
        ingest(path, folder / "store", asset, time_start="2020-06-01", bands=bands, **options)

    scenes = [write("s2_10m", VALUES, VALUES + 1, EVERY), write("s2_20m", CLASSES[::2, ::2].astype(np.uint16), edge=20)]
    for index in (INDEX, UNSCORED):
        add(f"{S2}/{index}", scenes, ["B4", "B8", "QA60", "SCL"], one_image=True)
    add(f"{CS}/{INDEX}", write("score", *SCORES), ["cs", "cs_cdf"])
    add(f"{L8}/LC08_033032_20200601", write("landsat", VALUES, VALUES + 2, EVERY), ["SR_B4", "SR_B5", "QA_PIXEL"])
    lst = write("lst", VALUES, BYTES.astype(np.uint16), VALUES + 3, BYTES[::-1].astype(np.uint16))
    add(f"{LST}/2020_06_01", lst, ["LST_Day_1km", "QC_Day", "LST_Night_1km", "QC_Night"])
    add(f"{NDVI}/2020_06_01", write("ndvi", VALUES, EVERY % 4), ["NDVI", "SummaryQA"])
    add(f"{STATE}/2020_06_01", write("state", VALUES, EVERY), ["sur_refl_b01", "state_1km"])
    add(f"{HLS}/T13TDE_20200601", write("hls", VALUES, BYTES.astype(np.uint16)), ["B4", "Fmask"])
    store = str(folder / "store")
    return serve("--assets", store, "--no-demo", "--rate", "none", "--concurrency", "none")


def bit(values: Array, *numbers: int) -> Array:
    """Return where any of some bits is set, by the binary digits of each number."""
    digits = np.unpackbits(values.astype("<u2")[..., None].view(np.uint8), axis=-1, bitorder="little")
    return digits[..., list(numbers)].any(axis=-1)


def two(values: Array, first: int) -> Array:
    """Two bits as a number."""
    return bit(values, first) + 2 * bit(values, first + 1)


def read(ee: Any, image: str, mask: str, *bands: str) -> npt.NDArray[np.bool_]:
    """Return where the bands of an image are valid under a mask: (bands, rows, columns)."""
    dataset = image.rpartition("/")[0]
    chosen = parse_mask(mask, dataset)
    assert chosen is not None
    masked = chosen.apply(ee.Image(image), bands)
    assert masked.bandNames().getInfo() == list(bands)
    a, f = CORNER
    grid = {
        "dimensions": {"width": EDGE, "height": EDGE},
        "affineTransform": {"scaleX": 10, "shearX": 0, "translateX": a, "shearY": 0, "scaleY": -10, "translateY": f},
        "crsCode": CRS,
    }
    found = ee.data.computePixels({"expression": masked.mask().toUint8(), "fileFormat": "NUMPY_NDARRAY", "grid": grid})
    return np.stack([found[band] == 1 for band in bands])


LANDSAT = {"fill": 0, "dilated": 1, "cirrus": 2, "cloud": 3, "shadow": 4, "snow": 5, "water": 7}
SCL = {"defective": [1], "dark": [2], "shadow": [3], "vegetation": [4], "bare": [5], "water": [6],
       "unclassified": [7], "cloud": [8, 9], "cirrus": [10], "snow": [11]}  # fmt: skip
DARK = two(EVERY, 8)
STATES = {
    "cloud": two(EVERY, 0) == 1, "mixed": two(EVERY, 0) == 2, "shadow": bit(EVERY, 2), "cirrus": two(EVERY, 8) >= 2,
    "internal": bit(EVERY, 10), "snow": bit(EVERY, 12, 15), "adjacent": bit(EVERY, 13),
}  # fmt: skip
QC = {
    "unproduced": lambda qc: two(qc, 0) >= 2, "other": lambda qc: two(qc, 0) == 1, "over1k": lambda qc: two(qc, 6) > 0,
    "over2k": lambda qc: two(qc, 6) > 1, "over3k": lambda qc: two(qc, 6) > 2,
}  # fmt: skip

CASES: list[tuple[str, str, str, Array]] = [
    *((f"{L8}/LC08_033032_20200601", "SR_B4", f"qa_pixel:{kind}", bit(EVERY, n)) for kind, n in LANDSAT.items()),
    (f"{L8}/LC08_033032_20200601", "SR_B4", "auto", bit(EVERY, 0, 1, 2, 3, 4)),
    (f"{L8}/LC08_033032_20200601", "SR_B4", "qa_pixel:cloud,shadow,snow", bit(EVERY, 3, 4, 5)),
    *((f"{S2}/{INDEX}", "B4", f"scl:{kind}", np.isin(CLASSES, classes)) for kind, classes in SCL.items()),
    (f"{S2}/{INDEX}", "B4", "auto", np.isin(CLASSES, [1, 3, 8, 9, 10])),
    (f"{S2}/{INDEX}", "B4", "qa60", bit(EVERY, 10, 11)),
    (f"{S2}/{INDEX}", "B4", "qa60:cirrus", bit(EVERY, 11)),
    (f"{S2}/{INDEX}", "B4", "cs", SCORES[0] < 0.6),
    (f"{S2}/{INDEX}", "B4", "cs_cdf", SCORES[1] < 0.6),
    (f"{S2}/{INDEX}", "B4", "cs:0.25", SCORES[0] < 0.25),
    (f"{S2}/{UNSCORED}", "B4", "cs", np.ones((EDGE, EDGE), bool)),
    *((f"{LST}/2020_06_01", "LST_Day_1km", f"qc:{kind}", find(BYTES)) for kind, find in QC.items()),
    *((f"{LST}/2020_06_01", "LST_Night_1km", f"qc:{kind}", find(BYTES[::-1])) for kind, find in QC.items()),
    (f"{LST}/2020_06_01", "LST_Day_1km", "auto", (two(BYTES, 0) >= 2) | (two(BYTES, 6) > 1)),
    (f"{NDVI}/2020_06_01", "NDVI", "auto", EVERY % 4 >= 2),
    (f"{NDVI}/2020_06_01", "NDVI", "summaryqa:marginal", EVERY % 4 == 1),
    *((f"{STATE}/2020_06_01", "sur_refl_b01", f"state:{kind}", wrong) for kind, wrong in STATES.items()),
    (f"{STATE}/2020_06_01", "sur_refl_b01", "auto", np.isin(two(EVERY, 0), [1, 2]) | bit(EVERY, 2) | (DARK >= 2)),
    (f"{HLS}/T13TDE_20200601", "B4", "auto", bit(BYTES, 1, 2, 3)),
    (f"{HLS}/T13TDE_20200601", "B4", "fmask:snow,water", bit(BYTES, 4, 5)),
]  # fmt: skip


@pytest.mark.parametrize(("image", "band", "mask", "wrong"), CASES, ids=lambda value: str(value)[-30:])
def test_a_mask_removes_the_documented_bits(server: Server, image: str, band: str, mask: str, wrong: Array) -> None:
    (clear,) = read(initialize(server), image, mask, band)
    assert np.array_equal(clear, ~wrong)


def test_day_and_night_have_quality_bands_of_their_own(server: Server) -> None:
    bands = ("LST_Night_1km", "LST_Day_1km", "QC_Day")
    night, *days = read(initialize(server), f"{LST}/2020_06_01", "auto", *bands)
    assert np.array_equal(night, ~((two(BYTES[::-1], 0) >= 2) | (two(BYTES[::-1], 6) > 1)))
    for day in days:
        assert np.array_equal(day, ~((two(BYTES, 0) >= 2) | (two(BYTES, 6) > 1)))


@pytest.mark.parametrize(
    ("dataset", "band", "mask", "wrong"),
    [
        (L8, "SR_B4", "auto", bit(EVERY, 0, 1, 2, 3, 4)),
        (S2, "B4", "scl:cloud,shadow", np.isin(CLASSES, [3, 8, 9])),
        (S2, "B4", "cs", SCORES[0] < 0.6),
    ],
)
def test_files_and_the_manifest_s_valid_fraction(
    server: Server, tmp_path: Path, dataset: str, band: str, mask: str, wrong: Array
) -> None:
    run = eechips.images(
        dataset, roi="-105.1,39.6,-104.9,39.8", bands=[band], mask=mask, endpoint=server.url, rate=None,
        executor="threads", quiet=True, out=tmp_path,
    )  # fmt: skip
    assert run.is_complete
    for unit in run.units.to_dict("records"):
        wanted = np.ones_like(wrong) if mask == "cs" and UNSCORED in unit["file"] else wrong
        assert (unit["width"], unit["height"]) == (EDGE, EDGE)
        assert unit["valid_fraction"] == np.count_nonzero(~wanted) / wanted.size
        assert unit["state"] == ("empty" if wanted.all() else "done")
        with rasterio.open(run.path / unit["file"]) as file:
            assert np.array_equal(file.read_masks(1) != 0, ~wanted)
            assert np.array_equal(file.read(1)[~wanted], VALUES[~wanted])
    text = parse_mask(mask, dataset)
    assert text is not None
    assert run.info["parameters"]["mask"] == text.text


def test_datasets_without_masks_are_refused(server: Server, tmp_path: Path) -> None:
    options: dict[str, Any] = {"endpoint": server.url, "quiet": True, "out": tmp_path, "roi": "-105,39.6,-104.9,39.8"}
    with pytest.raises(UsageError, match="no mask is known for USDA/NAIP/DOQQ"):
        eechips.images("NAIP", mask="auto", **options)
    with pytest.raises(UsageError, match="has no image that meets the region and has MSK_CLDPRB: 2 have B4"):
        eechips.images("S2", bands="MSK_CLDPRB", mask="auto", **options)
