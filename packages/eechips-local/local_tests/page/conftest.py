"""A server with a page, its assets, and a browser."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine

from eechips_local.assets.ingestion.asset_ingestion import ingest
from local_tests.support.command_server import serving_command
from local_tests.support.ingested_rasters import raster
from local_tests.support.local_earth_engine import Server
from local_tests.support.report_browser import set_window, started, wait

HOSTILE = "</script><script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
ZOOM = 14
"""Whose pixels in Web Mercator are those of the quad."""
PIXEL = 2 * math.pi * 6_378_137 / 256 / 2**ZOOM
CORNER = (870_000, 1_575_000)
"""Column and row of the quad's first pixel in the world of that zoom."""
QUADS = "USDA/NAIP/DOQQ"
QUAD = f"{QUADS}/m_1"
COLLECTION = "users/me/terrain"
HEIGHTS = f"{COLLECTION}/heights"


@pytest.fixture(scope="package")
def quad() -> np.ndarray:
    """Values of red, green and blue, (3, 150, 200)."""
    return np.random.default_rng(3).integers(0, 256, (3, 150, 200), dtype=np.uint8)


@pytest.fixture(scope="package")
def assets(tmp_path_factory: pytest.TempPathFactory, quad: np.ndarray) -> Path:
    """A quad with a record of its dataset, and heights without one, whose title tries to be a script."""
    folder = tmp_path_factory.mktemp("assets")
    half = 2**ZOOM * 256 / 2
    corner = ((CORNER[0] - half) * PIXEL, (half - CORNER[1]) * PIXEL)
    grid = {"crs": "EPSG:3857", "transform": Affine(PIXEL, 0, corner[0], 0, -PIXEL, corner[1])}
    names = {"bands": ("R", "G", "B"), "time_start": "2019-07-01"}
    ingest([raster(folder / "quad.tif", quad, **grid)], folder / "store", QUAD, **names)
    heights = quad[:1].astype(np.float32) / 100 + 7
    properties = {"title": HOSTILE}
    ingest([raster(folder / "heights.tif", heights, **grid)], folder / "store", HEIGHTS, properties=properties)
    return folder / "store"


@pytest.fixture(scope="package")
def server(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``eechips-local serve`` with these assets, the demo planet, and folders for exports."""
    drive = tmp_path_factory.mktemp("drive")
    with serving_command(
        "serve", "--assets", assets, "--demo", "--workers", "2", "--drive", drive, "--concurrency", "20"
    ) as running:
        yield running


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with started(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture
def page(browser: Any, server: Server) -> Callable[..., Any]:
    """Opens the page of the server, and waits until it shows the assets and what the server does."""

    def opened(width: int = 1400, *, is_dark: bool = False) -> Any:
        set_window(browser, width, is_dark=is_dark)
        browser.get(server.url)
        wait(browser, "return document.querySelector('[data-asset]') && Number(document.body.dataset.polls) >= 1")
        wait(browser, "return document.getElementById('map').dataset.view")
        return browser

    return opened
