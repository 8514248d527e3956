"""Chips of real imagery: byte for byte what rasterio reads from the source file, on the same pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.windows import Window

import eechips
from local_tests.support.local_earth_engine import Server
from local_tests.support.real_store import NAIP

pytestmark = pytest.mark.slow

# Inside the North Dakota quad, which images of ten years show.
QUAD = "-99.175,47.010,-99.135,47.031"


def truth(source: Path, transform: list[float], width: int, height: int) -> tuple[np.ndarray, np.ndarray, Affine]:
    """Read the window of a chip by rasterio: values, masks, and the transform of that window of the file."""
    with rasterio.open(source) as file:
        column, row = ~file.transform * (transform[2], transform[5])
        assert column == pytest.approx(round(column), abs=1e-6)
        assert row == pytest.approx(round(row), abs=1e-6)
        window = Window(round(column), round(row), width, height)
        return file.read(window=window), file.read_masks(window=window), file.window_transform(window)


@pytest.mark.exhaustive
@pytest.mark.parametrize("method", ["url", "pixels"])
def test_native_chips_are_the_source_s_own_pixels(
    real_data: Path, real_server: Server, tmp_path: Path, method: str
) -> None:
    for year in (2009, 2018):
        run = eechips.sample(
            "NAIP", roi=QUAD, per_ecoregion=3, start=f"{year}-01-01", end=f"{year + 1}-01-01", format="tif", size=128,
            bands=["R", "G", "B", "N"], out=tmp_path / str(year), endpoint=real_server.url, project="local",
            executor="threads", rate=None, method=method, seed=year, quiet=True,
        )  # fmt: skip
        units = run.units
        assert len(units) == 3
        assert set(units["state"]) == {"done"}
        for unit in units.to_dict("records"):
            (source,) = unit["sources"]
            assert source.startswith(f"{NAIP}/m_4709963_se_14_1_{year}")
            file = real_data / "naip" / f"{source.split('/')[-1]}.tif"
            values, masks, transform = truth(file, list(unit["transform"]), 128, 128)
            with rasterio.open(run.path / unit["file"]) as chip:
                assert np.array_equal(chip.read(), values)
                assert np.array_equal(chip.read_masks(), masks.min(axis=0)[None].repeat(4, axis=0))
                assert chip.transform == transform
                assert list(chip.transform)[:6] == list(unit["transform"])
                assert chip.crs == rasterio.crs.CRS.from_epsg(26914)
                assert chip.descriptions == ("R", "G", "B", "N")
