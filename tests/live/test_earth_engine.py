"""The real Earth Engine: the same promises. Needs an account and a project: ``pytest --live``.

EECHIPS_PROJECT names the project. A few dozen requests in all.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

import eechips

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif("EECHIPS_PROJECT" not in os.environ, reason="EECHIPS_PROJECT names no project"),
]


def test_sample_fetches_pictures(tmp_path: Path) -> None:
    run = eechips.sample("NAIP", per_ecoregion=1, limit=3, out=tmp_path, quiet=True)
    assert run.is_complete
    assert run.verify() == []
    assert set(run.units["crs"]) == {"EPSG:4326"}


@pytest.mark.parametrize("method", ["url", "pixels"])
def test_data_on_the_source_s_own_pixels(tmp_path: Path, method: str) -> None:
    run = eechips.sample(
        "NAIP", per_ecoregion=1, limit=2, size=64, format="tif", method=method, out=tmp_path, quiet=True,
    )  # fmt: skip
    assert run.verify() == []
    for _, unit in run.units.iterrows():
        assert list(unit["transform"]) == list(unit["unit"]["grid"]["transform"])
        assert len(unit["sources"]) == 1


def test_timeseries_fetches_tables(tmp_path: Path) -> None:
    run = eechips.timeseries(
        "MODIS/061/MOD11A2", regions="FAO/GAUL_SIMPLIFIED_500m/2015/level2", id_field="ADM2_CODE", reducer="max",
        bbox="-105.1,39.6,-105.0,39.7", start="2019-01-01", end="2019-03-01", multiply=0.02, add=-273.15,
        out=tmp_path, quiet=True,
    )  # fmt: skip
    assert run.is_complete
    table = pd.read_csv(run.path / run.units["file"].iloc[0])
    assert list(table.columns) == ["ADM2_CODE", "date", "LST_Day_1km", "count"]
    assert table["date"].is_monotonic_increasing
