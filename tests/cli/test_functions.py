"""The queue of work and the local Earth Engine as Python functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

import eechips
from eechips.cli import main
from eechips.commands.parameters import command_words
from eechips.engine.service.local_server import LocalServer
from eechips.errors import EechipsError, MissingResultsError, UsageError
from local_tests.support.local_earth_engine import Server
from tests.support.commands import run_command

SAMPLE: dict[str, Any] = {
    "total": 4,
    "roi": "-105.1,39.7,-105.0,39.8",
    "size": 16,
    "format": "tif",
    "project": "local",
    "executor": "threads",
}
RECIPE = """
import ee
from eechips import Chip


def get_requests(count=3):
    return [[-105.1 + 0.01 * number, 39.7] for number in range(count)]


def get_result(index, point, edge=16):
    region = ee.Geometry.Point(point).buffer(edge / 2).bounds()
    images = ee.ImageCollection("USDA/NAIP/DOQQ").filterBounds(region).filterDate("2015", "2030")
    image = images.mosaic().select("R", "G", "B")
    return Chip(image, region=region, dimensions=(edge, edge), format="png")
"""


@pytest.fixture(scope="module")
def server() -> Any:
    with eechips.local_earth_engine() as running:
        yield running


@pytest.fixture
def lines(demo_server: Server) -> list[str]:
    return list(eechips.plan("sample", "NAIP", endpoint=demo_server.url, **SAMPLE))


@pytest.mark.slow
def test_the_local_earth_engine_is_an_endpoint_while_the_block_runs(server: LocalServer, tmp_path: Path) -> None:
    run = eechips.sample("NAIP", endpoint=server.url, out=tmp_path / "run", quiet=True, **SAMPLE)
    assert run.counts == {"done": 4}


@pytest.mark.slow
def test_units_are_planned_fetched_and_joined_in_python(server: LocalServer, lines: list[str], tmp_path: Path) -> None:
    assert len(lines) == 4
    first = eechips.work(lines[:3], tmp_path / "out", quiet=True)
    second = eechips.work(lines[2:], tmp_path / "out", quiet=True, in_flight=2)  # one of them is delivered twice
    assert [each["state"] for each in first + second] == ["done"] * 5
    assert first[2]["sha256"] == second[0]["sha256"]
    run = eechips.join(lines, tmp_path / "out", outcomes=first + second, quiet=True)
    assert run.counts == {"done": 4}
    assert run.verify() == []
    directly = eechips.sample("NAIP", endpoint=server.url, out=tmp_path / "run", quiet=True, **SAMPLE)
    assert list(run.units["sha256"]) == list(directly.units["sha256"])


@pytest.mark.slow
def test_lines_whose_results_are_missing_are_in_the_error(lines: list[str], tmp_path: Path) -> None:
    outcomes = eechips.work(lines[1:], tmp_path / "out", quiet=True)
    with pytest.raises(MissingResultsError, match="1 of 4 results is missing; nothing was joined") as caught:
        eechips.join(lines, tmp_path / "out", outcomes=outcomes, quiet=True)
    assert [json.loads(line)["id"] for line in caught.value.lines] == [json.loads(lines[0])["id"]]
    outcomes += eechips.work(caught.value.lines, tmp_path / "out", quiet=True)
    assert eechips.join(lines, tmp_path / "out", outcomes=outcomes, quiet=True).counts == {"done": 4}


@pytest.mark.slow
def test_a_recipe_is_planned_with_its_parameters(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.py").write_text(RECIPE)
    options: dict[str, Any] = {"endpoint": server.url, "project": "local", "executor": "threads"}
    lines = list(eechips.plan("run", "recipe.py", count=2, parameters={"edge": 8}, **options))
    assert len(lines) == 2
    assert {each["width"] for each in eechips.work(lines, "out", quiet=True)} == {8}
    with pytest.raises(UsageError, match="write them into a file"):
        eechips.plan("run", list, get_result=list)


@pytest.mark.slow
def test_the_command_line_fetches_lines_that_python_planned(lines: list[str], tmp_path: Path) -> None:
    words = ["work", "--units", "-", "--out", str(tmp_path / "out"), "-q"]
    ended = run_command(*words, given="\n".join(lines), status=0)
    assert {json.loads(line)["state"] for line in ended.stdout.splitlines()} == {"done"}


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("check", "outputs"), {}, "'check' has no units"),
        (("sampel",), {}, "'sampel' has no units"),
        (("sample", "NAIP"), {"totl": 5}, "there is no option 'totl'"),
        (("sample", "NAIP"), {"total": 5, "dry_run": True}, "call eechips.sample with it"),
        (("sample", "NAIP"), {"total": 0, "roi": "0,0,1,1"}, "`?total`? must be"),
    ],
)
def test_wrong_calls_are_answered_in_python_s_terms(
    arguments: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(EechipsError, match=message) as caught:
        eechips.plan(*arguments, **options)
    assert "--" not in str(caught.value)


@pytest.mark.slow
def test_unknown_options_and_lines_are_refused(lines: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no option 'in_fligt'; did you mean 'in_flight'"):
        eechips.work(lines, tmp_path / "out", in_fligt=3)
    with pytest.raises(UsageError, match="no unit as `eechips plan` writes it"):
        eechips.work(['{"id": 1}'], tmp_path / "out")
    forged = [json.dumps({**json.loads(line), "signature": None}) for line in lines]
    with pytest.raises(UsageError, match=r"--endpoint.*Give `trust` to execute the command"):
        eechips.work(forged, tmp_path / "out")
    job = ["sample", "--dataset=NAIP", "--export-to=gs://bucket/a"]
    exporting = [json.dumps({**json.loads(line), "signature": None, "job": job}) for line in lines]
    with pytest.raises(UsageError, match=r"more than data \(--export-to\)"):
        eechips.work(exporting, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dataset": "NAIP", "size": (256, 128)}, ["--dataset=NAIP", "--size=256x128"]),
        (
            {"dataset": ["S2", "SRTM"], "bands": ["B4", "B3"]},
            ["--dataset=S2", "--dataset=SRTM", "--bands=B4", "--bands=B3"],
        ),
        ({"dataset": "S2", "bands": {"S2": ["B4", "B3"]}}, ["--dataset=S2", "--bands=S2:B4,B3"]),
        ({"mask": "auto", "local": True, "quiet": False}, ["--mask=auto", "--local"]),
        ({"rate": None, "in_flight": "auto", "seed": 3}, ["--rate=none", "--in-flight=auto", "--seed=3"]),
        ({"grid": [1.0, 0.0, 5.5, 0.0, -1.0, 9.0], "crs": None}, ["--grid=1.0,0.0,5.5,0.0,-1.0,9.0"]),
    ],
)
def test_options_are_typed_as_the_command_line_reads_them(options: dict[str, Any], words: list[str]) -> None:
    command = main.get_command(click.Context(main), "sample")
    assert command is not None
    assert command_words(command, options) == words
    needed = [] if "dataset" in options else ["--dataset=NAIP"]
    parsed = command.make_context("sample", [*needed, *words]).params
    for name, value in options.items():
        if isinstance(value, (int, tuple)) and not isinstance(value, bool):
            assert parsed[name] == value
