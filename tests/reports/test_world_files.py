"""Pictures with a place: GDAL reads it from the files beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

import eechips
from eechips.errors import UsageError
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from local_tests.support.local_earth_engine import Server
from tests.support.commands import run_command
from tests.support.finished_run import pictures, write_run


@pytest.fixture
def run(demo_server: Server, tmp_path: Path) -> eechips.Run:
    return eechips.sample(
        "NAIP", total=2, roi="-105.2,39.9,-105.1,40", size=32, format="png", out=tmp_path / "run", quiet=True,
        endpoint=demo_server.url, executor="threads",
    )  # fmt: skip


@pytest.mark.exhaustive
def test_gdal_finds_pictures_where_the_manifest_says(run: eechips.Run) -> None:
    result = run_command("georeference", run.path)
    assert (result.exit_code, result.output) == (0, "Written beside 2 pictures: .aux.xml, and world files\n")
    for _, unit in run.units.iterrows():
        path = run.path / unit["file"]
        with rasterio.open(path) as picture:
            assert str(picture.crs) == unit["crs"]
            assert list(picture.transform)[:6] == list(unit["transform"])
        path.with_name(path.name + ".aux.xml").unlink()
        with rasterio.open(path) as picture:  # the world file alone
            np.testing.assert_allclose(list(picture.transform)[:6], list(unit["transform"]), rtol=1e-12)
    assert run.verify() == []


def test_turned_pictures_have_no_world_file(tmp_path: Path) -> None:
    run = write_run(tmp_path, pictures(1))
    turned = [8.0, 6.0, 500_000.0, 6.0, -8.0, 4_400_000.0]
    with Ledger(run.path / LEDGER_NAME) as ledger:
        ledger.database.execute("UPDATE units SET crs = 'EPSG:32613', transform = ?", (str(turned),))
    assert eechips.georeference(run) == 1
    (file,) = run.units["file"]
    assert not (run.path / file).with_suffix(".pgw").exists()
    with rasterio.open(run.path / file) as picture:
        assert list(picture.transform)[:6] == turned


def test_runs_without_placed_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no PNG or JPEG files whose place is known"):
        eechips.georeference(write_run(tmp_path, pictures(2)))
