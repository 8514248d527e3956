"""``--provenance``: exactly the images of which a chip has a pixel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine

import eechips
from eechips.geo.grid import Grid
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server
from tests.support.coded_store import write_geotiff

pytestmark = pytest.mark.slow

ROOT = "users/someone/scenes"
CRS, TRANSFORM = "EPSG:32613", Affine(10, 0, 500_000, 0, -10, 4_400_000)
SHAPE = (120, 120)
DAYS = ("2020-01-05", "2020-02-05", "2020-03-05", "2020-04-05")


def scenes() -> np.ndarray:
    """Four images in order of time, two bands; 0 is masked: halves, clouds, and one with a band more than the other."""
    values = np.zeros((4, 2, *SHAPE), dtype=np.uint8)
    values[0] = 10
    values[1, :, :, :70] = 20
    values[2, :, 30:90, 30:90] = 30
    values[2, 1, 40:50, 40:50] = 0  # the second band shows what lies below
    values[3, :, 100:, :] = 40
    return values


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Server:
    folder = tmp_path_factory.mktemp("scenes")
    for number, (day, values) in enumerate(zip(DAYS, scenes(), strict=True)):
        path = folder / f"s{number}.tif"
        write_geotiff(path, CRS, TRANSFORM, values, nodata=0)
        ingest(path, folder / "store", f"{ROOT}/s{number}", bands=["a", "b"], time_start=day)
    write_geotiff(folder / "dem.tif", CRS, TRANSFORM, np.ones((1, *SHAPE), dtype=np.int16))
    ingest(folder / "dem.tif", folder / "store", "users/someone/dem", bands=["height"])
    store = str(folder / "store")
    return serve("--assets", store, "--no-demo", "--rate", "none", "--concurrency", "none")


def sample(server: Server, out: Path, **options: Any) -> eechips.Run:
    given = {"dataset": ROOT, "total": 30, "roi": "-104.9995,39.7375,-104.9865,39.7475", "size": 12, "format": "tif"}
    given |= {"provenance": True, "executor": "threads", "quiet": True, "rate": None, "endpoint": server.url}
    return eechips.sample(out=out, **{**given, **options})


def expected(unit: dict[str, Any], bands: tuple[int, ...], *, grid: Grid | None = None) -> set[int]:
    """The images that show in a chip, pixel by pixel: that of the grid on top, then the latest."""
    grid = Grid.from_json(unit["grid"]) if grid is None else grid
    column, row = (round(float(v)) for v in Grid(CRS, tuple(TRANSFORM)[:6], 1, 1).pixel(*grid.xy(0, 0)))
    order = [3, 2, 1, 0]
    if "image" in unit:
        top = int(unit["image"][1])
        order = [top, *(n for n in order if n != top)]
    found = set()
    for band in bands:
        for r in range(max(row, 0), min(row + grid.height, SHAPE[0])):
            for c in range(max(column, 0), min(column + grid.width, SHAPE[1])):
                found |= set([n for n in order if scenes()[n, band, r, c]][:1])
    return found


@pytest.mark.exhaustive
@pytest.mark.parametrize(("bands", "numbers"), [("a", (0,)), ("a,b", (0, 1))])
def test_sources_are_those_that_show(server: Server, tmp_path: Path, bands: str, numbers: tuple[int, ...]) -> None:
    before = server.requests()
    run = sample(server, tmp_path, bands=bands)
    asked = server.requests()["value:compute"] - before.get("value:compute", 0)
    assert asked < 8
    several = 0
    for _, row in run.units.iterrows():
        shown = expected(row["unit"], numbers)
        several += len(shown) > 1
        assert (row["sources"] or []) == [f"{ROOT}/s{n}" for n in sorted(shown)], row["unit"]
        assert (row["dates"] or []) == [f"{DAYS[n]}T00:00:00Z" for n in sorted(shown)]
    assert several > 5


@pytest.mark.slow
def test_every_layer_has_its_own_and_without_it_only_the_top_one(server: Server, tmp_path: Path) -> None:
    run = sample(server, tmp_path / "both", dataset=[ROOT, "users/someone/dem"], bands=[f"{ROOT}:a"], total=6)
    for position in run.units.index:
        unit = run.units.loc[position, "unit"]
        sources = run.layers.loc[(position, "scenes"), "sources"]
        assert sources == [f"{ROOT}/s{n}" for n in sorted(expected(unit, (0,)))]
        assert run.layers.loc[(position, "dem"), "sources"] == ["users/someone/dem"]
    plain = sample(server, tmp_path / "plain", total=6, provenance=False)
    assert [row["sources"] for _, row in plain.units.iterrows()] == [
        [f"{ROOT}/{unit['image']}"] for unit in plain.units["unit"]
    ]


def test_pictures_and_dates(server: Server, tmp_path: Path) -> None:
    run = sample(server, tmp_path / "thumb", format="png", bands="a", total=5, stretch=(0.0, 50.0))
    assert all(len(sources) >= 1 for sources in run.units["sources"])
    plots = tmp_path / "plots.csv"
    plots.write_text("lon,lat,day\n-104.9937,39.7422,2020-02-10\n")
    paired = sample(
        server, tmp_path / "paired", total=None, roi=None, points=str(plots), columns="date=day", near="5d", bands="a"
    )
    assert paired.units["sources"].iloc[0] == [f"{ROOT}/s1"]
