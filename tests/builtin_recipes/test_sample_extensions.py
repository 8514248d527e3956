"""Samples that are extended by places and periods, over HTTP against the demo planet."""

from __future__ import annotations

import hashlib
import logging
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import rasterio

import eechips
from eechips.engine.costs.cost_descriptions import Estimate
from eechips.errors import RunMismatchError, UsageError
from eechips.manifest.exclusions import exclude_units
from eechips.manifest.pictures.frame_rows import read_frame_rows
from eechips.training.sample_reader import read_samples
from local_tests.support.captured_log import CapturedLog
from local_tests.support.local_earth_engine import Server, wait_until
from tests.support.programs import run_program

ROI = "-105.3,39.9,-105.2,40.0"
PIXELS = "image:computePixels"
MAY, JULY, AUGUST = "2020-05-01", "2020-07-01", "2020-08-01"


def sample(server: Server, out: Path, **options: Any) -> eechips.Run:
    given: dict[str, Any] = {"dataset": "S2", "bands": "B4", "size": 8, "format": "tif", "start": MAY, "end": JULY}
    given |= {"executor": "threads", "quiet": True, "rate": None, "endpoint": server.url, "out": out}
    given |= {"method": "pixels", "share_requests": False, "profile_every": 0, "on_empty": "keep"}
    return eechips.sample(**{**given, **options})


def digests(folder: Path) -> dict[str, str]:
    paths = (folder / "chips").rglob("*.tif")
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def sent(server: Server) -> int:
    return server.requests().get(PIXELS, 0)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("options", [
    {"total": 6, "roi": ROI},
    {"total": 6, "roi": ROI, "seed": 7},
    pytest.param({"total": 6, "roi": ROI, "min_distance": "200m"}, marks=pytest.mark.slow),
    pytest.param({"per_class": "3:ESA/WorldCover/v200:Map", "roi": ROI}, marks=pytest.mark.slow),
], ids=str)  # fmt: skip
def test_more_random_places_are_those_of_one_run(demo_server: Server, tmp_path: Path, options: dict[str, Any]) -> None:
    """Places of a seed are one sequence: the first ones are kept, with their chips."""
    first = sample(demo_server, tmp_path / "run", **options)
    files, known, before = digests(first.path), len(first.units), sent(demo_server)
    more = {"total": 10} if "total" in options else {"per_class": "5:ESA/WorldCover/v200:Map"}
    second = sample(demo_server, tmp_path / "run", extend=True, **options | more)
    added = len(second.units) - known
    assert added > 2
    assert sent(demo_server) - before == added + ("per_class" in options)  # the classes of the region
    assert digests(second.path).items() >= files.items()
    assert second.verify() == []
    one = sample(demo_server, tmp_path / "one", **options | more)
    assert digests(second.path) == digests(one.path)
    assert sorted(second.units["id"]) == sorted(one.units["id"])
    with pytest.raises(UsageError, match="it excludes `extend`"):
        sample(demo_server, tmp_path / "run", extend=True, on_empty="redraw", **options | more)
    with pytest.raises(UsageError, match="places of the run are not among those of the extension"):
        sample(demo_server, tmp_path / "run", extend=True, **options)


@pytest.mark.slow
def test_rows_of_a_file_are_added_and_other_options_refused(demo_server: Server, tmp_path: Path) -> None:
    rows = pd.DataFrame({"lon": [-105.25, -105.24, -105.25], "lat": [39.95, 39.95, 39.95], "plot": ["a", "b", "c"]})
    table = tmp_path / "plots.csv"
    rows.head(2).to_csv(table, index=False)
    first = sample(demo_server, tmp_path / "run", points=table)
    files, before = digests(first.path), sent(demo_server)
    pd.concat([pd.DataFrame({"lon": [-105.23], "lat": [39.95], "plot": ["d"]}), rows]).to_csv(table, index=False)
    second = sample(demo_server, tmp_path / "run", points=table, extend=True)
    assert sent(demo_server) - before == 2
    assert digests(second.path).items() >= files.items()
    assert sorted(unit["properties"]["plot"] for unit in second.units["unit"]) == ["a", "b", "c", "d"]
    for message, options in (
        ("the dates of a sample can be extended only with `every`", {"end": AUGUST}),
        ("cannot be extended by other options than those that may grow", {"bands": "B3"}),
        ("must be those of the run", {"every": "month"}),
    ):
        with pytest.raises((UsageError, RunMismatchError), match=message):
            sample(demo_server, tmp_path / "run", **{"points": table, "extend": True, **options})
    assert digests(second.path) == digests(tmp_path / "run")


@pytest.mark.slow
def test_the_requests_of_new_units_are_told_and_confirmed_before_they_are_sent(
    demo_server: Server, tmp_path: Path, caplog: CapturedLog
) -> None:
    options: dict[str, Any] = {"roi": ROI}
    told: list[Estimate] = []

    def begin(foreseen: Estimate) -> bool:
        told.append(foreseen)
        return True

    caplog.set_level(logging.INFO, "eechips")
    sample(demo_server, tmp_path / "run", **options | {"total": 3, "confirm_start": begin})
    sample(demo_server, tmp_path / "run", **options | {"total": 5, "confirm_start": begin, "extend": True})
    sample(demo_server, tmp_path / "run", **options | {"total": 5, "confirm_start": begin, "extend": True})
    first, added = told
    assert (first.units, first.requests, added.units, added.requests) == (3, 3, 2, 2)
    assert first.bytes is not None
    assert added.bytes == pytest.approx(first.bytes * 2 / 3, abs=2)
    assert [line.split(",")[0] for line in caplog.messages if line.startswith("Expected: ")] == [
        "Expected: 3 requests for 3 units",
        "Expected: 2 requests for 2 units",
    ]


@pytest.mark.exhaustive
@pytest.mark.parametrize("every", ["month", pytest.param("month:median", marks=pytest.mark.slow)])
def test_further_periods_are_frames_of_the_same_pixels(demo_server: Server, tmp_path: Path, every: str) -> None:
    options: dict[str, Any] = {"total": 3, "roi": ROI, "every": every, "dataset": ["S2", "SRTM"], "bands": ["S2:B4"]}
    first = sample(demo_server, tmp_path / "run", **options)
    files, before = digests(first.path), sent(demo_server)
    second = sample(demo_server, tmp_path / "run", end=AUGUST, extend=True, **options)
    assert sent(demo_server) - before == 3 + 3  # with the elevation: a sample has all its layers
    assert [sorted({file.array for file in one.files}) for one in read_samples(second)] == [["S2", "SRTM"]] * 6
    third = sample(demo_server, tmp_path / "run", end="2020-09-01", extend=True, **options | {"total": 4})
    assert sent(demo_server) - before == 6 + 6 + 5
    assert second.verify() == third.verify() == []
    assert digests(third.path).items() >= files.items()
    one = sample(demo_server, tmp_path / "one", end="2020-09-01", **options | {"total": 4})
    assert _frames(third) == _frames(one)
    sheets = [read_frame_rows(run.path, rows=9, columns=9) for run in (third, one)]
    shown = [[(row.place, row.series, [chip.label for chip in row.chips]) for row in sheet] for sheet in sheets]
    assert len(shown[0]) == 4
    assert shown[0] == shown[1]
    with pytest.raises(
        UsageError, match="the period of the run from 2020-05-01 to 2020-06-01 would have other days now, and its chips"
    ):
        sample(
            demo_server, tmp_path / "run", end="2020-09-01", start="2020-04-15", extend=True, **options | {"total": 4}
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "options"),
    [
        (eechips.sample, {"total": 2, "roi": ROI, "every": "month", "bands": "B4"}),
        (eechips.composites, {"roi": "-105.3,39.9,-105.29,39.91", "every": "1 month", "bands": "B4"}),
        (
            eechips.timeseries,
            {
                "regions": "FAO/GAUL_SIMPLIFIED_500m/2015/level2",
                "columns": "id=ADM2_CODE",
                "bbox": "-105.3,39.9,-105.2,40",
                "every": "1 month",
                "bands": "B4",
                "scale": 500,
            },
        ),
    ],
)
def test_an_end_within_a_period_is_told(
    command: Any, options: dict[str, Any], demo_server: Server, tmp_path: Path, caplog: CapturedLog
) -> None:
    given = {"start": "2020-06-01", "endpoint": demo_server.url, "dry_run": True, **options}
    for end, count in (("2020-07-11", 1), ("2020-08-01", 0)):
        caplog.clear()
        command("S2", end=end, out=tmp_path / end, **given)
        cuts = [message for message in caplog.messages if "cuts the last period: it has 10 of its 31 days" in message]
        assert len(cuts) == count


def _frames(run: eechips.Run) -> dict[tuple[Any, ...], bytes]:
    """The pixels of each frame, by place and first day."""
    rows = pd.read_parquet(run.path / "layers.parquet")
    places = run.units["unit"].map(lambda unit: tuple(unit["coordinates"]))
    found = {}
    for row in rows.itertuples():
        with rasterio.open(run.path / row.file) as file:
            key = (places.iloc[row.position], re.sub(r"-?t\d+$", "", row.layer), row.start)
            content = file.read().tobytes() + str(file.transform).encode() + str(file.crs).encode()
            assert found.setdefault(key, content) == content if row.layer == "SRTM" else key not in found
            found[key] = content
    return found


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_an_extension_that_is_killed_twice_ends_as_one_run(demo_server: Server, tmp_path: Path) -> None:
    """50 places x 2 months, then 2 months and 10 places more: nothing is fetched again but what was in flight."""
    places = pd.DataFrame({"lon": [-105.29 + 0.001 * number for number in range(60)], "lat": 39.95})
    table, run = tmp_path / "plots.csv", tmp_path / "run"
    places.head(50).to_csv(table, index=False)
    first = sample(demo_server, run, points=table, every="month")
    files, before = digests(run), sent(demo_server)
    assert len(files) == 100
    modified = {path: path.stat().st_mtime_ns for path in (first.path / "chips").iterdir()}
    places.to_csv(table, index=False)
    command = [
        *(sys.executable, "-m", "eechips", "sample", "--dataset", "S2", "--bands", "B4", "--size", "8"),
        *("--format", "tif", "--start", MAY, "--end", "2020-09-01", "--every", "month", "--points", str(table)),
        *("--endpoint", demo_server.url, "--rate", "none", "--method", "pixels", "--executor", "threads"),
        *("--in-flight", "4", "--out", str(run), "--quiet", "--extend"),
    ]
    for count in (120, 170):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda count=count: len(list((run / "chips").glob("*.tif"))) >= count, process)
        finally:
            process.kill()
            process.communicate()
    run_program(*command, status=0)
    found = eechips.open_run(run)
    assert found.verify() == []
    assert len(digests(run)) == 60 * 4
    assert digests(run).items() >= files.items()
    assert {path: path.stat().st_mtime_ns for path in modified} == modified
    assert sent(demo_server) - before < 140 + 20 + 70  # what was there before a kill is not fetched again
    assert [part["units"] for part in found.info["extensions"]] == [50, 60]
    one = sample(demo_server, tmp_path / "one", points=table, every="month", end="2020-09-01")
    assert _frames(found) == _frames(one)


@pytest.mark.slow
@pytest.mark.parametrize(
    "steps",
    [
        ["drop 2", "total 4, end 2020-08-01", "drop 1"],  # for 3 and for 4 places, both are replaced by the sixth point
        ["drop 2", "total 6"],  # the sixth point replaces the third, and is one of six then
        pytest.param(["drop 2", "total 4", "drop 1", "drop 0"], marks=pytest.mark.exhaustive),
        pytest.param(["drop 0", "drop 1", "drop 2", "total 6", "drop 5", "total 9"], marks=pytest.mark.exhaustive),
        *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(6)),
    ],
)
def test_no_place_is_drawn_twice_whatever_was_dropped(
    demo_server: Server, tmp_path: Path, steps: list[str] | int
) -> None:
    """A replacement of an extended run passes over the places of those before it, and none stays without one."""
    options: dict[str, Any] = {"total": 3, "roi": ROI, "every": "month", "end": "2020-06-01"}
    run, dropped = sample(demo_server, tmp_path, **options), 0
    draw = random.Random(steps if isinstance(steps, int) else 0)
    for step in _draw_steps(draw) if isinstance(steps, int) else steps:
        word, number = step.partition(",")[0].split()
        if word == "drop":
            samples = [identifier for identifier in read_samples(run).ids if _is_first(run, identifier)]
            exclude_units(run.path, {samples[int(number) % len(samples)]: "dropped: black"})
            dropped += 1
        else:
            options["total"] = int(number)
            options["end"] = AUGUST if AUGUST in step else options["end"]
        run = sample(demo_server, tmp_path, **options, extend=word == "total")
        firsts = run.units[[not unit.get("further") for unit in run.units["unit"]]]
        places = [tuple(unit["coordinates"]) for unit in firsts["unit"]]
        assert len(set(places)) == len(places), step
        assert run.verify() == []
        assert (firsts["state"] == "done").sum() == options["total"], step
        if word == "drop":
            assert (firsts["state"] == "skipped").sum() == dropped
            assert firsts["replaces"].notna().sum() == dropped, step


def _draw_steps(draw: random.Random) -> list[str]:
    total, steps = 3, []
    for _ in range(5):
        if draw.random() < 0.4:
            total += draw.randint(1, 2)
            steps.append(f"total {total}" + draw.choice(["", f", end {AUGUST}"]))
        else:
            steps.append(f"drop {draw.randrange(total)}")
    return steps


def _is_first(run: eechips.Run, identifier: str) -> bool:
    (unit,) = run.units.loc[run.units["id"] == identifier, "unit"]
    return not unit.get("further")
