"""A shared request that fails costs few further requests, and only the unit that is at fault fails."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
from affine import Affine

import eechips
from eechips.errors import PermanentError, ProjectUnavailableError
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server
from local_tests.support.parameters import slow_except
from tests.support.coded_store import write_geotiff
from tests.support.refusing_proxy import refusing_proxy

CRS, TRANSFORM, SIDE, CHIP = "EPSG:32613", Affine(30, 0, 500_000, 0, -30, 4_400_000), 10, 16
SOIL = "users/someone/soil"
BAD = (6, 3)
"""Column and row of a chip that the service cannot compute."""

WINDOWS = f"""
import ee
from eechips import Chip, Grid

WHOLE = Grid("{CRS}", {tuple(TRANSFORM)[:6]}, 160, 160)

def get_requests():
    return [[column, row] for row in range({SIDE}) for column in range({SIDE})]

def request_window(unit):
    return "soil", WHOLE.window({CHIP} * unit[0], {CHIP} * unit[1], {CHIP}, {CHIP})

def get_result(index, unit):
    return Chip(ee.Image("{SOIL}"), grid=request_window(unit)[1], bands=("clay",), format="tif", dtype="float32")
"""

IMAGES = f"""
import ee
from eechips import Chip, Grid, Template

GRID = Grid("{CRS}", {tuple(TRANSFORM)[:6]}, 32, 32)

def shown(asset):
    return ee.Image(asset)

def get_requests():
    return [("users/someone/none" if number == 11 else "{SOIL}") + "" * number for number in range(16)]

def request_window(asset):
    return "soil", GRID

def get_result(index, asset):
    image = Template(shown, values={{"asset": asset}})
    return Chip(image, grid=GRID, bands=("clay",), format="tif", dtype="float32")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serve: Any) -> Server:
    folder = tmp_path_factory.mktemp("soil")
    values = np.arange(160 * 160, dtype=np.float32).reshape(1, 160, 160) / 3
    write_geotiff(folder / "soil.tif", CRS, TRANSFORM, values)
    ingest(folder / "soil.tif", folder / "store", SOIL, bands=["clay"])
    found: Server = serve("--assets", str(folder / "store"), "--no-demo", "--rate", "none", "--workers", "1")
    return found


def fetch(script: str, url: str, out: Path, **chosen: Any) -> eechips.Run:
    path = out.with_suffix(".py")
    path.write_text(script)
    values = {"quiet": True, "executor": "threads", "in_flight": 1, "rate": None, "retries": 0}
    return eechips.run(path, out=out, endpoint=url, **{**values, **chosen})


def window(grid: dict[str, Any]) -> tuple[int, int, int, int]:
    """Return column, row, width and height of a grid, in pixels of the image."""
    place, size = grid["affineTransform"], grid["dimensions"]
    column, row = ~TRANSFORM * (place["translateX"], place["translateY"])
    return round(column), round(row), size["width"], size["height"]


def refuse_bad(grid: dict[str, Any]) -> int | None:
    column, row, width, height = window(grid)
    x, y = (CHIP * each + CHIP // 2 for each in BAD)
    return 500 if column <= x < column + width and row <= y < row + height else None


@pytest.mark.exhaustive
@pytest.mark.parametrize("executor", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_one_place_that_cannot_be_computed_fails_alone(server: Server, tmp_path: Path, executor: str) -> None:
    with refusing_proxy(server.url, refuse_bad) as proxy:
        run = fetch(WINDOWS, proxy.url, tmp_path / "out", executor=executor)
    alone = fetch(WINDOWS, server.url, tmp_path / "alone", share_requests=False)
    failed = run.units[run.units["state"] != "done"]
    assert [tuple(unit["value"]) for unit in failed["unit"]] == [BAD]
    assert failed["error_class"].tolist() == ["TransientError"]
    expected = alone.units.set_index("file")["sha256"].drop(alone.units["file"][failed.index])
    pd.testing.assert_series_equal(run.units.dropna(subset="file").set_index("file")["sha256"], expected)
    levels = math.ceil(math.log2(SIDE * SIDE)) + 2  # halves are not exactly halves, as no row is cut in two
    assert len(proxy.refused) <= levels
    assert len(proxy.passed) <= 2 * levels


@pytest.mark.slow
def test_a_service_that_takes_only_small_requests_gets_them(server: Server, tmp_path: Path) -> None:
    """Each request of more than 12 chips fails, as if it took too long."""

    def refuse(grid: dict[str, Any]) -> int | None:
        _, _, width, height = window(grid)
        return 504 if width * height > 12 * CHIP * CHIP else None

    with refusing_proxy(server.url, refuse) as proxy:
        run = fetch(WINDOWS, proxy.url, tmp_path / "out")
    assert set(run.units["state"]) == {"done"}
    assert run.units["shared_request"].notna().mean() > 0.9
    assert len(proxy.passed) + len(proxy.refused) <= 40  # 100 alone


@pytest.mark.slow
@pytest.mark.parametrize("file_format", slow_except(["tif", "npy"], "tif"))
def test_stored_pixels_in_doubt_are_computed_for_their_chips_only(
    server: Server, tmp_path: Path, file_format: str
) -> None:
    """The first pixel of the image is 0, which may stand for a masked one; the chips around it are not computed."""
    script = WINDOWS.replace('format="tif", dtype="float32"', f'format="{file_format}", asset="{SOIL}"')
    with refusing_proxy(server.url, lambda _: None) as proxy:
        run = fetch(script, proxy.url, tmp_path / "out")
    alone = fetch(script, server.url, tmp_path / "alone", share_requests=False, method="pixels")
    assert run.units["sha256"].tolist() == alone.units["sha256"].tolist()
    assert proxy.kinds == ["getPixels", "computePixels"]
    assert [window(grid) for grid in proxy.passed] == [(0, 0, 160, 160), (0, 0, CHIP, CHIP)]


def test_stored_pixels_of_an_archive_that_is_not_reached_are_not_computed(
    serve_briefly: Callable[..., Server], tmp_path: Path
) -> None:
    """The expression needs the same archive: a run of four chips took two minutes until it stopped."""
    away = "No answer of the open archive has come since this server was started: files.example is not reached"
    fault = {"type": "status", "status": 400, "message": away, "on": "assets:getPixels", "probability": 1.0}
    server = serve_briefly("--no-demo", "--rate", "none", "--workers", "1")
    requests.post(f"{server.url}/_faults", json={"faults": [fault]}, timeout=60).raise_for_status()
    script = WINDOWS.replace('dtype="float32"', f'dtype="float32", asset="{SOIL}"')
    stops = pytest.raises(ProjectUnavailableError, match=r"open archive is not reached .*files\.example")
    with refusing_proxy(server.url, lambda _: None) as proxy, stops:
        fetch(script, proxy.url, tmp_path / "out")
    assert set(proxy.kinds) == {"getPixels"}


@pytest.mark.slow
def test_an_image_that_does_not_exist_costs_the_others_few_requests(server: Server, tmp_path: Path) -> None:
    with refusing_proxy(server.url, lambda _: None) as proxy:
        run = fetch(IMAGES, proxy.url, tmp_path / "out")
    assert run.units["error_class"].dropna().index.tolist() == [11]
    assert run.units["error_class"][11] == "PermanentError"
    assert run.counts == {"done": 15, "failed_permanent": 1}
    assert len(proxy.passed) == 1 + 2 * 4  # halves of 16, 8, 4 and 2 images


@pytest.mark.slow
def test_an_image_that_does_not_exist_is_not_requested_in_halves(server: Server, tmp_path: Path) -> None:
    """What is wrong with the only image of a request concerns each of its windows."""
    alike = pytest.raises(PermanentError, match=r"the first \d+ units all failed alike: Image.load")
    with refusing_proxy(server.url, lambda _: None) as proxy, alike:
        fetch(WINDOWS.replace(f'ee.Image("{SOIL}")', 'ee.Image("users/someone/none")'), proxy.url, tmp_path / "o")
    assert len(proxy.passed) <= 1 + SIDE * SIDE
