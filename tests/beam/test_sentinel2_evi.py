"""recipes/sentinel2_evi.py: pixels compared with numpy on the bands; old scenes, and those with an offset."""

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
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server
from tests.support.coded_store import write_geotiff

RECIPE = Path(__file__).resolve().parents[2] / "recipes/sentinel2_evi.py"
BOX = "-105.3,39.9,-105.29,39.91"
JUNE = {"start": "2020-06-05", "end": "2020-06-12"}


def run(server: Server, out: Path, **parameters: object) -> eechips.Run:
    return eechips.run(RECIPE, parameters, endpoint=server.url, rate=None, executor="processes:2", quiet=True, out=out)


def evi(nir: npt.NDArray[Any], red: npt.NDArray[Any], blue: npt.NDArray[Any], offset: float = 0) -> npt.NDArray[Any]:
    """As it is defined, in double precision."""
    nir, red, blue = ((band.astype("float64") - offset) / 10_000 for band in (nir, red, blue))
    return 2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1)


@pytest.mark.slow
def test_the_index_is_that_of_the_bands_where_there_is_no_cloud(demo_server: Server, tmp_path: Path) -> None:
    made = run(demo_server, tmp_path / "evi", box=BOX, **JUNE)
    bands = eechips.images(
        "S2", roi=BOX, bands="B8,B4,B2", mask="auto", crs="utm", scale=10, endpoint=demo_server.url, rate=None,
        executor="processes:2", quiet=True, out=tmp_path / "bands", **JUNE,
    )  # fmt: skip
    assert made.counts == {"done": 2}
    files = {Path(file).name[11:]: file for file in bands.units["file"]}
    shares = []
    for file in made.units["file"]:
        with rasterio.open(made.path / file) as index, rasterio.open(bands.path / files[Path(file).name]) as source:
            assert (index.count, index.dtypes, index.descriptions) == (1, ("float32",), ("EVI",))
            assert (index.crs, index.transform, index.shape) == (source.crs, source.transform, source.shape)
            valid = index.dataset_mask() != 0
            np.testing.assert_array_equal(valid, source.dataset_mask() != 0)
            found, expected = index.read(1), evi(*source.read())
            np.testing.assert_allclose(found[valid], expected[valid], rtol=1e-6, atol=1e-7)
            shares.append(valid.mean())
    assert max(shares) == 1.0
    assert 0.0 < min(shares) < 1.0  # clouds
    # Names of images have the time at which their datatake starts, images that at which they are seen.
    days = [sorted(date[:10] for (date,) in found.units["dates"]) for found in (made, bands)]
    assert days[0] == days[1]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, npt.NDArray[np.uint16]]:
    """A store with scenes of two processing baselines, of the same numbers."""
    folder = tmp_path_factory.mktemp("scenes")
    random = np.random.default_rng(5)
    # Like land: the denominator stays away from zero.
    bands = np.stack(
        [random.integers(low, high, (30, 40)) for low, high in ((3_000, 6_000), (1_100, 3_000), (1_050, 1_500))]
    )
    bands = bands.astype("uint16")
    file = folder / "bands.tif"
    write_geotiff(file, "EPSG:32613", Affine(10, 0, 474_400, 0, -10, 4_418_900), bands, dtype="uint16")
    for index, baseline in (("20210619T173256_20210619T174934_T13TDE", "03.01"),
                            ("20220619T173256_20220619T174934_T13TDE", "04.00")):  # fmt: skip
        properties = {"PROCESSING_BASELINE": baseline}
        for dataset in ("COPERNICUS/S2_SR", "COPERNICUS/S2_SR_HARMONIZED"):
            ingest(
                file, folder / "store", f"{dataset}/{index}", time_start=f"{index[:4]}-06-19", bands=["B8", "B4", "B2"],
                properties=properties,
            )  # fmt: skip
    return folder / "store", bands


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "year", "offset"),
    [("COPERNICUS/S2_SR", 2021, 0), ("COPERNICUS/S2_SR", 2022, 1_000), ("COPERNICUS/S2_SR_HARMONIZED", 2022, 0)],
)
def test_the_offset_of_newer_baselines_is_taken_off_unless_it_has_been(
    scenes: tuple[Path, npt.NDArray[np.uint16]],
    serve: Callable[..., Server],
    tmp_path: Path,
    dataset: str,
    year: int,
    offset: float,
) -> None:
    store, bands = scenes
    server = serve("--assets", str(store), "--no-demo", "--rate", "none", "--concurrency", "none")
    images = tmp_path / "images.txt"
    images.write_text(f"{dataset}/{year}0619T173256_{year}0619T174934_T13TDE\n")
    made = run(server, tmp_path / "evi", ids=str(images), box="", mask="none")
    assert made.counts == {"done": 1}
    with rasterio.open(made.path / made.units["file"].iloc[0]) as index:
        assert index.transform == Affine(10, 0, 474_400, 0, -10, 4_418_900)
        np.testing.assert_allclose(index.read(1), evi(*bands, offset=offset), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_an_empty_box_needs_a_list(demo_server: Server, tmp_path: Path) -> None:
    with pytest.raises(eechips.EechipsError, match="say which images"):
        run(demo_server, tmp_path / "evi", box="")
