"""``eechips sample`` of Sentinel-1: orbits, polarisations and noisy borders, against numpy and rasterio."""

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
from eechips.geo.grid import Grid
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server
from tests.support.coded_store import write_geotiff

Array = npt.NDArray[Any]

S1, LINEAR, L8 = "COPERNICUS/S1_GRD", "COPERNICUS/S1_GRD_FLOAT", "LANDSAT/LC08/C02/T1_L2"
CRS, TRANSFORM = "EPSG:32613", Affine(10, 0, 500_000, 0, -10, 4_400_000)
SHAPE = (120, 120)
PLACE = "-104.996,39.743,-104.990,39.747"
PASSES = (("20200103", "ASCENDING"), ("20200105", "DESCENDING"), ("20200115", "ASCENDING"), ("20200117", "DESCENDING"))


def power(number: int) -> Array:
    """Return the power of an image in VV and VH with speckle, and the angle; (3, rows, columns)."""
    random = np.random.default_rng(number)
    ground = np.where(np.arange(SHAPE[1]) < 60, 0.1, 0.02) * (1 + number)
    vv = ground * random.gamma(4.4, 1 / 4.4, SHAPE)
    vv[50:54, 50:54] = 0.0005  # below -30 dB
    angle = np.broadcast_to(np.linspace(28.0, 48.0, SHAPE[1]), SHAPE)
    return np.stack([vv, 0.2 * ground * random.gamma(4.4, 1 / 4.4, SHAPE), angle])


def decibels(number: int) -> Array:
    """Return an image as it is stored, with backscatter in decibels."""
    values = power(number)
    return np.stack([*(10 * np.log10(values[:2])), values[2]]).astype("float32")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Server:
    """Serve four images of VV and VH, a later one of HH, an image as power, and one of Landsat."""
    folder = tmp_path_factory.mktemp("radar")

    def add(asset: str, day: str, bands: list[str], values: Array, **properties: Any) -> None:
        path = folder / f"{asset.replace('/', '_')}_{day}.tif"
        write_geotiff(path, CRS, TRANSFORM, values)
        time = f"{day[:4]}-{day[4:6]}-{day[6:]}"
        ingest(path, folder / "store", f"{asset}/at_{day}", bands=bands, time_start=time, properties=properties)

    both = ["VV", "VH", "angle"]
    for number, (day, direction) in enumerate(PASSES):
        about = {"orbitProperties_pass": direction, "transmitterReceiverPolarisation": ["VV", "VH"]}
        add(S1, day, both, decibels(number), relativeOrbitNumber_start=50 + number % 2, **about)
    about = {"orbitProperties_pass": "ASCENDING", "transmitterReceiverPolarisation": ["HH"]}
    add(S1, "20200120", ["HH", "angle"], decibels(9)[1:], relativeOrbitNumber_start=50, **about)
    add(LINEAR, "20200103", both, power(0).astype("float32"))
    add(L8, "20200104", ["SR_B4", "QA_PIXEL"], np.stack([np.ones(SHAPE), np.zeros(SHAPE)]).astype("uint16"))
    store = str(folder / "store")
    return serve("--assets", store, "--no-demo", "--rate", "none", "--concurrency", "none")


def sample(server: Server, out: Path, dataset: Any = "S1", **options: Any) -> eechips.Run:
    given = {"total": 1, "roi": PLACE, "size": 32, "executor": "threads", "quiet": True, "rate": None, "format": "tif"}
    given |= {"endpoint": server.url, "out": out, "start": "2020-01-01", "end": "2020-02-01"}
    return eechips.sample(dataset, **{**given, **options})


def read(path: Path) -> tuple[Array, npt.NDArray[np.bool_]]:
    with rasterio.open(path) as file:
        return file.read(), file.read_masks() > 0


def window(unit: dict[str, Any], array: Array) -> Array:
    """Return the part of an array on the images' pixels that a chip covers."""
    grid = Grid.from_json(unit["grid"])
    column, row = (round(v) for v in ~TRANSFORM * grid.xy(0, 0))
    assert row >= 0
    assert column >= 0
    return array[..., row : row + grid.height, column : column + grid.width]


VVVH = "transmitterReceiverPolarisation has VV"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "number"),
    [
        ([VVVH], 3),
        ([VVVH, "orbitProperties_pass = ASCENDING"], 2),
        (["S1:orbitProperties_pass = 'DESCENDING'"], 3),
        (["relativeOrbitNumber_start in (50, 7)", "transmitterReceiverPolarisation has VH"], 2),
    ],
)
def test_conditions_choose_orbit_and_polarisation(
    server: Server, tmp_path: Path, where: list[str], number: int
) -> None:
    run = sample(server, tmp_path / "run", bands="VV,VH", where=where)
    (unit,), (file,) = run.units["unit"], run.units["file"]
    assert unit["image"] == f"at_{PASSES[number][0]}"
    values, _ = read(run.path / file)
    np.testing.assert_array_equal(values, window(unit, decibels(number)[:2]))
    assert run.info["parameters"]["where"] == [text.removeprefix("S1:").replace("'", '"') for text in where]


@pytest.mark.slow
def test_frames_and_images_near_in_time_meet_the_conditions(server: Server, tmp_path: Path) -> None:
    where = [VVVH, "orbitProperties_pass = DESCENDING"]
    series = sample(server, tmp_path / "series", bands="VV", where=where, frames=4)
    assert [frame.get("image") for frame in series.units["unit"][0]["frames"]] == [
        "at_20200105",
        "at_20200117",
        None,
        None,
    ]
    prefixed = [f"S1:{text}" for text in where[:1]] + ["S1:orbitProperties_pass = ASCENDING"]
    pair = sample(
        server, tmp_path / "pair", ["L8", "S1"], bands=["L8:SR_B4", "S1:VV"], frames=1, near="S1:6d", where=prefixed
    )
    (frame,) = pair.units["unit"][0]["frames"]
    assert frame["near"]["S1"]["image"] == "at_20200103"  # the descending pass of the 5th is as near
    periods = sample(server, tmp_path / "mean", bands="VV", where=where, every="month:mean")
    values, _ = read(periods.path / periods.layers["file"].iloc[0])
    expected = np.mean([window(periods.units["unit"][0], decibels(n)[:1]).astype(float) for n in (1, 3)], axis=0)
    np.testing.assert_allclose(values, expected, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": "orbitProperties_pass = SIDEWAYS"}, "no image with orbitProperties_pass = SIDEWAYS between"),
        ({"where": "orbit_pass = ASCENDING"}, "no image there has a property 'orbit_pass'; did you mean"),
        ({"where": "transmitterReceiverPolarisation = VH"}, "is a list: write 'PROPERTY has VALUE'"),
        ({"dataset": ["L8", "S1"], "where": "SUN > 3"}, "name the dataset, as in where='L8:SUN > 3'"),
        ({"dataset": f"{S1}/at_20200103", "where": "A = 1"}, "is a single image: `where` is for collections"),
        ({"mask": "border:noise,middle", "bands": "VV"}, "border knows noise, near, far, not 'middle'"),
    ],
)
def test_conditions_that_cannot_be_met_are_refused(
    server: Server, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        sample(server, tmp_path / "run", **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "kinds"), [("S1", "border"), ("S1", "border:noise"), ("S1", "border:near,far"), (LINEAR, "border")]
)
def test_the_border_is_dark_or_seen_from_a_wrong_angle(
    server: Server, tmp_path: Path, dataset: str, kinds: str
) -> None:
    run = sample(
        server, tmp_path / "run", dataset, bands="VV,VH", mask=kinds, size=100, end="2020-01-05",
        roi="-104.9931,39.7444,-104.9929,39.7446",
    )  # fmt: skip
    (unit,), (file,) = run.units["unit"], run.units["file"]
    values, valid = read(run.path / file)
    stored = decibels(0) if dataset == "S1" else power(0).astype("float32")
    noise, angle = power(0)[0] < 0.001, power(0)[2]
    seen = (angle > 30.63993) & (angle < 45.23993)
    clear = {"border": ~noise & seen, "border:noise": ~noise, "border:near,far": seen}[kinds]
    expected = window(unit, clear)
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(valid, np.broadcast_to(expected, (2, *expected.shape)))
    np.testing.assert_array_equal(values[valid], window(unit, stored[:2])[valid])


def filter_speckle(values: Array, name: str, size: int) -> Array:
    """Filter power, NaN where masked, by the formulas of the papers; (rows, columns)."""
    reach = size // 2
    padded = np.pad(values, reach, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size)).reshape(*values.shape, -1)
    mean, variance = np.nanmean(windows, axis=-1), np.nanvar(windows, axis=-1)
    if name == "boxcar":
        return np.where(np.isnan(values), np.nan, mean)
    noise = 1 / 4.4
    weight = np.maximum(0, (variance - mean**2 * noise) / (1 + noise)) / variance
    return np.asarray(mean + weight * (values - mean))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "speckle", "mask"),
    [("S1", "lee:7", "none"), ("S1", "boxcar:5", "none"), (LINEAR, "lee", "none"), ("S1", "lee:5", "border:noise")],
)
def test_speckle_is_filtered_as_numpy_does(
    server: Server, tmp_path: Path, dataset: str, speckle: str, mask: str
) -> None:
    run = sample(
        server, tmp_path / "run", dataset, bands="VV,VH,angle", speckle=speckle, mask=mask, size=100, end="2020-01-05",
        roi="-104.9931,39.7444,-104.9929,39.7446",
    )  # fmt: skip
    (unit,), (file,) = run.units["unit"], run.units["file"]
    values, valid = read(run.path / file)
    stored = decibels(0) if dataset == "S1" else power(0).astype("float32")
    ground = (10 ** (stored[:2].astype("float64") / 10)) if dataset == "S1" else stored[:2].astype("float64")
    if mask != "none":
        ground[:, power(0)[0] < 0.001] = np.nan
    name, _, size = speckle.partition(":")
    expected = window(unit, np.stack([filter_speckle(band, name, int(size or 7)) for band in ground]))
    np.testing.assert_array_equal(valid[:2], ~np.isnan(expected))
    shown = 10 ** (values[:2] / 10) if dataset == "S1" else values[:2]
    np.testing.assert_allclose(shown[valid[:2]], expected[valid[:2]], rtol=1e-5)
    np.testing.assert_array_equal(values[2][valid[2]], window(unit, stored[2])[valid[2]])
    assert np.nanstd(expected[0]) < np.std(window(unit, power(0)[0]))


@pytest.mark.parametrize(
    ("dataset", "speckle", "message"),
    [
        ("S1", "median", "the filters are boxcar and lee, with the window, as in lee:7"),
        ("S1", "lee:4", "the window is an odd number of pixels, 3 to 15"),
        ("S1", "lee:", "the window is an odd number of pixels"),
        ("L8", "lee", "is for Sentinel-1"),
    ],
)
def test_filters_that_do_not_exist_are_refused(
    server: Server, tmp_path: Path, dataset: str, speckle: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        sample(server, tmp_path / "run", dataset, speckle=speckle)
