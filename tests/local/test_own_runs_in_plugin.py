"""Runs of eechips in tests that use the pytest plugin of the local Earth Engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_tests.served.test_pytest_plugin import make_repository, run_pytest


@pytest.mark.exhaustive
def test_a_run_and_the_client_use_the_same_server(tmp_path: Path) -> None:
    """The plugin replaces ``ee.Initialize``, by which a run connects as well."""
    text = """
import ee
import eechips

def test_run(earth_engine, tmp_path):
    ee.Initialize(project="somebody")
    assert ee.Number(1).add(1).getInfo() == 2
    run = eechips.timeseries(
        "MODIS_LST", bands="LST_Day_1km", regions="fields.geojson", start="2020-06-01", end="2020-06-10",
        out=tmp_path / "run", quiet=True,
    )
    assert run.counts == {"done": 1}
    assert ee.Number(1).add(2).getInfo() == 3
    assert len(earth_engine.requests) > 2
"""
    ring = "[[-105.2,39.9],[-105.1,39.9],[-105.1,40.0],[-105.2,39.9]]"
    (tmp_path / "fields.geojson").write_text(f'{{"type":"Polygon","coordinates":[{ring}]}}')
    done = run_pytest(make_repository(tmp_path, test_run=text))
    assert "1 passed" in done.stdout, done.stdout + done.stderr
