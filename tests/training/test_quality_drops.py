"""Units that a check drops: others are drawn for them, and their files are removed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import eechips
from eechips.errors import UsageError
from eechips.manifest.exclusions import exclude_units, has_excluded_units
from eechips.manifest.run import Run, open_run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.training.sample_reader import read_samples
from tests.cli.test_commands import eechips as typed
from tests.support.commands import run_command
from tests.support.engine_recipes import run_script
from tests.support.engine_service import Service
from tests.support.finished_run import layered, pictures, png_of, write_run

DRAWN = """
import ee
from eechips import Chip


def get_requests(count=6):
    return [{"kind": "point", "number": n, "draw": 0, "class": n % 2} for n in range(1, count + 1)]


def get_result(index, unit, empty="2,5"):
    bad = unit["draw"] < 1 and str(unit["number"]) in empty.split(",")
    return Chip(ee.Image(999 if bad else unit["number"]), region=ee.Geometry.Point(0, 0).buffer(50), dimensions=(8, 8))
"""
REDRAW = """

def redraw(unit, number):
    return {**unit, "number": unit["number"] + 100 * number, "draw": number}
"""


def fetch(home: Path, service: Service, text: str = DRAWN + REDRAW, **options: Any) -> Run:
    """A run in the folder ``out``."""
    return run_script(home, text, service.url, **{"method": "pixels", **options})


def flagged(folder: Path) -> dict[str, list[str]]:
    return eechips.check(folder, ignore="constant,duplicate,black,saturated").units()


@pytest.mark.slow
def test_dropped_units_are_replaced(service: Service, tmp_path: Path) -> None:
    """Chips without data are kept here, and dropped by a check; their classes are filled again."""
    first = fetch(tmp_path, service)
    assert first.counts == {"done": 4, "empty": 2}
    bad = flagged(tmp_path / "out")
    assert bad == {first.units.loc[position, "id"]: ["masked"] for position in (1, 4)}
    files = [first.path / first.units.loc[position, "file"] for position in (1, 4)]
    assert exclude_units(tmp_path / "out", dict.fromkeys(bad, "dropped: masked")) == (2, 0)
    assert not any(file.exists() for file in files)
    run = open_run(tmp_path / "out")
    assert run.counts == {"done": 4, "skipped": 2}
    assert run.is_complete
    assert run.verify() == []
    assert run.units.loc[[1, 4], "error"].tolist() == ["dropped: masked"] * 2
    assert json.loads((run.path / "run.json").read_text())["units"] == run.counts
    assert has_excluded_units(run.path)

    service.forget()
    second = fetch(tmp_path, service)
    assert second.counts == {"done": 6, "skipped": 2}
    assert service.count("compute") == 2
    assert second.units["replaces"].dropna().to_dict() == {6: 1.0, 7: 4.0}
    of = [value["class"] for value in second.units.loc[second.units["state"] == "done", "unit"]]
    assert (of.count(0), of.count(1)) == (3, 3)
    assert not has_excluded_units(run.path)
    assert flagged(tmp_path / "out") == {}
    service.forget()
    assert fetch(tmp_path, service).counts == second.counts
    assert service.requests == []


@pytest.mark.slow
def test_replacements_may_be_dropped_again(service: Service, tmp_path: Path) -> None:
    fetch(tmp_path, service)
    for number in (1, 2, 3):
        last = open_run(tmp_path / "out").units.iloc[-1 if number > 1 else 3]
        assert exclude_units(tmp_path / "out", {last["id"]: "ugly"}) == (1, 0)
        found = fetch(tmp_path, service)
        assert found.units.iloc[-1]["unit"]["draw"] == number
        assert found.units.iloc[-1]["unit"]["number"] == 4 + 100 * number
    assert found.counts == {"done": 4, "empty": 2, "skipped": 3}


def test_without_replacements_the_other_units_are_kept(service: Service, tmp_path: Path) -> None:
    first = fetch(tmp_path, service, DRAWN)
    exclude_units(tmp_path / "out", {first.units.loc[0, "id"]: "ugly"})
    service.forget()
    assert fetch(tmp_path, service, DRAWN).counts == {"done": 3, "empty": 2, "skipped": 1}
    assert service.requests == []


def test_the_next_run_writes_the_manifest_of_a_drop_that_could_not(service: Service, tmp_path: Path) -> None:
    first = fetch(tmp_path, service, DRAWN)
    (first.path / "failures.csv" / "folder").mkdir(parents=True)  # the drop ends after the ledger is written
    with pytest.raises(OSError, match=r"failures\.csv"):
        exclude_units(first.path, {first.units.loc[0, "id"]: "ugly"})
    shutil.rmtree(first.path / "failures.csv")
    second = fetch(tmp_path, service, DRAWN)
    assert second.counts == second.info["units"] == {"done": 3, "empty": 2, "skipped": 1}
    assert pd.read_parquet(second.path / "manifest.parquet")["state"].tolist() == second.units["state"].tolist()


@pytest.mark.slow
def test_empty_units_that_were_skipped_stay_so(service: Service, tmp_path: Path) -> None:
    first = fetch(tmp_path, service, on_empty="skip")
    exclude_units(tmp_path / "out", {first.units.loc[0, "id"]: "ugly"})
    found = fetch(tmp_path, service, on_empty="skip")
    assert found.counts == {"done": 4, "empty": 2, "skipped": 1}
    assert found.units["replaces"].dropna().tolist() == [0.0]
    redrawn = fetch(tmp_path, service, on_empty="redraw")
    assert redrawn.counts == {"done": 6, "empty": 2, "skipped": 1}


@pytest.mark.slow
def test_damaged_files_are_fetched_again_and_no_other_is_drawn(service: Service, tmp_path: Path) -> None:
    first = fetch(tmp_path, service)
    (first.path / first.units.loc[0, "file"]).unlink()
    (first.path / first.units.loc[2, "file"]).write_bytes(png_of(np.full((3, 8, 8), 9, dtype=np.uint8)))
    done = run_command("check", first.path, "--drop", "unreadable,changed,masked")
    assert "Dropped: 2 units" in done.output
    assert "To be fetched again, because of damaged files: 2 units" in done.output
    found = fetch(tmp_path, service)
    assert found.counts == {"done": 6, "skipped": 2}
    assert found.units.loc[[0, 2], "sha256"].tolist() == first.units.loc[[0, 2], "sha256"].tolist()
    assert found.verify() == []


def test_units_with_several_files_lose_all_of_them(tmp_path: Path) -> None:
    run = write_run(tmp_path, layered(3))
    files = [tmp_path / file.name for file in read_samples(run)[1].files]
    assert exclude_units(tmp_path, {read_samples(run).ids[1]: "ugly", "f" * 64: "unknown"}) == (1, 0)
    assert not any(file.exists() for file in files)
    assert run.layers.index.get_level_values("position").unique().tolist() == [0, 2]
    assert run.verify() == []
    assert exclude_units(tmp_path, {"f" * 64: "unknown"}) == (0, 0)


def test_results_that_others_count_on_are_not_dropped(tmp_path: Path) -> None:
    run = write_run(tmp_path, pictures(2))
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        ledger.note("assembled", [{"file": "mosaic.tif", "bytes": 1, "sha256": "ab"}])
    with pytest.raises(UsageError, match=r"mosaic\.tif, which was made of them all, counts on every one"):
        exclude_units(tmp_path, {read_samples(run).ids[0]: "ugly"})


KILLED = """
import os, signal, sys
from eechips.manifest import exclusions
left, remove = int(sys.argv[1]), exclusions.remove
def killing(*arguments):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return remove(*arguments)
exclusions.remove = killing
exclusions.exclude_units(sys.argv[2], dict.fromkeys(sys.argv[3:], "ugly"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("removed", [0, 1, 2])
def test_a_killed_drop_is_completed_and_changed_files_are_kept(tmp_path: Path, removed: int) -> None:
    run = write_run(tmp_path, pictures(5))
    samples = list(read_samples(run))
    files = [tmp_path / sample.files[0].name for sample in samples]
    command = [sys.executable, "-c", KILLED, str(removed), str(tmp_path), *(sample.id for sample in samples[:3])]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert sum(file.exists() for file in files) == 5 - removed
    assert open_run(tmp_path).counts == {"done": 2, "skipped": 3}
    own = files[2]
    own.write_bytes(b"drawn by hand")
    assert exclude_units(tmp_path, {}) == (0, 0)
    assert [file for file in files if file.exists()] == files[2:]
    assert own.read_bytes() == b"drawn by hand"
    exclude_units(tmp_path, {samples[3].id: "ugly"})
    assert [file for file in files if file.exists()] == [own, files[4]]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_sample_stays_balanced_after_a_drop(tmp_path: Path) -> None:
    words = [
        "sample",
        "--dataset",
        "NAIP",
        "--per-ecoregion",
        "3",
        "--local",
        "--executor",
        "processes:2",
        "--out",
        "chips",
    ]
    assert typed(*words, cwd=tmp_path).returncode == 0
    folder = tmp_path / "chips"
    samples = read_samples(folder)
    victims = list(samples)[::5]
    for sample in victims:
        (folder / sample.files[0].name).write_bytes(png_of(np.zeros((3, 256, 256), dtype=np.uint8)))
    done = typed("check", "chips", "--drop", "black", cwd=tmp_path)
    assert f"To be fetched again, because of damaged files: {len(victims)} units" in done.stdout
    assert exclude_units(folder, {sample.id: "ugly" for sample in list(samples)[1::5]}) == (3, 0)
    again = typed("retry", "chips", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert f"{len(samples)} of {len(samples)} results, 3 dropped" in again.stdout
    strata = [sample.stratum for sample in read_samples(folder)]
    assert {strata.count(name) for name in strata} == {3}
    assert typed("verify", "chips", cwd=tmp_path).returncode == 0
