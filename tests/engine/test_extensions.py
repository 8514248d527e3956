"""Finished runs that are extended by dates and regions, over HTTP against the demo planet."""

from __future__ import annotations

import hashlib
import json
import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pytest
import shapely

import eechips
from eechips.errors import RunMismatchError, UsageError
from local_tests.support.local_earth_engine import Server

ROI = "-105.3,39.9,-105.295,39.905"
START, MIDDLE, END = "2020-06-01", "2020-06-16", "2020-07-01"
FIELDS = {
    "north": shapely.box(-105.30, 39.903, -105.297, 39.906),
    "south": shapely.box(-105.30, 39.89, -105.297, 39.893),
}
FURTHER = {"east": shapely.box(-105.20, 39.90, -105.197, 39.903)}
CHANGING = (".eechips.lock", "run.log", "manifest.sqlite")  # by every command
PIXELS = "image:computePixels"


def fetch(server: Server, out: Path, command: str = "images", **options: Any) -> eechips.Run:
    options = {"dataset": "S2", "endpoint": server.url, "rate": None, "executor": "threads", "quiet": True, **options}
    if command != "timeseries":  # a request for each file
        options = {"bands": "B4", "method": "pixels", "share_requests": False, "profile_every": 0, **options}
    found: eechips.Run = getattr(eechips, command)(out=out, **options)
    return found


def digests(folder: Path, *kinds: str) -> dict[str, str]:
    """The SHA-256 of the results in a folder."""
    paths = (path for kind in kinds or ("*.tif", "*.csv") for path in folder.rglob(kind) if path.parent != folder)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def write_regions(path: Path, regions: dict[str, shapely.Polygon]) -> str:
    gpd.GeoDataFrame({"field": list(regions)}, geometry=list(regions.values()), crs="EPSG:4326").to_file(path)
    return str(path)


def sent(server: Server, kind: str = PIXELS) -> int:
    return server.requests().get(kind, 0)


@pytest.fixture
def fields(tmp_path: Path) -> str:
    return write_regions(tmp_path / "fields.gpkg", FIELDS)


@pytest.mark.slow
def test_later_images_are_added_and_the_others_stay(demo_server: Server, tmp_path: Path) -> None:
    first = fetch(demo_server, tmp_path / "run", roi=ROI, start=START, end=MIDDLE)
    files, before, whole = digests(first.path), sent(demo_server), first.units
    assert "extensions" not in first.info
    assert "extension" not in pd.read_parquet(first.path / "manifest.parquet").columns
    changed = {path: path.stat().st_mtime_ns for path in first.path.rglob("*.tif")}
    second = fetch(demo_server, tmp_path / "run", roi=ROI, start=START, end=END, extend=True)
    assert second.is_complete
    assert second.verify() == []
    new = len(second.units) - len(whole)
    assert new > 2
    assert sent(demo_server) - before == new
    assert {name: digest for name, digest in digests(second.path).items() if name in files} == files
    assert {path: path.stat().st_mtime_ns for path in changed} == changed
    columns = ["id", "name", "file", "sha256", "requests", "finished"]
    assert second.units[columns].head(len(whole)).equals(whole[columns])
    first_part, added = second.info["extensions"]
    assert (first_part["number"], first_part["first"], first_part["units"]) == (0, 0, len(whole))
    assert first_part["parameters"]["end"] == MIDDLE
    assert (added["number"], added["first"], added["units"]) == (1, len(whole), new)
    assert added["parameters"]["end"] == END
    assert added["planned"] > first_part["planned"]
    assert second.info["parameters"]["end"] == END
    manifest = pd.read_parquet(second.path / "manifest.parquet")
    assert manifest["extension"].tolist() == [0] * len(whole) + [1] * new
    # The same options again ask for nothing but the plan.
    before = sent(demo_server)
    assert fetch(demo_server, tmp_path / "run", roi=ROI, start=START, end=END, extend=True).info["extensions"] == [
        first_part,
        added,
    ]
    assert fetch(demo_server, tmp_path / "run", roi=ROI, start=START, end=END).is_complete
    assert sent(demo_server) == before


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_extensions_in_steps_make_the_units_of_one_run(demo_server: Server, tmp_path: Path, seed: int) -> None:
    """Ids, names and bytes are those of a run that was never extended, whatever the steps."""
    days = sorted(random.Random(seed).sample(range(5, 29), 3))
    ends = [*((date(2020, 6, 1) + timedelta(days)).isoformat() for days in days), END]
    for end in ends:
        run = fetch(demo_server, tmp_path / "steps", roi=ROI, start=START, end=end, extend=True)
    one = fetch(demo_server, tmp_path / "one", roi=ROI, start=START, end=END)
    columns = ["id", "name", "unit", "sha256"]
    found, expected = (each.units[columns].sort_values("id").to_dict("records") for each in (run, one))
    assert found == expected


@pytest.mark.exhaustive
@pytest.mark.parametrize("command", ["images", "composites"])
def test_further_regions_and_dates_are_added(demo_server: Server, tmp_path: Path, fields: str, command: str) -> None:
    options: dict[str, Any] = {"command": command, "regions": fields, "columns": "id=field", "start": START}
    options |= {"every": "5 days", "reducer": "median"} if command == "composites" else {}
    first = fetch(demo_server, tmp_path / "run", end="2020-06-11", **options)
    files, before, known = digests(first.path), sent(demo_server), len(first.units)
    write_regions(Path(fields), FURTHER | FIELDS)
    second = fetch(demo_server, tmp_path / "run", end="2020-06-21", extend=True, **options)
    # Of ten days north and south have two images, as every orbit is repeated in five days, or two composites. East,
    # with all its twenty days, is where the swaths of two orbits overlap: eight images, but four composites.
    added = 2 + 2 + {"images": 8, "composites": 4}[command]
    assert sent(demo_server) - before == len(second.units) - known == added
    one = fetch(demo_server, tmp_path / "one", end="2020-06-21", **options)
    assert second.verify() == []
    found = digests(second.path)
    assert found == digests(one.path)
    assert found | files == found
    assert set(second.units["unit"].map(lambda unit: unit["region"])) == {"north", "south", "east"}


@pytest.mark.exhaustive
@pytest.mark.slow
def test_what_would_change_or_be_left_out_is_refused(demo_server: Server, tmp_path: Path, fields: str) -> None:
    options: dict[str, Any] = {"command": "composites", "regions": fields, "columns": "id=field"}
    options |= {"every": "10 days", "reducer": "median"}
    run, outlines = fetch(demo_server, tmp_path / "run", start=START, end=MIDDLE, **options), Path(fields).read_bytes()
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file() and path.name not in CHANGING}

    def refuse(error: type[Exception], message: str, **changes: Any) -> None:
        with pytest.raises(error, match=message):
            fetch(demo_server, run.path, extend=True, **{"start": START, "end": END, **options, **changes})
        for path, content in before.items():
            assert path.read_bytes() == content, path

    with pytest.raises(RunMismatchError, match="or give `extend` to add what is new to it"):
        fetch(demo_server, run.path, start=START, end=END, **options)
    with pytest.raises(RunMismatchError, match=r"or remove this one$"):
        fetch(demo_server, run.path, start=START, end=END, **options, bands="B8")
    with pytest.raises(RunMismatchError, match="or give `extend` to add what is new to it"):
        fetch(demo_server, run.path, start=START, end=MIDDLE, **options, bands="B4,B8")
    refuse(UsageError, "the period of the run from 2020-06-11 to 2020-06-16 would have other days now")
    refuse(UsageError, "`end` is 2020-06-16 in the run and 2020-06-11 now", end="2020-06-11")
    refuse(UsageError, "`start` is 2020-06-01 in the run and 2020-06-02 now", start="2020-06-02")
    refuse(RunMismatchError, r'bands: \["B4"\] there, \["B8"\] here', bands="B8")
    write_regions(Path(fields), {"north": FIELDS["north"]} | FURTHER)
    refuse(UsageError, "lacks regions of the run .south.")
    write_regions(Path(fields), FIELDS | {"south": shapely.box(-105.30, 39.88, -105.297, 39.893)})
    refuse(UsageError, "the outline of region south is not that of the run")
    Path(fields).write_bytes(outlines)
    assert fetch(demo_server, run.path, start=START, end=MIDDLE, **options).verify() == []


@pytest.mark.slow
@pytest.mark.parametrize("command", ["images", "composites"])
def test_clipped_files_keep_their_outlines(demo_server: Server, tmp_path: Path, fields: str, command: str) -> None:
    options: dict[str, Any] = {
        "command": command,
        "regions": fields,
        "columns": "id=field",
        "start": START,
        "clip": True,
    }
    options |= {"every": "5 days", "reducer": "median"} if command == "composites" else {}
    first = fetch(demo_server, tmp_path / "run", end="2020-06-11", **options)
    files, count = digests(first.path), len(first.units)
    pierced = FIELDS["south"].difference(FIELDS["south"].centroid.buffer(0.0005))  # of the same bounds
    write_regions(Path(fields), FIELDS | {"south": pierced})
    with pytest.raises(UsageError, match="the outline of region south is not that of the run"):
        fetch(demo_server, tmp_path / "run", end="2020-06-21", extend=True, **options)
    assert digests(first.path) == files
    write_regions(Path(fields), FIELDS | FURTHER)
    assert len(fetch(demo_server, tmp_path / "run", end="2020-06-21", extend=True, **options).units) > count


@pytest.mark.exhaustive
@pytest.mark.parametrize("every", [None, "5 days"])
def test_series_of_regions_get_files_of_further_dates(
    demo_server: Server, tmp_path: Path, fields: str, every: str | None
) -> None:
    options: dict[str, Any] = {"command": "timeseries", "regions": fields, "columns": "id=field", "start": START}
    options |= {"bands": "B4", "every": every}
    first = fetch(demo_server, tmp_path / "run", end="2020-06-11", **options)
    files, before = digests(first.path), sent(demo_server, "table:computeFeatures")
    write_regions(Path(fields), FIELDS | FURTHER)
    fetch(demo_server, tmp_path / "run", end="2020-06-21", extend=True, **options)
    assert sent(demo_server, "table:computeFeatures") - before == 3
    second = fetch(demo_server, tmp_path / "run", end=END, extend=True, **options)
    assert sent(demo_server, "table:computeFeatures") - before == 6
    assert second.verify() == []
    found = digests(second.path)
    assert found | files == found
    assert sorted(found) == [
        f"series/{name}.csv" for name in (
            "east", "east_2020-06-21", "north", "north_2020-06-11", "north_2020-06-21",
            "south", "south_2020-06-11", "south_2020-06-21",
        )
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"into another output folder, .* and join the tables by field and date"):
        fetch(demo_server, tmp_path / "run", end=END, extend=True, **options | {"bands": "B4,B8"})
    one = fetch(demo_server, tmp_path / "one", end=END, **options)
    for region in ("north", "south", "east"):
        names = sorted(name for name in found if Path(name).stem.split("_")[0] == region)
        parts = pd.concat([pd.read_csv(second.path / name) for name in names], ignore_index=True)
        pd.testing.assert_frame_equal(parts, pd.read_csv(one.path / "series" / f"{region}.csv"), check_exact=True)
    # A lost table of the first dates is fetched with these dates.
    lost = second.path / "series" / "north.csv"
    lost.unlink()
    assert fetch(demo_server, second.path, end=END, **options).verify() == []
    assert digests(second.path) == found


@pytest.mark.exhaustive
@pytest.mark.parametrize("output", ["one", "year"])
def test_one_table_has_the_rows_of_one_run(demo_server: Server, tmp_path: Path, fields: str, output: str) -> None:
    options: dict[str, Any] = {"command": "timeseries", "regions": fields, "columns": "id=field", "bands": "B4"}
    options |= {"start": "2019-12-20", "output": output}
    first = fetch(demo_server, tmp_path / "run", end="2019-12-30", **options)
    parts = digests(first.path / "parts", "*.parquet") or digests(first.path, "parts/*.parquet")
    assert parts
    write_regions(Path(fields), FURTHER | FIELDS)
    second = fetch(demo_server, tmp_path / "run", end="2020-01-10", extend=True, **options)
    one = fetch(demo_server, tmp_path / "one", end="2020-01-10", **options)
    assert second.verify() == []
    assert digests(second.path, "parts/*.parquet").items() >= parts.items()
    assert [path.relative_to(second.path) for path in second.assembled] == [
        path.relative_to(one.path) for path in one.assembled
    ]
    for made, expected in zip(second.assembled, one.assembled, strict=True):
        pd.testing.assert_frame_equal(pd.read_parquet(made), pd.read_parquet(expected), check_exact=True)
    with pytest.raises(UsageError, match="one table grows by later dates only"):
        fetch(demo_server, tmp_path / "run", end="2020-01-10", extend=True, **options | {"start": "2019-12-10"})


@pytest.mark.exhaustive
def test_an_extension_that_was_stopped_is_resumed_by_the_same_command(demo_server: Server, tmp_path: Path) -> None:
    """Also by the command without ``extend``: its plan is whole from the moment on that its options are recorded."""
    first = fetch(demo_server, tmp_path, roi=ROI, start=START, end=MIDDLE)
    files, before, known = digests(tmp_path), sent(demo_server), len(first.units)
    options: dict[str, Any] = {"roi": ROI, "start": START, "end": "2020-12-01", "in_flight": 1}
    for _ in range(2):
        stopped = fetch(demo_server, tmp_path, budget="requests=12", extend=True, **options)
        assert not stopped.is_complete
        assert stopped.counts.keys() >= {"planned", "done"}
    assert stopped.counts["done"] > known
    whole = fetch(demo_server, tmp_path, **options)
    assert whole.is_complete
    assert whole.verify() == []
    assert [part["units"] for part in whole.info["extensions"]] == [known, len(whole.units) - known]
    assert sent(demo_server) - before == len(whole.units) - known
    assert digests(tmp_path).items() >= files.items()
    assert len(pd.read_parquet(tmp_path / "manifest.parquet")) == len(whole.units)


@pytest.mark.slow
def test_a_first_plan_by_an_extension_is_a_run(demo_server: Server, tmp_path: Path) -> None:
    run = fetch(demo_server, tmp_path, roi=ROI, start=START, end="2020-06-06", extend=True)
    assert run.is_complete
    assert "extensions" not in json.loads((tmp_path / "run.json").read_text())
    with pytest.raises(UsageError, match="`dry_run` estimates whole runs"):
        fetch(demo_server, tmp_path, roi=ROI, start=START, end=END, extend=True, dry_run=True)
    mosaic: dict[str, Any] = {"command": "mosaic", "dataset": "SRTM", "bands": None, "roi": ROI}
    assert fetch(demo_server, tmp_path / "mosaic", **mosaic).is_complete
    with pytest.raises(UsageError, match="`extend` is not for mosaic"):
        fetch(demo_server, tmp_path / "mosaic", extend=True, **mosaic)


@pytest.mark.slow
def test_extended_images_can_be_locked_and_rebuilt(demo_server: Server, tmp_path: Path, fields: str) -> None:
    fetch(demo_server, tmp_path / "run", roi=ROI, start=START, end="2020-06-08")
    run = fetch(demo_server, tmp_path / "run", roi=ROI, start=START, end=MIDDLE, extend=True)
    lockfile = eechips.lock(run, tmp_path / "run.lock", endpoint=demo_server.url)
    found = eechips.rebuild(lockfile, tmp_path / "again", endpoint=demo_server.url, executor="threads", quiet=True)
    assert found.is_same
    assert digests(tmp_path / "again") == digests(run.path)
    assert eechips.verify(run, refetch="100%") == []


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("output", ["region", "one"])
def test_extended_tables_can_be_locked_and_rebuilt(
    demo_server: Server, tmp_path: Path, fields: str, output: str
) -> None:
    """A lockfile and an audit take the dates of the first plan for its units, which record none."""
    options: dict[str, Any] = {"command": "timeseries", "regions": fields, "bands": "B4", "start": START}
    options["output"] = output
    fetch(demo_server, tmp_path / "run", end="2020-06-08", **options)
    run = fetch(demo_server, tmp_path / "run", end=MIDDLE, extend=True, **options)
    lockfile = eechips.lock(run, tmp_path / "run.lock", endpoint=demo_server.url)
    found = eechips.rebuild(lockfile, tmp_path / "again", endpoint=demo_server.url, executor="threads", quiet=True)
    assert (found.is_same, found.other_expressions) == (True, 0)
    assert digests(tmp_path / "again") == digests(run.path)
    assert eechips.verify(run, refetch="100%") == []
    again = found.run.info["extensions"]
    assert [{**part, "command": ""} for part in run.info["extensions"]] == again
