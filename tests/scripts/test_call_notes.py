"""What the end of a run says of a script's calls that have succeeded."""

from __future__ import annotations

from pathlib import Path

import pytest

from eechips import open_run
from tests.scripts.test_exports import run_local

pytestmark = pytest.mark.slow

SCRIPT = """
from concurrent.futures import ThreadPoolExecutor
import ee
ee.Initialize()
POINT = ee.Geometry.Point(-105, 40)

def elevation(band, size=30):
    image = ee.Image("USGS/SRTMGL1_003").select(band)
    return ee.data.computePixels({
        "expression": image.clipToBoundsAndScale(POINT.buffer(1000), width=size, height=size), "fileFormat": "GEO_TIFF",
    })

def save(n):
    for year, (band, size) in enumerate((("elevation", 30), ("lacking" if n == 1 else "elevation", 40))):
        try:
            data = elevation(band, size)
        except ee.EEException as error:
            print("left out", error)
            continue
        with open(f"{n}_{year}.tif", "wb") as file:
            file.write(data)

def values(n):
    found = []
    for asset in ("USGS/SRTMGL1_003", "NO/SUCH/IMAGE" if n == 2 else "USGS/SRTMGL1_003"):
        try:
            found.append(ee.Image(asset).reduceRegion("mean", POINT.buffer(100), 30).get("elevation").getInfo())
        except ee.EEException:
            found.append(None)
    return found

def made(n):
    folder = f"projects/p/assets/f{n}"
    try:
        ee.data.getAsset(folder)
    except ee.EEException:
        ee.data.createFolder(folder)
    return ee.data.getAsset(folder)["type"]

def smaller(n):
    for size in (20_000, 20):
        try:
            return len(elevation("elevation", size))
        except ee.EEException as error:
            assert "must be less than or equal to" in str(error)

if __name__ == "__main__":
    with ThreadPoolExecutor() as pool:
        for function in (save, values, made, smaller):
            print(list(pool.map(function, range(3))))
"""


@pytest.mark.exhaustive
def test_calls_that_did_without_a_request_are_named(tmp_path: Path) -> None:
    """They were done, and nothing but the script's own output said what they lack; others lack nothing."""
    (tmp_path / "script.py").write_text(SCRIPT)
    for _ in range(2):
        ended = run_local(tmp_path / "script.py")
        assert ended.returncode == 0, ended.stderr
        for function in ("save", "values"):
            assert f"1 of 3 calls of {function}() caught errors of requests, and may lack data" in ended.stderr
        assert "made()" not in ended.stderr
        assert "smaller()" not in ended.stderr
    units = open_run(tmp_path / "run").units
    errors = units["error"].dropna().to_dict()
    assert sorted(errors) == [1, 5]
    assert all(error.startswith("did without a request, whose error it has caught: ") for error in errors.values())
    assert "lacking" in errors[1]
    assert "NO/SUCH/IMAGE" in errors[5]
    assert set(units["state"]) == {"done"}
