"""`eechips update`: runs that grow with their archive, over HTTP against a store to which images are added."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from affine import Affine

import eechips
from eechips.errors import UsageError
from eechips.training.sample_reader import read_samples
from eechips_local.assets import ingest
from local_tests.support.captured_log import CapturedLog
from local_tests.support.local_earth_engine import Server
from tests.support.coded_store import write_geotiff
from tests.support.commands import run_command

COLLECTION = "users/someone/daily"
CRS, TRANSFORM = "EPSG:32613", Affine(10, 0, 500_000, 0, -10, 4_400_000)
EDGE = 16
ROI = "-104.9998,39.7487,-104.9994,39.7490"
CHANGING = (".eechips.lock", "run.log", "manifest.sqlite")  # by every command
PIXELS = "image:computePixels"
FIRST = dt.date(2024, 5, 30)


class Archive:
    """A collection to which images are added. An image has one value, the number that its id ends with.

    Attributes:
        bands: names of the bands of images to add, which have the same values.
        server: server that serves it.
    """

    def __init__(self, folder: Path, serve: Callable[..., Server]) -> None:
        self._folder, self._count, self.bands = folder, 0, ["n"]
        folder.mkdir()
        self.put(FIRST)
        self.server = serve("--assets", str(folder / "store"), "--no-demo", "--rate", "none", "--concurrency", "none")

    def put(self, day: dt.date, number: int | None = None) -> str:
        """Add an image of a day, or replace one, and return its index."""
        if number is None:
            number = self._count = self._count + 1
        path = self._folder / "image.tif"
        count = len(self.bands)
        pixels = np.full((count, EDGE, EDGE), number, dtype=np.uint16)
        write_geotiff(path, CRS, TRANSFORM, pixels, dtype="uint16")
        index = f"image_{number:03}"
        ingest(path, self._folder / "store", f"{COLLECTION}/{index}", time_start=day.isoformat(), bands=self.bands)
        return index

    def sent(self, kind: str = PIXELS) -> int:
        return self.server.requests().get(kind, 0)


@pytest.fixture
def archive(tmp_path: Path, serve_briefly: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> Archive:
    monkeypatch.chdir(tmp_path)
    return Archive(tmp_path / "archive", serve_briefly)


def begin(archive: Archive, command: str, *words: str) -> Path:
    words = (
        command, "--dataset", COLLECTION, "--endpoint", archive.server.url, "--executor", "threads", "-q",
        "--method", "pixels", "--start", "2024-05-01", "--out", "run", *words,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["eechips", *words])  # run.json records them
        result = run_command(*words)
    assert result.exit_code == 0, result.output
    return Path("run")


def update(folder: Path, until: str, *words: str, status: int = 0) -> str:
    result = run_command("update", folder, "--until", until, *words, status=status)
    (line,) = result.stdout.splitlines()
    assert line.startswith(f"{folder}: ")
    return line.removeprefix(f"{folder}: ")


def images(folder: Path) -> list[str]:
    return [unit["image"] for unit in eechips.open_run(folder).units["unit"]]


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in [*folder.rglob("*.tif"), *folder.rglob("series/*.csv")]
    }


def write_regions(path: Path) -> str:
    west, south, east, north = map(float, ROI.split(","))
    gpd.GeoDataFrame({"field": ["a"]}, geometry=[shapely.box(west, south, east, north)], crs="EPSG:4326").to_file(path)
    return str(path)


@pytest.mark.slow
def test_new_images_are_fetched_and_one_line_says_so(archive: Archive) -> None:
    run = begin(archive, "images", "--roi=" + ROI, "--end", "2024-06-01")
    eechips.check(run, quiet=True)
    there = {path: path.read_bytes() for path in run.rglob("*") if path.name not in CHANGING and path.is_file()}
    assert b"flags" in there[run / "manifest.parquet"]
    assert update(run, "2024-06-02") == "nothing new until 2024-06-02"
    assert {path: path.read_bytes() for path in there} == there
    eechips.stats(run, quiet=True)
    assert update(run, "2024-06-02", "--exit-code") == "nothing new until 2024-06-02"
    silent = run_command("update", run, "--until", "2024-06-02", "--quiet")
    assert (silent.exit_code, silent.output) == (0, "")
    before, sent = digests(run), archive.sent()
    archive.put(dt.date(2024, 6, 2))
    archive.put(dt.date(2024, 5, 31))  # late
    assert update(run, "2024-06-04", "--exit-code", status=3) == "2 new units until 2024-06-04"
    assert archive.sent() - sent <= 2
    assert images(run) == ["image_001", "image_003", "image_002"]
    assert digests(run).items() >= before.items()
    run_command("verify", run, status=0)
    assert json.loads((run / "stats.json").read_text())["samples"] == {"all": 3}
    info = eechips.open_run(run).info
    assert info["command"].startswith("eechips images --end 2024-06-04 --dataset")
    assert [part["units"] for part in info["extensions"]] == [1, 2]
    assert eechips.retry(run).is_complete  # its command is the last one
    # Dates that are there stay, whatever the clock says.
    assert update(run, "2024-05-15") == "nothing new until 2024-06-04"


@pytest.mark.exhaustive
def test_new_versions_of_old_images_are_told_and_fetched_when_asked(archive: Archive) -> None:
    run = begin(archive, "images", "--roi=" + ROI, "--end", "2024-06-01")
    archive.put(dt.date(2024, 6, 1))
    assert update(run, "2024-06-03") == "1 new unit until 2024-06-03"
    before = digests(run)
    archive.put(FIRST, 1)
    archive.put(dt.date(2024, 6, 3))
    result = run_command("update", run, "--until", "2024-06-05")
    assert result.stdout == f"{run}: 1 new unit until 2024-06-05; 1 image with a new version: --refetch fetches them\n"
    assert result.stderr == f"New version: {COLLECTION}/image_001\n"
    assert digests(run).items() >= before.items()
    sent = archive.sent()
    told = "nothing new until 2024-06-05; 1 image with a new version, fetched again"
    assert update(run, "2024-06-05", "--refetch", "--exit-code", status=3) == told
    assert archive.sent() - sent == 1
    assert update(run, "2024-06-05", "--refetch") == "nothing new until 2024-06-05"
    assert eechips.open_run(run).verify() == []


@pytest.mark.exhaustive
@pytest.mark.slow
def test_composites_and_tables_end_before_the_latest_image(archive: Archive, caplog: CapturedLog) -> None:
    """And with a whole period: 10 days, or a day."""
    west_to_north = write_regions(Path("fields.gpkg"))
    words = ("--every", "10 days", "--reducer", "max", "--roi=" + ROI, "--end", "2024-05-31")
    composites = begin(archive, "composites", *words).rename("composites")
    shutil.rmtree("run", ignore_errors=True)
    begin(archive, "timeseries", "--regions", west_to_north, "--columns", "id=field", "--end", "2024-05-31").rename(
        "series"
    )
    series = Path("series")
    for day in (dt.date(2024, 6, 1), dt.date(2024, 6, 9)):
        archive.put(day)
    assert update(composites, "2024-06-30", "--trust") == "nothing new until 2024-05-31"
    assert update(series, "2024-06-30", "--trust") == "1 new unit until 2024-06-09"
    archive.put(dt.date(2024, 6, 12))
    assert update(composites, "2024-06-30", "--trust") == "1 new unit until 2024-06-10"
    assert update(series, "2024-06-30", "--trust") == "1 new unit until 2024-06-12"
    archive.put(dt.date(2024, 6, 9))  # of a composite that is there
    archive.put(dt.date(2024, 6, 25))
    result = run_command("update", composites, "--until", "2024-06-30", "--trust")
    assert result.stdout == "composites: 1 new unit until 2024-06-20; 1 composite kept that would have other images\n"
    told = [text for text in caplog.messages if text.startswith("The composite")]
    assert told == ["The composite from 2024-05-31 to 2024-06-10 would have 3 images now, not 2: its file is kept"]
    before = digests(composites)
    assert update(composites, "2024-06-30", "--trust", "--refetch") == "nothing new until 2024-06-20"
    changed = {name for name, digest in digests(composites).items() if before[name] != digest}
    assert changed == {"composites/2024-05-31.tif"}
    assert update(composites, "2024-06-30", "--trust") == "nothing new until 2024-06-20"
    unit = eechips.open_run(composites).units["unit"].iloc[-2]
    assert (unit["start"], unit["images"]) == ("2024-05-31", 3)
    run_command("verify", composites, status=0)
    tables = sorted((series / "series").glob("*.csv"))
    rows = pd.concat([pd.read_csv(table) for table in tables])
    assert rows["date"].tolist() == ["2024-05-30", "2024-06-01", "2024-06-09"]
    assert rows["n"].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.exhaustive
def test_composites_with_added_bands_are_fetched_again_with_them(archive: Archive) -> None:
    """All files of a period show the images that its units name."""
    archive.bands = ["n", "m"]
    archive.put(FIRST, 1)
    words = ("composites", "--every", "10 days", "--reducer", "max", "--roi=" + ROI, "--start", "2024-05-01")
    begin(archive, *words, "--end", "2024-06-10", "--bands", "n")
    run = begin(archive, *words, "--end", "2024-06-10", "--bands", "n,m", "--extend")
    before = digests(run)
    assert [Path(name).name for name in sorted(before)] == ["2024-05-21.daily-m.tif", "2024-05-21.tif"]
    archive.put(FIRST)
    archive.put(dt.date(2024, 6, 5))  # of a period that had no image
    archive.put(dt.date(2024, 6, 25))
    assert update(run, "2024-06-30", "--trust").startswith("2 new units until 2024-06-20; 1 composite kept")
    assert digests(run).items() >= before.items()
    assert update(run, "2024-06-30", "--trust", "--refetch") == "nothing new until 2024-06-20"
    assert update(run, "2024-06-30", "--trust") == "nothing new until 2024-06-20"
    run_command("verify", run, status=0)
    samples = read_samples(run)
    assert [[unit.unit["start"], len(unit.sources), len(unit.files)] for unit in samples] == [
        ["2024-05-21", 2, 2],
        ["2024-05-31", 1, 2],
    ]
    for name, value in zip(sorted(digests(run)), (2, 2, 3, 3), strict=True):
        with rasterio.open(run / name) as file:
            assert file.read().max() == value


@pytest.mark.slow
def test_what_cannot_be_updated_says_why(archive: Archive, tmp_path: Path) -> None:
    regions = write_regions(tmp_path / "fields.gpkg")
    run = begin(archive, "timeseries", "--regions", regions)
    result = run_command("update", run, status=2)
    assert "the run has no --end, so its results have all images up to the day when they were fetched" in result.stderr
    for wrong in ("June", "20240601", "2024-W23-1"):  # Python takes the last two for days, from 3.11 on
        message = f"Error: --until is a day (YYYY-MM-DD), not '{wrong}'"
        assert run_command("update", run, "--until", wrong).stderr.strip() == message
    options: dict[str, Any] = {"endpoint": archive.server.url, "executor": "threads", "quiet": True}
    made = eechips.images(COLLECTION, roi=ROI, out="made", **options)
    with pytest.raises(
        UsageError, match=r"was made by a program: repeat its call with a later `end` and `extend=True`"
    ):
        eechips.update(made)
    run.rename("series")
    begin(archive, "mosaic", "--roi=" + ROI)
    assert "eechips mosaic has no dates that grow" in run_command("update", "run").stderr


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_month_of_updates_misses_no_image_and_fetches_none_twice(archive: Archive) -> None:
    """Twice a day, by an injected clock. Images reach the archive up to four days late, some days have two."""
    run = begin(archive, "images", "--roi=" + ROI, "--end", "2024-06-01", "--bands", "n")
    random = np.random.default_rng(5)
    arrivals: dict[int, list[dt.date]] = {}
    for day in range(1, 31):
        for _ in range(int(random.integers(0, 3))):
            arrivals.setdefault(day * 2 + int(random.integers(0, 9)), []).append(dt.date(2024, 6, day))
    expected, added, before = {"image_001"}, 0, archive.sent()
    first = digests(run)
    for half_day in range(2, 80):
        due = arrivals.get(half_day, [])
        expected |= {archive.put(day) for day in due}
        now = dt.datetime(2024, 6, 1, 3, tzinfo=dt.timezone.utc) + dt.timedelta(hours=12 * (half_day - 2))
        found = eechips.update(run, now=lambda now=now: now)  # type: ignore[misc]
        added += found.added
    listed = images(run)
    assert len(listed) == len(set(listed))
    assert set(listed) == expected
    assert added == len(expected) - 1 == sum(map(len, arrivals.values()))
    assert archive.sent() - before <= added
    assert digests(run).items() >= first.items()
    assert eechips.open_run(run).verify() == []
    one = eechips.images(
        COLLECTION, roi=ROI, start="2024-05-01", end="2024-07-20", bands="n", out="one", executor="threads",
        endpoint=archive.server.url, quiet=True, method="pixels",
    )  # fmt: skip
    assert digests(run) == digests(one.path)
