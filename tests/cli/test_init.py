"""``eechips init``: every recipe that it writes runs as it is."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import rasterio

import eechips
from eechips.cli.setup_commands import KINDS
from local_tests.support.local_earth_engine import Server
from tests.support.commands import run_command


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Fewer units than by default, where there are many.
FEW = {
    "chips": ["-p", "count=3", "-p", "size=32"],
    "series": ["-p", "end=2019-03-01"],
    "images": ["-p", "bounds=[-105.11, 39.74, -105.1, 39.75]", "-p", "cloud=101"],
    "points": ["-p", "cell=1"],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_starter_recipe_runs(kind: str, demo_server: Server, folder: Path) -> None:
    written = run_command("init", "--kind", kind, status=0)
    assert written.output.splitlines() == [
        f"Written: {kind}.py ({KINDS[kind]})",
        f"Try it:  eechips run {kind}.py --local --check",
        f"Run it:  eechips run {kind}.py --local",
    ]
    text = (folder / f"{kind}.py").read_text()
    assert f"eechips run {kind}.py --local --check" in text
    assert "recipe.py" not in text
    assert len(text.splitlines()) < 60
    run_command("run", f"{kind}.py", *FEW[kind], "--endpoint", demo_server.url, "--rate", "none", "-q", status=0)
    run = eechips.open_run(folder / "outputs" / kind)
    assert run.is_complete
    assert run.verify() == []
    assert [dataset["id"] for dataset in run.info["datasets"]]
    checks[kind](run)


def _chips(run: eechips.Run) -> None:
    assert run.units[["width", "height"]].to_numpy().tolist() == [[32, 32]] * 3
    assert (run.units["valid_fraction"] == 1).all()


def _series(run: eechips.Run) -> None:
    table = pd.read_csv(run.path / run.units["file"].iloc[0])
    assert list(table.columns) == ["code", "date", "celsius"]
    assert table["date"].is_monotonic_increasing
    assert table["celsius"].between(-60, 60).all()


def _images(run: eechips.Run) -> None:
    assert len(run.units) > 5
    assert run.units["valid_fraction"].between(0, 1).all()
    assert run.units["valid_fraction"].nunique() > 1  # clouds are masked
    for _, unit in run.units.dropna(subset="file").iterrows():
        with rasterio.open(run.path / unit["file"]) as file:
            grid = unit["unit"]["grid"]
            assert list(file.transform)[:6] == grid["transform"]
            assert Path(unit["file"]).name.startswith(unit["dates"][0])


def _points(run: eechips.Run) -> None:
    (made,) = run.assembled
    table = pd.read_csv(made)
    assert table["row"].tolist() == list(range(300))
    assert table["elevation"].notna().all()
    assert len(run.units) < 5


checks = {"chips": _chips, "series": _series, "images": _images, "points": _points}


@pytest.mark.slow
def test_a_starter_recipe_reads_the_users_table(demo_server: Server, folder: Path) -> None:
    frame = pd.DataFrame({"name": ["a", "b"], "lon": [-105.5, -105.4], "lat": [39.5, 39.6]})
    frame.to_csv(folder / "mine.csv", index=False)
    run_command("init", "mine.py", "--kind", "points")
    words = ["run", "mine.py", "-p", "file=mine.csv", "--endpoint", demo_server.url, "--rate", "none", "-q"]
    run_command(*words, status=0)
    table = pd.read_csv(folder / "outputs" / "mine" / "points.csv")
    assert table[["row", "lon", "lat"]].to_numpy().tolist() == [[0, -105.5, 39.5], [1, -105.4, 39.6]]


def test_nothing_is_overwritten(folder: Path) -> None:
    (folder / "chips.py").write_text("mine")
    refused = run_command("init", status=2)
    assert refused.output == "Error: chips.py exists: choose another name, or overwrite it with --force\n"
    assert (folder / "chips.py").read_text() == "mine"
    run_command("init", "--force", status=0)
    assert "def get_requests" in (folder / "chips.py").read_text()


def test_file_names_are_quoted_and_kinds_are_checked(folder: Path) -> None:
    assert (
        run_command("init", "below/my recipe").output.splitlines()[-1]
        == "Run it:  eechips run 'below/my recipe.py' --local"
    )
    assert "eechips run 'below/my recipe.py' --local" in (folder / "below" / "my recipe.py").read_text()
    (folder / "there.py").mkdir()
    refused = run_command("init", "there.py")
    assert (refused.exit_code, refused.output) == (2, "Error: there.py is a folder: name a file\n")
    refused = run_command("init", "--kind", "chip", status=2)
    assert "'chips', 'series', 'images', 'points'" in refused.output


def test_examples_are_the_recipes_of_the_project(folder: Path) -> None:
    recipes = Path(__file__).resolve().parents[2] / "recipes"
    done = run_command("init", "--examples", status=0)
    wanted = {path.name: path.read_bytes() for path in recipes.iterdir() if path.suffix in (".py", ".csv")}
    assert {path.name: path.read_bytes() for path in (folder / "recipes").iterdir()} == wanted
    assert f"{len(wanted)} files to recipes" in done.output
    again = run_command("init", "--examples", status=2)
    assert "exists: choose another folder, or overwrite it with --force" in again.stderr
    run_command("init", "--examples", "--force", status=0)
    run_command("init", "others", "--examples", status=0)
    assert (folder / "others" / "naip_chips.py").is_file()


SCRIPT = """
import ee
from multiprocessing import Pool

ee.Initialize(project="my-old-project")


def value(year):
    with open(f"{year}.txt", "w") as file:
        file.write(str(ee.Number(year).add(1).getInfo()))


if __name__ == "__main__":
    with Pool(2) as pool:
        pool.map(value, range(2000, 2003))
"""


@pytest.mark.slow
def test_an_old_script_gets_a_run_file_that_runs(demo_server: Server, folder: Path) -> None:
    (folder / "old script.py").write_text(f"import sys\n{SCRIPT}if len(sys.argv) > 1:\n    print('fast')\n")
    written = run_command("init", "--from", "old script.py", status=0)
    assert written.output.splitlines() == [
        "Written: old script.toml",
        "Try it:  eechips run 'old script.toml' --local",
        "Run it:  eechips run 'old script.toml'",
    ]
    run_file = (folder / "old script.toml").read_text()
    assert 'project = "my-old-project"' in run_file
    assert '# arguments = ["500", "--fast"]' in run_file
    run_command("run", "old script.toml", "--endpoint", demo_server.url, "--rate", "none", "-q", status=0)
    run = eechips.open_run(folder / "outputs" / "old script")
    assert run.counts == {"done": 3}
    assert [(run.path / file).read_text() for file in run.units["file"]] == ["2001", "2002", "2003"]
    again = run_command("init", "--from", "old script.py")
    assert (again.exit_code, "exists: choose another name" in again.output) == (2, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("print(1)\n", "opens no pool, whose calls would become units"),
        ("def get_requests():\n    return []\ndef get_result(index, unit):\n    pass\n", "is a recipe already"),
        ("def (", "line 1"),
    ],
)
def test_scripts_without_calls_of_a_pool_are_refused(folder: Path, text: str, message: str) -> None:
    (folder / "old.py").write_text(text)
    refused = run_command("init", "--from", "old.py", status=2)
    assert message in refused.output
    assert not (folder / "old.toml").exists()
