"""Satellite embeddings: mean vectors of length 1 against exactextract, and chips of int8 against the pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import rasterio
import shapely

import eechips
from eechips.builtin_recipes.tables.embedding_means import normalize
from eechips.datasets import find_dataset
from eechips.errors import UsageError
from local_tests.support.captured_log import CapturedLog
from local_tests.support.local_earth_engine import Server
from local_tests.support.region_weights import zonal_statistics
from tests.support.embedding_images import BANDS, FIELDS, embedding_pixels

YEARS = (2021, 2022)
DATES = {"start": "2021-01-01", "end": "2023-01-01"}

# Vertices every 20 m, so that edges are as straight in UTM as in degrees; with the decimals that requests have.
SHAPES = shapely.set_precision(
    shapely.segmentize(
        [
            shapely.box(-98.002, 37.999, -97.9995, 38.001),
            shapely.Polygon([(-97.9990, 37.9990), (-97.9971, 37.9993), (-97.9974, 38.0014), (-97.9985, 38.0008)]),
            shapely.box(-98.00001, 38.00001, -97.99999, 38.00002),  # a part of a pixel
        ],
        2e-4,
    ),
    1e-7,
)


@pytest.fixture(scope="module")
def polygons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fields") / "fields.gpkg"
    gpd.GeoDataFrame({"field": ["a", "b", "c"]}, geometry=SHAPES, crs="EPSG:4326").to_file(path)
    return path


@pytest.fixture(scope="module")
def means(tmp_path_factory: pytest.TempPathFactory) -> npt.NDArray[np.float64]:
    """Means of the pixels, weighted by their part inside, not normalized: shape (fields, years, bands)."""
    folder = tmp_path_factory.mktemp("pixels")
    found = []
    for year in YEARS:
        pixels = embedding_pixels(FIELDS, year)
        pixels.write(folder / f"{year}.tif")
        frame = gpd.GeoDataFrame(geometry=SHAPES, crs="EPSG:4326").to_crs(pixels.crs)
        with rasterio.open(folder / f"{year}.tif") as file:
            layers = file.read(masked=True).astype(np.float64).filled(np.nan)
            found.append(zonal_statistics(frame, layers, file.bounds)["mean"])
    return np.stack(found, axis=1)


def unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def timeseries(server: Server, polygons: Path, out: Path, **options: Any) -> eechips.Run:
    options = {"dataset": "EMBEDDINGS", "regions": str(polygons), "columns": "id=field", **DATES, **options}
    return eechips.timeseries(endpoint=server.url, rate=None, executor="threads", quiet=True, out=out, **options)


def points(server: Server, places: Any, out: Path, **options: Any) -> pd.DataFrame:
    options = {**DATES, "executor": "threads", "quiet": True, **options}
    run = eechips.points("EMBEDDINGS", places, endpoint=server.url, rate=None, out=out, **options)
    return pd.read_parquet(run.assembled[0])


def vectors_of(table: pd.DataFrame, suffix: str = "") -> npt.NDArray[np.float64]:
    return table[[f"{band}{suffix}" for band in BANDS]].to_numpy()


@pytest.mark.exhaustive
def test_means_over_polygons_have_length_1_and_equal_exactextract(
    demo_server: Server, polygons: Path, means: npt.NDArray[np.float64], tmp_path: Path
) -> None:
    assert np.linalg.norm(means[:2], axis=-1).max() < 0.999, "the fields should have pixels that differ"
    run = timeseries(demo_server, polygons, tmp_path / "one", output="one")
    table = pd.read_parquet(run.assembled[0])
    assert table["field"].tolist() == ["a", "a", "b", "b", "c", "c"]
    found = vectors_of(table).reshape(3, 2, 64)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1.0, rtol=0, atol=1e-15)
    np.testing.assert_allclose(found, unit(means), rtol=0, atol=1e-7)
    assert run.info["parameters"]["unit_vector"] is True
    single = timeseries(demo_server, polygons, tmp_path / "region")
    files = [pd.read_csv(path) for path in sorted((single.path / "series").glob("*.csv"))]
    pd.testing.assert_frame_equal(pd.concat(files, ignore_index=True), table, rtol=1e-12, check_dtype=False)


@pytest.mark.slow
def test_means_of_a_period_and_further_reducers(
    demo_server: Server, polygons: Path, means: npt.NDArray[np.float64], tmp_path: Path
) -> None:
    """The mean of both years has length 1 as well; standard deviations are as Earth Engine has them."""
    options = {"every": "2 years", "output": "one", "reducer": "mean,stdDev"}
    run = timeseries(demo_server, polygons, tmp_path, **options)
    table = pd.read_parquet(run.assembled[0])
    np.testing.assert_allclose(vectors_of(table, "_mean"), unit(means.mean(axis=1)), rtol=0, atol=1e-7)
    assert np.linalg.norm(vectors_of(table, "_stdDev"), axis=-1).max() < 0.9


@pytest.mark.exhaustive
def test_a_part_of_the_vector_and_changed_values_are_plain_means(
    demo_server: Server, polygons: Path, means: npt.NDArray[np.float64], tmp_path: Path,
    caplog: CapturedLog,
) -> None:  # fmt: skip
    part = timeseries(demo_server, polygons, tmp_path / "part", bands="A03,A01", output="one")
    found = pd.read_parquet(part.assembled[0])[["A01", "A03"]].to_numpy().reshape(3, 2, 2)
    np.testing.assert_allclose(found, means[:, :, [1, 3]], rtol=0, atol=1e-7)
    assert "not normalized to length 1: that takes all 64 bands of EMBEDDINGS, and 2 are selected" in caplog.text
    doubled = timeseries(demo_server, polygons, tmp_path / "doubled", multiply=2.0, output="one")
    table = vectors_of(pd.read_parquet(doubled.assembled[0])).reshape(3, 2, 64)
    np.testing.assert_allclose(table, 2.0 * means, rtol=0, atol=1e-7)


@pytest.mark.slow
def test_points_over_polygons_have_length_1(
    demo_server: Server, polygons: Path, means: npt.NDArray[np.float64], tmp_path: Path
) -> None:
    found = vectors_of(points(demo_server, polygons, tmp_path, end="2022-01-01"))
    np.testing.assert_allclose(found, unit(means[:, 0]), rtol=0, atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1.0, rtol=0, atol=1e-15)


@pytest.mark.exhaustive
def test_points_have_the_stored_values_and_means_of_years_have_length_1(demo_server: Server, tmp_path: Path) -> None:
    place = pd.DataFrame({"lon": [FIELDS[0]], "lat": [FIELDS[1]]})
    stored = [embedding_pixels(FIELDS, year, 1).values[:, 0, 0] for year in YEARS]
    each = vectors_of(points(demo_server, place, tmp_path / "each", each_image=True))
    assert np.array_equal(each, stored)
    (mean,) = vectors_of(points(demo_server, place, tmp_path / "mean", composite="mean"))
    np.testing.assert_allclose(mean, unit(np.mean(stored, axis=0)), rtol=0, atol=1e-12)


@pytest.mark.slow
def test_the_record_says_which_bands_are_a_vector(
    demo_server: Server, polygons: Path, means: npt.NDArray[np.float64], tmp_path: Path
) -> None:
    """A record of one's own, in which two bands are a vector."""
    record = tmp_path / "pairs.toml"
    record.write_text(
        'alias = "PAIRS"\nid = "GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL"\nkind = "collection"\ntitle = "Pairs"\n'
        'provider = "We"\ndefault_bands = ["A07", "A05"]\npixel_size = 10.0\nstart = 2017-01-01\n'
        'licence = "CC-BY-4.0"\ncitation = "We"\nchecked = 2026-11-21\nunit_vector = true\n'
        '[[bands]]\nname = "A05"\n[[bands]]\nname = "A07"\n'
    )
    run = timeseries(demo_server, polygons, tmp_path / "run", dataset=str(record), output="one")
    found = pd.read_parquet(run.assembled[0])[["A05", "A07"]].to_numpy().reshape(3, 2, 2)
    np.testing.assert_allclose(found, unit(means[:, :, [5, 7]]), rtol=0, atol=1e-6)


def test_vectors_without_a_direction_are_missing() -> None:
    vectors = np.array([[3.0, -4.0], [0.0, 0.0], [np.nan, 1.0], [np.nan, np.nan]])
    expected = [[0.6, -0.8], [np.nan] * 2, [np.nan] * 2, [np.nan] * 2]
    np.testing.assert_array_equal(normalize(vectors), expected)


@pytest.mark.slow
def test_a_region_without_pixels_has_no_vector(demo_server: Server, tmp_path: Path) -> None:
    """Out at sea, where a period has no image."""
    path = tmp_path / "sea.gpkg"
    gpd.GeoDataFrame({"field": ["sea"]}, geometry=[shapely.box(-40, 30, -39.99, 30.01)], crs="EPSG:4326").to_file(path)
    options = {"every": "1 year", "end": "2022-01-01", "crs": "EPSG:32624", "scale": 100.0}
    run = timeseries(demo_server, path, tmp_path / "run", **options)
    table = pd.read_csv(run.path / run.units["file"].iloc[0])
    assert len(table) == 1
    assert table[list(BANDS)].isna().all(axis=None)


def sample(server: Server, out: Path, **options: Any) -> eechips.Run:
    points = out.with_suffix(".csv")
    points.write_text(f"lon,lat\n{FIELDS[0]},{FIELDS[1]}\n")
    options = {"dataset": "EMBEDDINGS", "points": points, "size": 48, **DATES, "end": "2022-01-01", **options}
    return eechips.sample(endpoint=server.url, rate=None, executor="threads", quiet=True, out=out, **options)


@pytest.mark.slow
def test_quantized_chips_are_int8_and_equal_the_quantized_pixels(demo_server: Server, tmp_path: Path) -> None:
    """As GeoTIFF and as arrays; the float chips of the same place are the pixels themselves."""
    pixels = embedding_pixels(FIELDS, 2021, 48)
    expected = np.sign(pixels.values) * np.rint(np.sqrt(np.abs(pixels.values)) * 127.5)
    quantized = sample(demo_server, tmp_path / "int8", values="quantized")
    with rasterio.open(quantized.path / quantized.units["file"].iloc[0]) as chip:
        assert set(chip.dtypes) == {"int8"}
        assert (chip.crs, chip.transform, chip.descriptions) == (pixels.crs, pixels.transform, BANDS)
        assert np.array_equal(chip.read(), expected)
    arrays = sample(demo_server, tmp_path / "npy", values="quantized", format="npy", bands="A05,A63")
    array = np.load(arrays.path / arrays.units["file"].iloc[0])
    assert array.dtype.names == ("A05", "A63", "mask")
    assert array["A63"].dtype == np.int8
    assert np.array_equal([array["A05"], array["A63"]], expected[[5, 63]])
    floats = sample(demo_server, tmp_path / "float")
    with rasterio.open(floats.path / floats.units["file"].iloc[0]) as chip:
        assert np.array_equal(chip.read(), pixels.values)
    assert quantized.info["parameters"]["quantization"]["divisor"] == 127.5
    assert "quantization" not in floats.info["parameters"]


@pytest.mark.slow
def test_vectors_of_quantized_chips_are_near_the_float_vectors(demo_server: Server, tmp_path: Path) -> None:
    """Neighbouring stored values differ by 2 * sqrt(value) / 127.5, so half of that is the greatest error."""
    run = sample(demo_server, tmp_path / "int8", values="quantized")
    record = find_dataset("EMBEDDINGS")
    with rasterio.open(run.path / run.units["file"].iloc[0]) as chip:
        vectors = record.quantization.dequantize(chip.read(masked=True))  # type: ignore[union-attr]
    values = embedding_pixels(FIELDS, 2021, 48).values
    assert not vectors.mask.any()
    assert (np.abs(vectors - values) <= (np.sqrt(np.abs(values)) + 0.5 / 127.5) / 127.5).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "S2"}, "values='quantized' needs a record with a quantization, and that of S2 has none"),
        ({"index": "a=A00*2"}, "leave `index` out"),
        ({"every": "1 year:mean"}, "quantized values cannot be averaged"),
    ],
)
def test_what_cannot_be_quantized_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    points = tmp_path / "points.csv"
    points.write_text("lon,lat\n-98,38\n")
    with pytest.raises(UsageError, match=message):
        eechips.sample(
            **{"dataset": "EMBEDDINGS", "points": points, "values": "quantized", **DATES, **options}, out=tmp_path
        )
