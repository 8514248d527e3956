"""Recipes whose templates branch on values unnoticed by guards: no wrong result is kept."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import rasterio

from eechips.engine.config import RunConfig
from eechips.engine.run import run
from local_tests.support.local_earth_engine import Server
from tests.support.engine_recipes import script, with_workers

pytestmark = pytest.mark.slow

RECIPE = """
import math
import re

import ee
from eechips import Chip, Grid, Template

GRID = Grid("EPSG:32613", (10.0, 0.0, 500000.0, 0.0, -10.0, 4400000.0), 4, 4)


def get_requests(count=150, first=20):
    return [{"n": n, "x": n / 1000 + (n < first)} for n in range(count)]


def by_sine(x, word):
    return ee.Image.constant(x).multiply(2 if math.sin(x) > 0.5 else 1).toFloat().set("word", word)


def by_pattern(x, word):
    return ee.Image.constant(x).multiply(2 if re.match("0", word) else 1).toFloat().set("word", word)


def get_result(index, unit, by="by_sine"):
    build = by_sine if by == "by_sine" else by_pattern
    return Chip(Template(build, values={"x": unit["x"], "word": str(unit["x"])}), grid=GRID, format="tif")
"""


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("by", "executor", "in_flight"),
    [("by_sine", "threads", 1), ("by_sine", "threads", 6), ("by_pattern", "processes", 4)],
)
def test_results_of_a_template_that_decides_by_its_values_are_fetched_again(
    demo_server: Server, tmp_path: Path, by: str, executor: str, in_flight: int
) -> None:
    options = {"executor": with_workers(executor, 1), "in_flight": in_flight, "rate": None, "quiet": True}
    config = RunConfig(out=tmp_path / "out", endpoint=demo_server.url, **options)  # type: ignore[arg-type]
    made = run(script(tmp_path, RECIPE, by=by), config)
    assert made.counts == {"done": 150}
    for unit, file in zip(made.units["unit"], made.units["file"], strict=True):
        x = unit["value"]["x"]
        is_doubled = math.sin(x) > 0.5 if by == "by_sine" else re.match("0", str(x)) is not None
        with rasterio.open(made.path / file) as raster:
            assert raster.read(1).flat[0] == pytest.approx(x * (1 + is_doubled), rel=1e-6), unit
    lines = map(json.loads, (made.path / "run.log").read_text().splitlines())
    (line,) = [line for line in lines if line["event"] == "reopened"]
    assert line["template"] == by
    assert 0 < len(line["positions"]) < 64
    assert made.verify() == []
