"""``eechips datasets``: datasets with a short name, what is known of them, and those of the demo planet."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from eechips.datasets import find_dataset
from eechips_local.archives.archive_record import list_records
from eechips_local.demo import dataset_list
from tests.support.commands import run_command
from tests.support.programs import run_program

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "local-datasets.md"


@pytest.mark.exhaustive
def test_the_documented_list_of_the_demo_planet_is_current() -> None:
    """To update it: ``EECHIPS_DEMO_UNTIL=2025-01-01 python -m eechips_local.demo.dataset_list``."""
    assert PAGE.read_text() == dataset_list.page()


@pytest.mark.slow
def test_the_demo_planet_is_listed_with_dates_and_bands() -> None:
    result = run_command("datasets", "--local", status=0)
    lines = {line.split()[0]: line for line in result.output.splitlines()}
    assert lines["USDA/NASS/CDL"].split()[1:] == ["collection", "2008-01-01", "-", "cropland,cultivated,confidence"]
    assert "2020-01-01 - 2020-12-31" in lines["ESA/WorldCover/v100"]


@pytest.mark.slow
def test_the_list_is_available_as_json() -> None:
    found = json.loads(run_command("datasets", "--local", "--json").output)
    assert {entry["kind"] for entry in found} == {"image", "collection", "table"}
    assert all(entry["names"] and entry["title"] for entry in found if entry["id"] != "RESOLVE/ECOREGIONS/2017")
    # Some of the first images lack these bands.
    (surface,) = (entry for entry in found if entry["id"] == "COPERNICUS/S2_SR_HARMONIZED")
    assert {"MSK_CLDPRB", "MSK_SNWPRB", "QA60", "SCL"} <= {*surface["names"]}


def eechips(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "eechips", "datasets", *arguments]
    return run_program(*command, env={**os.environ, **environment})


def show_on_terminal(columns: int, *arguments: str, **environment: str) -> str:
    """Return what a command prints on a terminal of some columns."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "eechips", "datasets", *arguments],
        env={**os.environ, "COLUMNS": str(columns), **environment},
        stdout=child,
        stdin=child,
        stderr=subprocess.DEVNULL,
    )
    os.close(child)
    parts = []
    try:
        while part := os.read(parent, 65536):
            parts.append(part)
    except OSError:  # the terminal is closed by its last writer
        pass
    os.close(parent)
    assert process.wait() == 0
    return b"".join(parts).decode().replace("\r\n", "\n")


def aliases(output: str) -> list[str]:
    return [line.split()[0] for line in output.splitlines()[1:]]


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("ndvi", ["MOD13A1", "MOD13A2", "MOD13Q1", "VNP13A1"]),  # by their names
        ("Sentinel-2 cloud", ["S2_CLOUD_PROBABILITY"]),
        ("worldcover", ["WORLDCOVER", "WORLDCOVER_2020"]),
        ("LANDSAT/LC09", ["L9", "L9_TOA"]),
        ("SR_B4", ["L4", "L5", "L7", "L8", "L9"]),
        ("JAXA", ["AW3D30", "PALSAR", "PALSAR_FNF"]),
    ],
)
def test_words_are_found_in_names_titles_providers_and_bands(words: str, first: list[str]) -> None:
    found = run_command("datasets", "--search", words, status=0)
    assert aliases(found.output)[: len(first)] == first


def test_all_words_must_be_there() -> None:
    both = run_command("datasets", "--search", "landsat toa")
    assert aliases(both.output) == ["L8_TOA", "L9_TOA", "HLSL30"]


@pytest.mark.slow
def test_words_that_are_nowhere_end_with_a_suggestion() -> None:
    found = eechips("--search", "worldcovr")
    assert (found.returncode, found.stdout) == (2, "")
    assert "no dataset with a short name matches 'worldcovr'; did you mean WORLDCOVER" in found.stderr
    assert found.stderr.count("\n") == 1


def test_found_datasets_are_there_as_json() -> None:
    found = json.loads(run_command("datasets", "--search", "corine", "--json").output)
    assert [each["alias"] for each in found] == ["CORINE"]
    assert found[0]["bands"][0]["classes"]["111"] == "Continuous urban fabric"


@pytest.mark.slow
def test_everything_that_is_known_of_a_dataset_is_shown_without_colours_in_a_pipe() -> None:
    found = eechips("show", "landsat8")
    assert found.returncode == 0
    assert "\x1b" not in found.stdout
    lines = found.stdout.splitlines()
    assert lines[0] == "L8: USGS Landsat 8 Level 2, Collection 2, Tier 1"
    facts = dict(re.split(r"  +", line, maxsplit=1) for line in lines[2 : lines.index("", 2)])
    assert facts["id"] == "LANDSAT/LC08/C02/T1_L2"
    assert facts["dates"] == "since 2013-03-18"
    assert facts["default bands"] == "SR_B4, SR_B3, SR_B2"
    assert facts["cloud masks"] == "qa_pixel (fill, dilated, cirrus, cloud, shadow)"
    assert facts["licence"] == "US public domain (USGS); credit is asked for"
    assert facts["citation"] == "Landsat-8 image courtesy of the U.S. Geological Survey"
    assert facts["source"].startswith(
        "https://developers.google.com/earth-engine/datasets/catalog/LANDSAT_LC08_C02_T1_L2"
    )
    (thermal,) = [line for line in lines if line.startswith("  ST_B10 ")]
    assert thermal.split()[1:6] == ["thermal", "K", "0.00341802", "149", "uint16"]


@pytest.mark.exhaustive
def test_classes_have_their_colours_on_a_terminal_unless_these_are_not_wanted() -> None:
    shown = show_on_terminal(100, "show", "WORLDCOVER")
    assert "\x1b[48;2;0;100;0m006400\x1b[0m  Tree cover" in shown
    plain = show_on_terminal(100, "show", "WORLDCOVER", NO_COLOR="1")
    assert "\x1b" not in plain
    assert re.search(r"^   10  006400  Tree cover$", plain, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("columns", [60, pytest.param(80, marks=pytest.mark.slow), 160])
@pytest.mark.parametrize("name", ["S2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("MCD12Q1", "SRTM"))])
def test_output_fits_the_terminal(name: str, columns: int) -> None:
    shown = show_on_terminal(columns, "show", name, NO_COLOR="1")
    long = [line for line in shown.splitlines() if len(line) > columns]
    assert all(" " not in line.strip() for line in long), "only a URL or a name without spaces is longer"
    assert "".join(eechips("show", name).stdout.split()) == "".join(shown.split())


@pytest.mark.slow
def test_the_list_leaves_columns_out_that_do_not_fit_a_terminal() -> None:
    narrow, wide = show_on_terminal(80, "--search", "sentinel"), show_on_terminal(400, "--search", "sentinel")
    assert narrow.split("\n")[0].split() == ["ALIAS", "ID"]
    assert wide.split("\n")[0].split() == ["ALIAS", "ID", "BANDS", "SCALE", "DATES", "SYNONYMS", "LICENCE"]
    assert aliases(narrow) == aliases(wide)


@pytest.mark.exhaustive
def test_a_name_of_which_nothing_is_known_is_said_to_work_elsewhere() -> None:
    found = eechips("show", "users/me/forests")
    assert (found.returncode, found.stdout) == (2, "")
    assert "there is no record of 'users/me/forests'" in found.stderr
    assert "did you mean S2" in eechips("show", "SENTINEL_3").stderr


def test_a_file_is_shown_and_its_mistakes_are_named(tmp_path: Path) -> None:
    record = (Path(__file__).parents[2] / "eechips" / "datasets" / "records" / "gsw.toml").read_text()
    (tmp_path / "water.toml").write_text(record.replace('"GSW"', '"WATER"'))
    (tmp_path / "wrong.toml").write_text(record.replace("pixel_size = 30.0", 'pixel_size = "30 m"'))
    shown = json.loads(run_command("datasets", "show", tmp_path / "water.toml", "--json").output)
    assert (shown["alias"], shown["id"]) == ("WATER", "JRC/GSW1_4/GlobalSurfaceWater")
    wrong = eechips("show", str(tmp_path / "wrong.toml"))
    assert wrong.returncode == 2
    assert wrong.stderr == f"Error: {tmp_path}/wrong.toml: 'pixel_size' must be a number, not '30 m'\n"


def test_the_name_of_a_dataset_is_no_command() -> None:
    result = run_command("datasets", "SNOW", status=2)
    assert "To search: main datasets --search SNOW; to show one: main datasets show SNOW" in result.output
    run_command("datasets", "show", "S2", status=0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [("find snow cover", "'snow cover'"), ("snow cover", "'snow cover'"), ("list --json", "WORDS")],
)
def test_words_after_a_verb_are_those_to_search_for(arguments: str, words: str) -> None:
    assert f"--search {words};" in run_command("datasets", *arguments.split(), status=2).output


@pytest.mark.exhaustive
def test_archives_and_what_differs_there_are_shown() -> None:
    shown = eechips("show", "S2").stdout
    assert "--archive earth-search reads sentinel-2-c1-l2a. What differs from Earth Engine:\n  - Scenes come" in shown
    assert "--archive cdse refuses it: its files are JPEG 2000" in shown
    own = eechips("show", "S2", "--archive", "planetary-computer").stdout
    assert "--archive planetary-computer reads sentinel-2-l2a." in own
    assert "--archive earth-search" not in own
    found = json.loads(eechips("show", "AEF", "--archive", "aef", "--json").stdout)
    assert [archive["archive"] for archive in found["archives"]] == ["aef"]


@pytest.mark.slow
def test_dataset_that_only_an_archive_has_is_shown() -> None:
    shown = eechips("show", "JRC/GSW1_3/GlobalSurfaceWater").stdout.splitlines()
    assert shown[0] == "JRC/GSW1_3/GlobalSurfaceWater: JRC Global Surface Water Mapping Layers, v1.3"
    assert shown[2].startswith("--archive planetary-computer reads jrc-gsw. What differs")
    assert shown[-1] == "  Bands: occurrence, seasonality, recurrence, transition, max_extent"


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("NAIP", "--archive", "earthsearch"), "'earthsearch' is no archive. Did you mean earth-search?"),
        (
            ("AEF", "--archive", "earth-search"),
            "earth-search does not have GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL; --archive",
        ),
        (
            ("CLOUD_SCORE_PLUS", "--archive", "aef"),
            "no open archive has GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED; the demo planet (--local) has a synthetic",
        ),
    ],
)
def test_archive_without_a_dataset_says_who_has_it(arguments: tuple[str, ...], said: str) -> None:
    result = eechips("show", *arguments)
    assert result.returncode
    assert said in result.stderr


@pytest.mark.exhaustive
def test_dataset_that_no_archive_has_says_so() -> None:
    shown = eechips("show", "CLOUD_SCORE_PLUS").stdout
    assert "No open archive has it; the demo planet (--local) has a synthetic one." in shown


def test_bands_of_archives_are_those_of_the_dataset() -> None:
    """By Earth Engine's catalogue, names and types; what a record lacks is among what it says differs."""
    compared = 0
    for record in list_records():
        dataset = find_dataset(record.dataset)
        if record.kind == "refused" or dataset is None:
            continue
        known = {band.name: band.dtype for band in dataset.bands}
        for band in record.bands:
            assert band.name in known, record
            assert known[band.name] in ("", None, band.value.dtype), (record.archive, record.dataset, band.name)
            compared += 1
        said = tuple(word for word in re.findall(r"\w{2,}", " ".join(record.differences)))
        for name in known.keys() - {band.name for band in record.bands}:
            assert name.startswith(said), (record.archive, record.dataset, name)
    assert compared > 400
