"""``eechips join``: results of queue workers are found, checked and joined, or missing ones are named."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
import rasterio
from click.testing import Result

import eechips
from eechips.engine.queues.reported_outcomes import ReportedOutcome
from eechips.errors import UsageError
from eechips.files.hashes import hash_file
from eechips.manifest.reserved_names import OUTCOMES_FOLDER
from local_tests.support.object_server import missing_packages, serving_objects
from local_tests.support.parameters import slow_except
from tests.archive.windows.test_results import RECIPE, check, write_scene
from tests.support.commands import run_command
from tests.support.engine_service import Service
from tests.support.programs import run_program

WIDTH, HEIGHT = 300, 600
MEMORY = "150MB"  # little, for several windows


def plan_of(scene: Path, recipe: Path = RECIPE) -> list[str]:
    done = run_command("plan", "run", recipe, "-p", f"href={scene}", "--max-memory", MEMORY, status=0)
    lines = done.stdout.splitlines()
    assert len(lines) > 3
    return lines


def make(lines: list[str], out: Path | str) -> list[str]:
    done = run_command(
        "work", "--units", "-", "--out", out, "--executor", "threads", "-q", given="\n".join(lines), status=0
    )
    return done.stdout.splitlines()


def join(lines: list[str], out: Path | str, *words: object) -> Result:
    return run_command("join", "--units", "-", "--out", out, "-q", *words, given="\n".join(lines))


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene.tif", WIDTH, HEIGHT)


@pytest.mark.slow
def test_missing_results_are_named_and_complete_results_become_a_run(tmp_path: Path, scene: Path) -> None:
    out, again = tmp_path / "out", tmp_path / "again.jsonl"
    lines = plan_of(scene)
    outcomes = make(lines[:2], out)
    done = join(lines, out, "--missing", again)
    assert done.exit_code == 1
    assert f"{len(lines) - 2} of {len(lines)} results are missing" in done.stderr
    assert again.read_text().splitlines() == lines[2:]
    assert f"Their lines are in {again}: queue them again, or fetch them here: eechips run " in done.stderr
    assert "Queue their lines (--missing FILE) again" in join(lines, out).stderr
    assert not (out / "ndvi.tif").exists()

    outcomes += make(again.read_text().splitlines(), out)
    (tmp_path / "outcomes.jsonl").write_text("\n".join(outcomes))
    done = join([*lines[::-1], lines[0]], out, "--outcomes", tmp_path / "outcomes.jsonl")  # in any order, some twice
    assert done.exit_code == 0, done.output
    made = eechips.open_run(out)
    check(made, scene)
    assert made.is_complete
    assert not made.verify()
    assert made.info["command"].startswith("eechips run ")
    assert made.info["finished"]
    assert len(made.units) == len(lines)
    before = (out / "ndvi.tif").stat().st_mtime_ns
    assert join(lines, out).exit_code == 0  # there is nothing left to do
    assert (out / "ndvi.tif").stat().st_mtime_ns == before
    assert eechips.open_run(out).info["finished"]


@pytest.mark.slow
def test_the_joined_raster_equals_that_of_one_machine(tmp_path: Path, scene: Path) -> None:
    lines = plan_of(scene)
    make(lines, tmp_path / "out")
    assert join(lines, tmp_path / "out").exit_code == 0
    alone = tmp_path / "alone"
    parameters = {"href": str(scene), "max_memory": MEMORY}
    eechips.run(RECIPE, parameters, out=alone, executor="threads", quiet=True)
    for name in ("ndvi.tif", "ndvi.windows.parquet"):
        assert (tmp_path / "out" / name).read_bytes() == (alone / name).read_bytes()


@pytest.mark.slow
def test_the_command_of_the_plan_fetches_missing_results(tmp_path: Path, scene: Path) -> None:
    lines, out = plan_of(scene), tmp_path / "out"
    make(lines[1:], out)
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.tif")}
    done = join(lines, out)
    command = done.stderr.strip().splitlines()[-1].partition("fetch them here: eechips ")[2].split()
    run_command(*command, "--executor", "threads", status=0)
    check(eechips.open_run(out), scene)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.slow
def test_damaged_and_foreign_results_count_as_missing(tmp_path: Path, scene: Path) -> None:
    lines, out, again = plan_of(scene), tmp_path / "out", tmp_path / "again.jsonl"
    outcomes = [json.loads(line) for line in make(lines, out)]
    first, second = (out / outcome["file"] for outcome in outcomes[:2])
    first.write_bytes(first.read_bytes()[:-1000])
    shutil.copy(out / outcomes[2]["file"], second)
    (tmp_path / "outcomes.jsonl").write_text("\n".join(map(json.dumps, outcomes)))
    done = join(lines, out, "--missing", again, "--outcomes", tmp_path / "outcomes.jsonl")
    assert done.exit_code == 1
    assert again.read_text().splitlines() == lines[:2]
    assert "its sha256 is another" in done.stderr
    assert f"is the result of unit {outcomes[2]['id'][:16]}, not of unit {outcomes[1]['id'][:16]}" in done.stderr
    outcomes[0] |= {"sha256": hash_file(first), "bytes": first.stat().st_size}  # of a worker whose disk is damaged
    (tmp_path / "outcomes.jsonl").write_text(json.dumps(outcomes[0]))
    shutil.rmtree(out / OUTCOMES_FOLDER)
    done = join(lines, out, "--outcomes", tmp_path / "outcomes.jsonl")
    assert "is damaged: " in done.stderr


def test_a_window_at_another_place_is_refused(tmp_path: Path, scene: Path) -> None:
    lines, out = plan_of(scene), tmp_path / "out"
    outcomes = [json.loads(line) for line in make(lines, out)]
    shutil.copy(out / outcomes[2]["file"], out / outcomes[1]["file"])
    outcomes[1] = {**outcomes[2], **{key: outcomes[1][key] for key in ("id", "name", "file")}}  # by a faulty recipe
    (tmp_path / "outcomes.jsonl").write_text("\n".join(map(json.dumps, outcomes)))
    done = join(lines, out, "--outcomes", tmp_path / "outcomes.jsonl")
    assert done.exit_code == 2
    assert "does not lie in its window" in done.stderr
    assert not (out / "ndvi.tif").exists()


def test_failures_of_workers_are_reported(tmp_path: Path, scene: Path) -> None:
    lines = plan_of(scene)
    scene.unlink()
    done = run_command(
        "work", "--units", "-", "--out", tmp_path / "out", "--executor", "threads", "-q", given=lines[0], status=1
    )
    (tmp_path / "outcomes.jsonl").write_text(done.stdout)
    done = join(lines, tmp_path / "out", "--outcomes", tmp_path / "outcomes.jsonl")
    assert done.exit_code == 1
    assert f"{json.loads(lines[0])['id'][:16]}: " in done.stderr
    assert "scene.tif" in done.stderr


def test_incomplete_plans_are_refused(tmp_path: Path, scene: Path) -> None:
    out = tmp_path / "out"
    lines = plan_of(scene)

    def refused(said: str, lines: list[str], *words: object) -> None:
        done = join(lines, out, *words)
        assert done.exit_code == 2
        assert said in done.stderr

    refused("the lines come from 0 commands", [])
    refused("lines given, and line 1 is missing", lines[1:])
    refused("lines given, and line 2 is missing", [lines[0], *lines[2:]])
    other = write_scene(tmp_path / "other.tif", WIDTH, HEIGHT)
    refused("the lines come from 2 commands", [*lines, *plan_of(other)])
    shutil.copy(RECIPE, tmp_path / "recipe.py")
    of_recipe = plan_of(scene, tmp_path / "recipe.py")
    (tmp_path / "recipe.py").write_text(RECIPE.read_text() + "# another\n")
    refused("recipe.py is not the file with which these units were planned", of_recipe)
    write_scene(scene, WIDTH, HEIGHT - 1)
    refused("there are lines of two plans", [*lines, *plan_of(scene)])
    (tmp_path / "text").write_text("[1]\n")
    refused("no outcome as", lines, "--outcomes", tmp_path / "text")
    assert not (out / "ndvi.tif").exists()


@pytest.mark.exhaustive
def test_results_in_an_object_store_are_joined_in_place(
    tmp_path: Path, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := missing_packages("s3"):
        pytest.skip(reason)
    import boto3

    lines = plan_of(scene)
    with serving_objects("bucket", "s3") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "units.jsonl").write_text("\n".join(lines))
        work = [sys.executable, "-m", "eechips", "work", "--units", "-", "--executor", "threads", "-q"]
        for part in (lines[:2], lines[2:]):  # two workers that know nothing of each other
            words = [*work, "--out", "s3://bucket/ndvi"]
            run_program(*words, status=0, input="\n".join(part), timeout=120)
        done = join(lines, "s3://bucket/ndvi", "--ledger", tmp_path / "ledger")
        assert done.exit_code == 0, done.output
        store = boto3.client("s3")
        try:
            data = store.get_object(Bucket="bucket", Key="ndvi/ndvi.tif")["Body"].read()
        finally:
            store.close()
        check(eechips.open_run(tmp_path / "ledger"), scene)
        assert data == (tmp_path / "ledger" / "ndvi.tif").read_bytes()
        with rasterio.io.MemoryFile(data) as memory, memory.open() as source:
            assert source.shape == (HEIGHT, WIDTH)


LAYERS = """
import ee
from eechips import Chip, Grid, Table

GRID = Grid("EPSG:32613", (1.0, 0.0, 500000.0, 0.0, -1.0, 4400000.0), 24, 24)

def get_requests(count=4):
    return list(range(1, count + 1))

def get_result(index, number):
    image = Chip(ee.Image(number), grid=GRID, format="tif", sources=(f"A/{number}",))
    return {"image": image, "target": Table([{"label": number}])}
"""


def layered(tmp_path: Path, service: Service, text: str = LAYERS) -> list[str]:
    (tmp_path / "layers.py").write_text(text)
    words = ("plan", "run", tmp_path / "layers.py", "--endpoint", service.url, "--executor", "processes:2")
    done = run_command(*words, status=0)
    return done.stdout.splitlines()


@pytest.mark.slow
def test_every_file_of_a_unit_is_joined_with_its_layer(tmp_path: Path, service: Service) -> None:
    lines, out = layered(tmp_path, service), tmp_path / "out"
    (tmp_path / "outcomes.jsonl").write_text("\n".join(make(lines[:2], out) + make(lines[2:], out)))
    done = join(lines, out, "--outcomes", tmp_path / "outcomes.jsonl", "--executor", "processes:2")
    assert done.exit_code == 0, done.output
    alone = eechips.run(
        tmp_path / "layers.py", out=tmp_path / "alone", endpoint=service.url, executor="threads", quiet=True
    )
    joined = eechips.open_run(out)
    assert len(joined.layers) == 8
    pd.testing.assert_frame_equal(joined.layers, alone.layers)
    pd.testing.assert_frame_equal(
        pd.read_parquet(out / "layers.parquet"), pd.read_parquet(tmp_path / "alone" / "layers.parquet")
    )
    assert joined.verify() == []
    damaged = out / joined.layers.loc[(2, "target")]["file"]
    damaged.write_text("label\n9\n")
    assert [problem.file for problem in joined.verify()] == [damaged.relative_to(out).as_posix()]


@pytest.mark.slow
def test_frames_of_a_file_are_joined(tmp_path: Path, service: Service) -> None:
    chip = 'Chip(ee.Image(number + n), grid=GRID, format="tif", sources=(f"A/{n}",), frame=Frame(n, clear=n / 4))'
    text = LAYERS.replace(
        "from eechips import Chip, Grid, Table",
        "from eechips import Grid\nfrom eechips.recipe import Chip, Frame, FrameStack",
    )
    text = text[: text.index("    image = ")] + f"    return FrameStack(tuple({chip} for n in range(2)))\n"
    lines, out = layered(tmp_path, service, text), tmp_path / "out"
    (tmp_path / "outcomes.jsonl").write_text("\n".join(make(lines, out)))
    done = join(lines, out, "--outcomes", tmp_path / "outcomes.jsonl")
    assert done.exit_code == 0, done.output
    alone = eechips.run(
        tmp_path / "layers.py", out=tmp_path / "alone", endpoint=service.url, executor="threads", quiet=True
    )
    joined = eechips.open_run(out)
    assert joined.layers["frame"].tolist() == [0, 1] * 4
    pd.testing.assert_frame_equal(joined.layers, alone.layers)


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["image", "target"])
def test_a_unit_one_of_whose_files_is_lost_or_damaged_is_missing(tmp_path: Path, service: Service, layer: str) -> None:
    lines, out = layered(tmp_path, service), tmp_path / "out"
    outcomes, again = make(lines, out), tmp_path / "again.jsonl"
    (tmp_path / "outcomes.jsonl").write_text("\n".join(outcomes))
    lost, damaged = (
        next(out / file["file"] for file in json.loads(outcome)["files"] if file["layer"] == layer)
        for outcome in outcomes[1:3]
    )
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-1])
    done = join(lines, out, "--outcomes", tmp_path / "outcomes.jsonl", "--missing", again)
    assert done.exit_code == 1
    assert f"{damaged.relative_to(out)} is not what the worker of unit" in done.stderr
    assert again.read_text().splitlines() == lines[1:3]


@pytest.mark.slow
def test_units_of_several_files_are_joined_by_the_outcomes_beside_them(tmp_path: Path, service: Service) -> None:
    lines, out = layered(tmp_path, service), tmp_path / "out"
    make(lines, out)
    assert join(lines, out, "--executor", "processes:2").exit_code == 0
    assert len(eechips.open_run(out).layers) == 8


@pytest.mark.slow
def test_units_of_two_workers_with_one_name_have_failed(tmp_path: Path, service: Service) -> None:
    text = "from eechips import Table\ndef get_requests(): return [1, 2, 3]\ndef get_result(index, number):\n"
    text += "    return Table([{'a': 1}], name='same' if number < 3 else None)\n"
    lines, out = layered(tmp_path, service, text), tmp_path / "out"
    (tmp_path / "outcomes.jsonl").write_text("\n".join(line for some in lines for line in make([some], out)))
    done = join(lines, out, "--outcomes", tmp_path / "outcomes.jsonl")
    assert done.exit_code == 1
    run = eechips.open_run(out)
    assert run.counts == {"done": 1, "failed_permanent": 2}
    assert set(run.failures["error"]) == {"two units have the same name, same.csv: results must be named apart"}


@pytest.mark.parametrize("state", slow_except(["done", "empty"], "done"))
def test_an_outcome_without_a_file_takes_the_place_of_no_result(tmp_path: Path, service: Service, state: str) -> None:
    text = "from eechips import Table\ndef get_requests(): return [1, 2]\ndef get_result(index, number):\n"
    lines, out = layered(tmp_path, service, f"{text}    return Table([{{'a': number}}])\n"), tmp_path / "out"
    outcomes = make(lines, out)
    forged = {name: json.loads(outcomes[0])[name] for name in ("id", "plan", "name", "attempts")} | {"state": state}
    (tmp_path / "outcomes.jsonl").write_text("\n".join([*outcomes, json.dumps(forged)]))
    assert join(lines, out, "--outcomes", tmp_path / "outcomes.jsonl").exit_code == 0
    run = eechips.open_run(out)
    assert run.counts == {"done": 2}
    assert run.units["file"].notna().all()


OUTCOME = {
    "id": "ab" * 32, "plan": "cd" * 32, "state": "done", "attempts": 1, "file": "chips/a.tif", "bytes": 9,
    "sha256": "ef" * 32, "bands": ["B4"], "transform": [10.0, 0, 0, 0, -10, 0], "finished": "2026-01-01T00:00:00.000Z",
}  # fmt: skip


def test_an_outcome_has_values_that_a_ledger_holds() -> None:
    """They come from others: some ended the run, as damage of its ledger or a bug, also of later commands."""
    assert ReportedOutcome.parse(OUTCOME).record.bytes == 9
    wrong = {
        "attempts": [None, -1, 1.5, float("inf"), 2**63, True, "1"], "width": [[1], {}], "bytes": [None, "9"],
        "valid_fraction": [float("nan"), 1e300, "x"], "bands": ["B4", [1], {}], "transform": [[1.0], [[]] * 6],
        "finished": ["/etc/passwd", "", 5], "sha256": [None, 7], "crs": [[]], "file": [7, "../a.tif"],
    }  # fmt: skip
    stored = {name: OUTCOME[name] for name in ("file", "bytes", "sha256")}
    for frames in ([], [5], [{}], [{"frame": "0"}], [{"frame": 0, "valid_fraction": "x"}], {"frame": 0}, 5):
        with pytest.raises(UsageError):
            ReportedOutcome.parse({**OUTCOME, "files": [{**stored, "frames": frames}]})
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(UsageError):
                ReportedOutcome.parse({**OUTCOME, name: value})
            layer = {name: OUTCOME[name] for name in ("file", "bytes", "sha256")}
            if name not in ("attempts", "finished"):
                with pytest.raises(UsageError):
                    ReportedOutcome.parse({**OUTCOME, "files": [{**layer, name: value}]})


@pytest.mark.slow
def test_a_local_earth_engine_that_the_plan_names_stands_once_in_the_command(tmp_path: Path) -> None:
    units = tmp_path / "units.jsonl"
    words = ("sample", "--dataset", "NAIP", "--total", "1", "--roi=-105.3,39.9,-105.2,40", "--local")
    run_command("plan", *words, "--to", units, status=0)
    done = run_command("join", "--units", units, "--out", tmp_path / "out", "--local", status=1)
    assert f"fetch them here: eechips {' '.join(words)} --out {tmp_path / 'out'}\n" in done.stderr
