"""Chips without a valid pixel: the file that is made without a request is the one of a response."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from eechips.manifest.run import Run
from local_tests.support.local_earth_engine import Server
from tests.support.commands import run_command
from tests.support.engine_recipes import run_script

EMPTY = """
import ee

from eechips.geo.grid import Grid
from eechips.recipe import Chip

def get_requests():
    return [0]

def get_result(index, unit, file_format="tif", types="uint16", crs="EPSG:32613", is_known=False):
    types = types.split(",")
    names = [f"B{number}" for number, _ in enumerate(types)]
    casts = {"uint16": "uint16", "int16": "int16", "uint8": "uint8", "float32": "float", "float64": "double"}
    image = ee.Image.constant([1] * len(names)).rename(names).updateMask(0)
    image = image.cast({name: casts[each] for name, each in zip(names, types)}, names)
    grid = Grid(crs, (30.0, 0.0, 500000.0, 0.0, -30.0, 4400000.0), 40, 30)
    return Chip(
        image=image, grid=grid, format=file_format, bands=tuple(names),
        dtype=types[0] if len(set(types)) == 1 else None, empty_types=tuple(types) if is_known else (),
    )
"""
NAMED = 'PROJCS["sphere",GEOGCS["s",DATUM["s",SPHEROID["s",6371007,0]],PRIMEM["Greenwich",0],UNIT["degree",0.01745]],PROJECTION["Sinusoidal"],UNIT["m",1]]'  # noqa: E501 - well-known text
CHANGING = ["id", "name", "file", "requests", "request_kinds", "method", "seconds", "eecu_seconds", "finished"]


def fetch(server: Server, folder: Path, **parameters: Any) -> tuple[Run, int]:
    before = server.requests().get("image:computePixels", 0)
    run = run_script(folder, EMPTY, server.url, method="pixels", executor="threads", parameters=parameters)
    return run, int(server.requests().get("image:computePixels", 0) - before)


@pytest.mark.parametrize(
    ("file_format", "types"),
    [
        ("tif", "uint16"),
        pytest.param("tif", "float32,float32", marks=pytest.mark.slow),
        pytest.param("tif", "uint8", marks=pytest.mark.slow),
        pytest.param("npy", "uint16,float64", marks=pytest.mark.slow),
        pytest.param("npy", "int16", marks=pytest.mark.slow),
    ],
)
def test_a_chip_that_is_known_to_be_empty_has_the_same_file_without_a_request(
    demo_server: Server, tmp_path: Path, file_format: str, types: str
) -> None:
    options = {"file_format": file_format, "types": types}
    fetched, sent = fetch(demo_server, tmp_path / "fetched", **options)
    made, spared = fetch(demo_server, tmp_path / "made", **options, is_known=True)
    assert (sent, spared) == (1, 0)
    files = [(run.path / run.units["file"][0]).read_bytes() for run in (fetched, made)]
    assert files[0] == files[1]
    rows = [
        pd.read_parquet(run.path / "manifest.parquet").drop(columns=CHANGING, errors="ignore")
        for run in (fetched, made)
    ]
    different = [name for name in rows[0] if str(rows[0][name].tolist()) != str(rows[1][name].tolist())]
    assert different == []


def test_a_run_without_data_says_so(demo_server: Server, tmp_path: Path) -> None:
    (tmp_path / "recipe.py").write_text(EMPTY)
    words = ["run", str(tmp_path / "recipe.py"), "--out", str(tmp_path / "out"), "--endpoint", demo_server.url]
    done = run_command(*words, "--executor", "threads", status=0)
    assert "No result has data: the dataset may have none at these places" in done.output


@pytest.mark.exhaustive
def test_a_crs_without_a_code_is_that_of_the_response(demo_server: Server, tmp_path: Path) -> None:
    fetched, sent = fetch(demo_server, tmp_path / "fetched", crs=NAMED)
    made, again = fetch(demo_server, tmp_path / "made", crs=NAMED, is_known=True)
    assert sent == again == 1
    files = [(run.path / run.units["file"][0]).read_bytes() for run in (fetched, made)]
    assert files[0] == files[1]
