"""Invalid input that needs no server to be found: one sentence on stderr, exit status 2, no file written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from eechips.cli import main
from eechips.commands.parameters import command_words
from eechips.errors import UsageError
from tests.support.commands import run_command

SAMPLE = ["sample", "--dataset", "NAIP", "--per-ecoregion", "5", "--local"]
TIMESERIES = ["timeseries", "--dataset", "MODIS_LST", "--columns", "id=X", "--local"]
SERIES = [*TIMESERIES, "--regions", "A/B"]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in a folder in which nothing is."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)


def refuse(*arguments: str) -> str:
    """Runs a command that must be refused; returns its sentence."""
    result = run_command(*arguments)
    assert not list(Path().iterdir()), "something was written"
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.removeprefix("Error: ").strip()


@pytest.mark.parametrize("option", ["--roi", "--points", "--regions", "--cells"])
def test_no_sentence_shows_the_secrets_of_an_address(option: str) -> None:
    address = "https://me:s3cret@127.0.0.1:9/a.json?sig=s3cret&token=s3cret"
    places = ["--total", "1"] if option == "--roi" else []
    sentence = refuse("sample", "--dataset", "NAIP", "--local", *places, option, address)
    assert "s3cret" not in sentence
    assert "127.0.0.1:9/a.json" in sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--scale", "0"], "--scale must be 0.001 to 40,075,017 metres, not 0"),
        (["--scale=-5"], "--scale must be 0.001 to 40,075,017 metres, not -5"),
        (["--scale", "nan"], "--scale must be 0.001 to 40,075,017 metres, not nan"),
        (["--scale", "1e308"], "--scale must be 0.001 to 40,075,017 metres, not 1e+308"),
        (["--scale", "1e-308"], "--scale must be 0.001 to 40,075,017 metres, not 1e-308"),
        (["--rate", "1e-300"], "--rate must be at least 0.001 a second, not 1e-300"),
        (["--frames", "99999999999", "--start", "2020-01-01", "--end", "2021-01-01"], "--frames must be 1 to 10,000"),
        (["--start", "2020-06-01", "--end", "2020-01-01"], "the start (2020-06-01) must be before the end"),
        (["--start", "2020-06-01", "--end", "2020-06-01"], "the start (2020-06-01) must be before the end"),
        (["--start", "yesterday"], "the start 'yesterday' is not a date (YYYY-MM-DD)"),
        (["--end", "2020-02-31"], "the end '2020-02-31' is not a date (YYYY-MM-DD)"),
        (["--start", "20200101"], "the start '20200101' is not a date (YYYY-MM-DD)"),
        (["--start", "2020-W01-1"], "the start '2020-W01-1' is not a date (YYYY-MM-DD)"),
        (["--per-ecoregion", "0"], "--per-ecoregion must be at least 1, not 0"),
        (["--limit", "0"], "--limit must be at least 1, not 0"),
        (["--size", "0"], "--size must be 4 to 10,000 pixels, not 0x0"),
        (["--size", "20000"], "--size must be 4 to 10,000 pixels, not 20000x20000"),
        (["--size", "big"], "'big' is not a number of pixels, nor WIDTHxHEIGHT"),
        (["--size", "256x128"], "--grid thumb makes squares, not 256x128: use --grid native"),
        (["--format", "png", "--bands", "R,G"], "png takes 1 or 3 bands, not 2: tif and npy take any"),
        (["--bands", "R,,B"], "--bands must name at least one band"),
        (["--format", "tif", "--stretch", "0,9"], "--stretch makes pictures"),
        (["--stretch", "5,5"], "--stretch: the first value (5) must be below the second (5)"),
        (["--format", "gif"], "unknown format 'gif': one of png, jpg, tif, npy"),
        (["--roi", "1,2,3"], "'1,2,3' has 3 numbers, and W,S,E,N are four, in degrees"),
        (["--roi", "-105,41,-104,40"], "must be within -90 and 90, and S below N"),
        (["--roi", "40.1234567,-105,41,-104"], "Longitudes come first: -105,40.1234567,-104,41"),
        (["--roi", "nowhere.geojson"], "'nowhere.geojson' is not a file"),
        (["--roi", "s3://bucket/a.gpkg"], "not a file or folder of this machine; download it first"),
        (["--executor", "processes:0"], "--executor processes:0: the number of workers must be 1 to 10,000"),
        (["--executor", "processes:99999999999"], "the number of workers must be 1 to 10,000"),
        (["--endpoint", "http://127.0.0.1:1"], "--local starts a server of its own and excludes --endpoint"),
        (["--local", "nowhere"], "there is no folder of assets nowhere"),
        (["--name", "../{id}"], "must be a path below the output folder"),
        (["--no-such-option"], "there is no option --no-such-option"),
        (["--sizee", "64"], "there is no option --sizee; did you mean --size?"),
        (["--dates", "2020"], "there is no option --dates; did you mean --start?"),
        (["--labels", "DW"], "there is no option --labels; did you mean --dataset?"),
        (["--verbose"], "there is no option --verbose; write eechips --debug sample …"),
        (["--max-cloud-cover", "20"], "did you mean --where 'CLOUDY_PIXEL_PERCENTAGE < 20'?"),
        (["--id-field", "name"], "there is no option --id-field; did you mean --columns id=FIELD?"),
    ],
)
def test_invalid_options_of_sample_are_refused(arguments: list[str], sentence: str) -> None:
    assert sentence in refuse(*SAMPLE, *arguments)


def test_a_recipe_that_is_to_be_extended_says_what_to_do() -> None:
    message = refuse("run", "recipe.py", "--extend")
    assert "a recipe plans its units once; fetch further ones with another --out" in message


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--scale", "0"], "--scale must be 0.001 to 40,075,017 metres, not 0"),
        (["--scale", "0m"], "--scale must be 0.001 to 40,075,017 metres, not 0"),
        (["--scale", "100000km"], "--scale must be 0.001 to 40,075,017 metres, not 1e+08"),
        (["--scale", "10 ft"], "'10 ft' is not a number of metres, such as 10 or 10m"),
        (["--start", "2020-06-01", "--end", "2020-01-01"], "the start (2020-06-01) must be before the end"),
        (["--reducer", "maximum"], "unknown reducer 'maximum': there are mean,"),
        (["--bbox", "1,2"], "'1,2' is not W,S,E,N in degrees"),
        (["--regions", "nowhere.gpkg"], "there is no file nowhere.gpkg"),
        (["--regions", "none/fields.gpkg"], "there is no file none/fields.gpkg"),
        (["--regions", "-"], "standard input is not read: write it to a file first"),
        (["--regions", "https://example.org/a.gpkg"], "'https://example.org/a.gpkg' is an address, not a file"),
        (["--regions", "s3://bucket/a.gpkg"], "not a file or folder of this machine; download it first"),
        (["--regions", "."], ". is a folder: name a file in it"),
        (["--columns", "Field ID"], "--columns Field ID: write NAME=COLUMN, as in --columns 'id=Field ID'"),
        (["--columns", "id=date"], "--columns id=date is also the name of another column"),
        (["--multiply", "often"], "'often' is not a number"),
    ],
)
def test_invalid_options_of_timeseries_are_refused(arguments: list[str], sentence: str) -> None:
    assert sentence in refuse(*(TIMESERIES if "--regions" in arguments else SERIES), *arguments)


def test_a_folder_of_regions_as_a_shell_completes_it_is_refused() -> None:
    Path("fields").mkdir()
    result = run_command(*TIMESERIES, "--regions", "fields/")
    assert (result.exit_code, result.stderr) == (2, "Error: fields is a folder: name a file in it\n")


def test_options_of_another_command_are_translated() -> None:
    assert "did you mean --to?" in refuse("pack", "run", "--format", "zarr")
    assert "did you mean --until?" in refuse("update", "run", "--end", "2024-01-01")
    assert "did you mean --regions?" in refuse("timeseries", "--dataset", "S2", "--points", "fields.gpkg")
    assert "did you mean --points?" in refuse("points", "--dataset", "S2", "--regions", "fields.gpkg")
    for typed, meant in (
        ("--date", "date"),
        ("--time-column", "date"),
        ("--lon", "lon"),
        ("--y", "lat"),
        ("--id", "id"),
    ):
        assert f"did you mean --columns {meant}=FIELD?" in refuse("points", "--dataset", "S2", typed, "a")


def test_a_value_without_its_option() -> None:
    message = refuse("points", "--dataset", "DEM", "my points.csv", "--local")
    assert message.startswith("unexpected argument 'my points.csv'; write --points 'my points.csv'")
    assert "unexpected argument 'B3'; values of one option are joined by commas: A,B,C" in refuse(
        *SAMPLE, "--bands", "B4", "B3"
    )
    assert "write --points my.csv" in refuse("sample", "my.csv")
    assert "write --dataset NAIP" in refuse("sample", "NAIP")


@pytest.mark.parametrize(
    ("typed", "cure"),
    [
        (("--dataset", "DEM"), "--dataset is given 2 times: this command takes one"),
        (("--bands", "B4", "--bands", "B8"), "--bands is given 2 times: join the values by commas: A,B,C"),
        (("--columns", "date=day", "--columns", "id=plot"), "--columns is given 2 times: join the values by commas"),
    ],
)
def test_an_option_that_takes_one_value_is_not_repeated(typed: tuple[str, ...], cure: str) -> None:
    """The last one counted, and the others were left out without a word."""
    assert cure in refuse("points", "--dataset", "S2", "--points", "plots.csv", *typed)


def test_a_parameter_of_a_recipe_without_its_option(tmp_path: Path) -> None:
    """The run had the default, and nothing was said."""
    recipe = tmp_path / "recipe.py"
    recipe.write_text(
        "def get_requests(count=4):\n    return range(count)\n\n\ndef get_result(index, unit):\n    ...\n"
    )
    assert "unexpected argument 'count=8'; parameters of a recipe are given by -p: -p count=8" in refuse(
        "run", str(recipe), "--local", "count=8"
    )


def test_a_dataset_without_a_default_region() -> None:
    message = refuse("sample", "--dataset", "S2", "--per-ecoregion", "5", "--local")
    assert message == "S2 has no default region: give --roi"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sample", "--dataset", "NAIP"], "give exactly one of --per-ecoregion, --per-class, --total,"),
        (["sampel"], "there is no command 'sampel'. Did you mean sample?"),
        (["run", "nowhere.py"], "cannot read the recipe nowhere.py"),
        (["run", "nowhere.py", "-p", "novalue"], "'novalue' is not NAME=VALUE"),
        (["status", "nowhere"], "nowhere holds no run"),
        (["verify", "nowhere"], "nowhere holds no run"),
        (["assets", "ls", "nowhere"], "There is no folder nowhere: make it with `eechips assets ingest FILE"),
        (["assets", "ingest", "nowhere.tif", "--into", "store", "--id", "A/B"], "nowhere.tif"),
        (["serve", "--assets", "nowhere"], "nowhere"),
    ],
)
def test_invalid_options_of_other_commands_are_refused(arguments: list[str], sentence: str) -> None:
    assert sentence in refuse(*arguments)


def test_a_verb_without_arguments_says_what_is_missing() -> None:
    assert "Missing option '--dataset'" in refuse("sample")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("def get_requests(: pass", "not Python"),
        ("x = 1", "is not a recipe: it defines no function get_requests"),
        ("def get_requests(n=1): return []\ndef get_result(index, unit): pass", "has no parameter 'm'"),
    ],
)
def test_invalid_recipes_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    script = tmp_path / "recipe.py"
    script.write_text(text)
    assert sentence in refuse("run", str(script), "-p", "m=3", "--local")


def test_tracebacks_are_shown_on_request() -> None:
    with pytest.raises(UsageError):
        run_command("--debug", *SAMPLE, "--scale", "0")


def test_an_argument_after_local_is_not_taken_for_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.py").write_text("x = 1\n")
    assert "recipe.py is not a recipe" in " ".join(run_command("run", "--local", "recipe.py").output.split())
    Path("assets").mkdir()
    refused = " ".join(run_command("run", "--local=assets", "recipe.py").output.split())
    assert "recipe.py is not a recipe" in refused
    said = run_command(*SAMPLE, "--local", "nowhere").output
    assert "there is no folder of assets nowhere; for the demo planet, give --local alone" in " ".join(said.split())


def test_local_overrules_an_endpoint_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EECHIPS_ENDPOINT", "http://127.0.0.1:1")
    assert refuse(*SAMPLE, "--format", "png", "--bands", "R,G").startswith("png takes 1 or 3 bands")
    assert "cannot reach" not in refuse(*SAMPLE, "--local", "nowhere")


def test_a_dataset_that_is_neither_an_alias_nor_an_id() -> None:
    arguments = ["sample", "--dataset", "NAIPP", "--per-ecoregion", "5", "--local"]
    assert "no dataset called 'NAIPP'; did you mean NAIP?" in refuse(*arguments)


@pytest.mark.slow
def test_a_closed_output_pipe_ends_the_command_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "eechips", "datasets"]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_an_option_whose_value_may_be_left_out_is_typed_alone_or_not_at_all() -> None:
    command = main.get_command(click.Context(main), "sample")
    assert command is not None
    assert command_words(command, {"local": True}) == ["--local"]
    assert command_words(command, {"local": False, "mask": False}) == []
    assert command_words(command, {"local": "assets"}) == ["--local=assets"]


@pytest.mark.parametrize("command", ["preview", "report"])
def test_a_seed_below_zero_is_refused(command: str) -> None:
    assert refuse(command, "run", "--seed", "-1").startswith("Invalid value for '--seed': -1 is not in the range x>=0")
