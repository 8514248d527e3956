"""``eechips datasets``: datasets with a short name, and those of the demo planet."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from eechips.cli import main
from eechips.emulator.demo import dataset_list

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "local-datasets.md"


def test_the_documented_list_of_the_demo_planet_is_current() -> None:
    """To update it: ``EECHIPS_DEMO_UNTIL=2025-01-01 python -m eechips.emulator.demo.dataset_list``."""
    assert PAGE.read_text() == dataset_list.page()


def test_the_demo_planet_is_listed_with_dates_and_bands() -> None:
    result = CliRunner().invoke(main, ["datasets", "--local"])
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.output.splitlines()}
    assert lines["USDA/NASS/CDL"].split()[1:] == ["collection", "2008-01-01", "-", "cropland,cultivated,confidence"]
    assert "2020-01-01 - 2020-12-31" in lines["ESA/WorldCover/v100"]


def test_the_list_is_available_as_json() -> None:
    found = json.loads(CliRunner().invoke(main, ["datasets", "--local", "--json"]).output)
    assert {entry["kind"] for entry in found} == {"image", "collection", "table"}
    assert all(entry["names"] and entry["title"] for entry in found if entry["id"] != "RESOLVE/ECOREGIONS/2017")
