"""Datasets that the demo planet lacks, in scripts that run with ``--local``."""

from __future__ import annotations

from pathlib import Path

import pytest

from eechips import open_run
from tests.scripts.test_exports import run_local

pytestmark = pytest.mark.slow

SERIES = """
import csv
from concurrent.futures import ThreadPoolExecutor
import ee
ee.Initialize(project="of-the-script")
PLACE = ee.Geometry.Point(-105.2, 40.0).buffer(20_000)
DAYS = ee.ImageCollection("ECMWF/ERA5_LAND/DAILY_AGGR")

def rain(day):
    image = DAYS.filterDate(f"2020-06-{day:02}", f"2020-06-{day + 1:02}").first()
    rain = image.select("total_precipitation_sum").reduceRegion("mean", PLACE, 11_132)
    return day, rain.get("total_precipitation_sum").getInfo()

with ThreadPoolExecutor(4) as pool, open("rain.csv", "w", newline="") as file:
    csv.writer(file).writerows(pool.map(rain, range(1, 5)))
region = ee.Geometry.Rectangle([-105.3, 39.9, -105.1, 40.1])
cover = ee.ImageCollection("CSP/HM/GlobalHumanModification")
ee.batch.Export.image.toDrive(cover.first(), "modified", region=region, scale=1000).start()
"""


@pytest.mark.exhaustive
def test_a_run_names_the_stubs_that_it_has_used(tmp_path: Path) -> None:
    """Those of requests, and of an export that no request has loaded before."""
    (tmp_path / "script.py").write_text(SERIES)
    ended = run_local(tmp_path / "script.py")
    assert ended.returncode == 0, ended.stderr
    rows = (tmp_path / "run" / "rain.csv").read_text().split()
    assert len(rows) == 4
    assert all(0.0 <= float(row.partition(",")[2]) <= 0.02 for row in rows)
    assert "whose values mean nothing: ECMWF/ERA5_LAND/DAILY_AGGR" in ended.stderr
    assert "whose values mean nothing: CSP/HM/GlobalHumanModification" in ended.stderr
    note = open_run(tmp_path / "run").info["notes"][1]
    assert note.endswith(": CSP/HM/GlobalHumanModification, ECMWF/ERA5_LAND/DAILY_AGGR.")


@pytest.mark.exhaustive
def test_a_band_that_no_stub_can_show_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import ee\nee.Initialize()\n"
        "image = ee.ImageCollection('NASA/GEOS-CF/v1/rpl/tavg1hr').first().select('AOD550_DST2')\n"
        "mean = image.reduceRegion('mean', ee.Geometry.Point(10, 50), 100_000).getInfo()\n"
        "open('mean.txt', 'w').write(str(mean))\n"
    )
    ended = run_local(tmp_path / "script.py")
    assert ended.returncode == 2
    assert "knows no range of the band 'AOD550_DST2' of NASA/GEOS-CF/v1/rpl/tavg1hr" in ended.stderr
