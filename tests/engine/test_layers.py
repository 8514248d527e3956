"""Units with several results: all of their files are stored or none."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import eechips
from eechips.engine.costs.cost_descriptions import Estimate
from eechips.errors import RecipeError
from eechips.manifest.run import Run
from tests.support.engine_service import Service

SCRIPT = """
import ee
from eechips import Chip, Table
from eechips.geo.grid import Grid

GRID = Grid("EPSG:32613", (10.0, 0.0, 5e5, 0.0, -10.0, 44e5), 8, 8)

def get_requests(count=3):
    return list(range(1, count + 1))

def get_result(index, number):
    optical = Chip(ee.Image(number), grid=GRID, format="tif", sources=(f"A/{number}",), dates=("2020-01-01",))
    other = Chip(ee.Image(100 + number), grid=GRID, format="png", sources=("B",))
    return {"S2": optical, "DEM": other, "labels": Table([{"label": number}])}
"""


def start(tmp_path: Path, service: Service, text: str = SCRIPT, **options: object) -> Run:
    script = tmp_path / "layers.py"
    script.write_text(text)
    options = {
        "out": tmp_path / "out",
        "endpoint": service.url,
        "quiet": True,
        "executor": "threads",
        "retries": 1,
        **options,
    }
    run = eechips.run(script, **options)
    assert isinstance(run, Run)
    return run


@pytest.mark.parametrize("executor", ["threads", pytest.param("processes:2", marks=pytest.mark.slow)])
def test_every_layer_has_a_file_and_its_metadata(service: Service, tmp_path: Path, executor: str) -> None:
    run = start(tmp_path, service, executor=executor)
    assert run.counts == {"done": 3}
    assert run.verify() == []
    layers = run.layers
    assert [layer for _, layer in layers.index] == ["S2", "DEM", "labels"] * 3
    for (position, layer), row in layers.iterrows():
        unit = run.units.loc[position]
        suffix = {"S2": "tif", "DEM": "png", "labels": "csv"}[layer]
        assert row["file"] == f"{unit['name']}.{layer}.{suffix}"
        assert (run.path / row["file"]).stat().st_size == row["bytes"]
        assert row["id"] == unit["id"]
        assert row["rows"] == 1 if layer == "labels" else pd.isna(row["rows"])
    first = layers.loc[(0, "S2")]
    assert (first["crs"], first["width"], first["sources"], first["dates"]) == (
        "EPSG:32613",
        8,
        ["A/1"],
        ["2020-01-01"],
    )
    unit = run.units.loc[0]
    assert unit["file"] == first["file"]
    assert unit["sources"] == ["A/1", "B"]
    stored = pd.read_parquet(run.path / "layers.parquet")
    assert stored["file"].tolist() == layers["file"].tolist()
    assert run.status().bytes == layers["bytes"].sum()


def test_one_layer_that_fails_leaves_no_file_of_the_others(service: Service, tmp_path: Path) -> None:
    service.plan(102, "400", "400", "400")
    run = start(tmp_path, service)
    assert run.counts == {"done": 2, "failed_permanent": 1}
    assert len(run.layers) == 6
    assert len(list((run.path / "chips").iterdir())) == 6
    assert run.verify() == []


@pytest.mark.slow
def test_a_layer_that_is_lost_is_fetched_again_with_the_others(service: Service, tmp_path: Path) -> None:
    run = start(tmp_path, service)
    before = run.layers["sha256"].tolist()
    (run.path / run.layers.loc[(1, "DEM"), "file"]).unlink()
    assert [problem.reason for problem in run.verify()] == ["the file is missing"]
    sent = service.count("compute")
    again = start(tmp_path, service)
    assert service.count("compute") == sent + 2
    assert again.verify() == []
    assert again.layers["sha256"].tolist() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("return {}", "mapping without a single result"),
        ("return {'a b': Table([{'x': 1}]), 'a_b': Table([{'x': 1}])}", "two results of a unit have the same name"),
        ("return {'a': 3}", "get_result returned int"),
    ],
)
def test_invalid_mappings_fail_their_unit(service: Service, tmp_path: Path, text: str, message: str) -> None:
    script = f"from eechips import Table\ndef get_requests(): return [1]\ndef get_result(index, unit):\n    {text}\n"
    run = start(tmp_path, service, script)
    assert message in run.failures["error"].iloc[0]
    assert [p.name for p in run.path.rglob("*.csv")] == ["failures.csv"]


def test_a_dry_run_counts_every_layer(service: Service, tmp_path: Path) -> None:
    foreseen = start_estimate(tmp_path, service)
    assert (foreseen.units, foreseen.requests) == (3, 6)  # none for rows of the recipe
    assert repr(foreseen).startswith("<eechips estimate: 3 units, 6 requests, unknown size, about ")


def start_estimate(tmp_path: Path, service: Service) -> Estimate:
    script = tmp_path / "layers.py"
    script.write_text(SCRIPT)
    found = eechips.run(script, out=tmp_path / "out", endpoint=service.url, quiet=True, dry_run=True)
    assert isinstance(found, Estimate)
    return found


def test_a_reserved_name_of_a_layer_is_refused_when_it_is_fetched(service: Service, tmp_path: Path) -> None:
    text = SCRIPT.replace('"labels": Table', '"label": Table')
    with pytest.raises(RecipeError, match=r"first .* failed") as raised:
        start(tmp_path, service, text, count=40)
    assert "cannot be called 'label'" in str(raised.value)
    assert "metadata, crs" in str(raised.value)
    assert not service.count("image")  # nothing was asked for
