"""Statistics of files, against numpy, and perceptual hashes of pictures."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from eechips.errors import UsageError, ValidationError
from eechips.formats import geotiff, jpeg
from eechips.training.quality.chip_statistics import ChipStatistics, compute_statistics, offset
from eechips.training.sample import SampleFile
from tests.support.finished_run import TRANSFORM, geotiff_of, npy_of, png_of

S2 = "COPERNICUS/S2_SR_HARMONIZED"


def of(data: bytes, suffix: str, *datasets: str, **facts: object) -> ChipStatistics:
    file = SampleFile("", f"x.{suffix}", len(data), hashlib.sha256(data).hexdigest(), **facts)  # type: ignore[arg-type]
    return compute_statistics(data, file, datasets)


def texture(seed: int, size: int = 64) -> npt.NDArray[np.uint8]:
    """Something with hills and valleys, of three bands."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    waves = sum(
        np.sin(2 * np.pi * (draw.normal(size=2) * 3 @ [y.ravel(), x.ravel()]) + draw.uniform(0, 6)) for _ in "12345"
    )
    grey = np.asarray(waves).reshape(size, size)
    scaled = (grey - grey.min()) / np.ptp(grey) * 180 + 30
    return np.stack([scaled, scaled * 0.9, scaled * 0.8]).astype(np.uint8)


@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1))
def test_statistics_are_those_of_valid_pixels(seed: int, share: float) -> None:
    draw = np.random.default_rng(seed)
    values = draw.choice(np.array([0, 0, 0, 65535, 7, 500], dtype=np.uint16), (3, 12, 10))
    mask = draw.random((12, 10)) < share
    found = of(geotiff_of(values, mask), "tif")
    known = values[:, mask].astype(float)
    assert (found.width, found.height) == (10, 12)
    assert found.valid_fraction == pytest.approx(mask.mean())
    if not mask.any():
        assert (found.min, found.mean, found.black, found.is_constant) == (None, None, 0.0, True)
        return
    assert (found.min, found.max) == (known.min(), known.max())
    assert (found.mean, found.std) == (pytest.approx(known.mean()), pytest.approx(known.std()))
    assert found.black == pytest.approx((known == 0).all(axis=0).mean())
    assert found.saturated == pytest.approx((known == 65535).any(axis=0).mean())
    assert found.is_constant is all(len(set(band)) == 1 for band in known.tolist())


def test_floats_are_never_saturated_and_what_is_not_a_number_is_not_valid() -> None:
    values = np.full((1, 8, 8), 3.0, dtype=np.float32)
    values[0, :2] = np.nan
    found = of(npy_of(values, np.ones((8, 8), dtype=bool)), "npy")
    assert (found.valid_fraction, found.saturated, found.kinds, found.is_constant) == (0.75, None, None, True)


def test_the_same_pixels_have_the_same_digest_whatever_the_file() -> None:
    values, mask = texture(1), np.ones((64, 64), dtype=bool)
    mask[:5] = False
    tif, npy = of(geotiff_of(values, mask), "tif"), of(npy_of(values, mask), "npy")
    png = of(png_of(values, mask), "png")
    assert tif.pixels == npy.pixels == png.pixels
    below = np.where(mask, values, 9).astype(np.uint8)  # what lies under the mask is not shown
    assert of(npy_of(below, mask), "npy").pixels == npy.pixels
    assert of(npy_of(values, ~mask), "npy").pixels != npy.pixels
    assert of(npy_of(values.astype(np.uint16), mask), "npy").pixels != npy.pixels
    assert of(geotiff_of(values, mask, column=3), "tif").pixels == tif.pixels


@pytest.mark.parametrize("seed", range(8))
def test_the_hash_survives_compression_and_brightness(seed: int) -> None:
    values = texture(seed)
    original = int(str(of(png_of(values), "png").dhash), 16)
    compressed = of(jpeg.encode(values, None), "jpg").dhash
    brighter = of(png_of((values * 0.7 + 40).astype(np.uint8)), "png").dhash
    for again in (compressed, brighter):
        assert bin(original ^ int(str(again), 16)).count("1") <= 4
    other = of(png_of(texture(seed + 100)), "png").dhash
    assert bin(original ^ int(str(other), 16)).count("1") > 20


def test_featureless_pictures_have_no_hash() -> None:
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None, :], 64, axis=0)[None]
    assert of(png_of(ramp), "png").dhash is None  # gets brighter to the right: so do many
    assert of(png_of(np.full((1, 64, 64), 9, dtype=np.uint8)), "png").dhash is None
    assert of(png_of(texture(0, 8)), "png").dhash is None
    assert of(png_of(texture(0, 9)), "png").dhash is not None
    masked = np.zeros((64, 64), dtype=bool)
    assert of(png_of(texture(0), masked), "png").dhash is None


SCL = np.array([[4, 8], [9, 10]], dtype=np.uint16)


@pytest.mark.parametrize(
    ("band", "values", "source", "share"),
    [
        ("SCL", [[4, 8], [9, 10]], f"{S2}/20200101T000000_20200101T000000_T13TDE", 0.75),
        ("SCL", [[4, 3], [11, 6]], S2, 0.0),
        ("QA60", [[0, 1 << 10], [1 << 11, 1 << 9]], S2, 0.5),
        ("QA_PIXEL", [[1 << 3, 1 << 2], [1 << 1, 1 << 4]], "LANDSAT/LC08/C02/T1_L2", 0.5),
        ("state_1km", [[1, 2], [0, 3]], "MODIS/061/MOD09GA", 0.5),
        ("Fmask", [[2, 4], [8, 0]], "NASA/HLS/HLSL30/v002", 0.25),
        ("SCL", [[8, 8], [8, 8]], "USDA/NAIP/DOQQ", None),
        ("B4", [[8, 8], [8, 8]], S2, None),
    ],
)
def test_the_cloud_fraction_comes_from_the_quality_band(
    band: str, values: list[list[int]], source: str, share: float | None
) -> None:
    data = geotiff_of(np.array([[[500, 600], [700, 800]], values], dtype=np.uint16))
    for found in (
        of(data, "tif", bands=("B8", band), sources=(source,)),
        of(data, "tif", S2 if source.startswith(S2) else source, bands=("B8", band)),
    ):
        assert found.cloud_fraction == share
        is_known = band != "B4"
        assert found.max == (800.0 if is_known else max(800.0, *map(float, values[0])))


def test_cloud_score_is_clear_above_its_threshold() -> None:
    values = np.array([[[0.1, 0.59], [0.6, 0.99]]], dtype=np.float32)
    found = of(npy_of(values, np.array([[True, True], [True, False]])), "npy", bands=("cs_cdf",))
    assert found.cloud_fraction == pytest.approx(2 / 3)


def test_a_file_without_names_of_its_bands_tells_nothing_of_clouds() -> None:
    data = geotiff_of(np.full((2, 4, 4), 8, dtype=np.uint8))
    assert of(data, "tif", S2).cloud_fraction is None
    assert of(data, "tif", S2, bands=("SCL",)).cloud_fraction is None


def test_a_geotiff_knows_how_far_it_is_off() -> None:
    data = geotiff_of(texture(0))
    assert of(data, "tif", crs="EPSG:32613", transform=TRANSFORM).offset == 0.0
    shifted = (10.0, 0.0, 500_005.0, 0.0, -10.0, 4_400_000.0)
    assert of(data, "tif", crs="EPSG:32613", transform=shifted).offset == pytest.approx(0.5)
    assert of(data, "tif", crs="EPSG:32614", transform=TRANSFORM).offset == float("inf")
    assert of(data, "tif").offset is None
    assert of(png_of(texture(0)), "png", crs="EPSG:32613", transform=TRANSFORM).offset is None


def test_crs_without_a_code_is_compared_by_what_it_says() -> None:
    sinusoidal = rasterio.crs.CRS.from_string("+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m")
    grid = Affine(*TRANSFORM)
    data = geotiff.encode(texture(0), np.ones((64, 64), dtype=bool), ("a", "b", "c"), sinusoidal, grid)
    assert of(data, "tif", crs="SR-ORG:6974", transform=TRANSFORM).offset == 0.0


@given(dx=st.floats(-50, 50), dy=st.floats(-50, 50), turn=st.floats(-40, 40))
def test_the_offset_is_the_largest_of_the_corners(dx: float, dy: float, turn: float) -> None:
    base = Affine(*TRANSFORM) @ Affine.rotation(turn)
    moved = base @ Affine.translation(dx, dy)
    assert offset(tuple(base)[:6], tuple(moved)[:6], 64, 32) == pytest.approx(max(abs(dx), abs(dy)), abs=1e-6)
    assert offset(tuple(base)[:6], tuple(base @ Affine.scale(1.01, 1.0))[:6], 64, 32) == pytest.approx(0.64, abs=1e-6)


def test_files_that_are_no_pictures_are_refused() -> None:
    with pytest.raises(ValidationError):
        of(b"no picture", "png")
    with pytest.raises(UsageError, match="have no pixels"):
        of(b"a,b\n", "csv")
    assert all(value is None for value in dataclasses.asdict(ChipStatistics()).values())
