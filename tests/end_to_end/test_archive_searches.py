"""What a run sends to an archive before its first chip, and what the same run does when there is no network."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from affine import Affine

from local_tests.archives.archive_host import ArchiveHost, ArchiveListener, listening_host
from local_tests.archives.real_items import ItemMaker, Raster, SentinelProduct, sentinel_item
from tests.support.programs import run_program

pytestmark = pytest.mark.slow

SIDE, METRES, LEFT, TOP, CRS = 512, 10.0, 400_000.0, 4_900_000.0, "EPSG:32631"
ROI = "1.765,44.21,1.865,44.24"
"""Within both scenes of a day."""
DAYS = 73
CARD = ("sample", "--dataset", "S2", "--total", "20", f"--roi={ROI}", "--start", "2023-01-01", "--end", "2024-01-01")
CHIPS = ("--size", "64", "--format", "tif", "--seed", "3", "--executor", "processes:1", "--quiet")


def make_year(host: ArchiveHost) -> Iterator[dict[str, Any]]:
    """Yield the items of two tiles, every five days; the files of all days are the same."""
    maker = ItemMaker("planetary-computer", host.folder, f"{host.url}/files")
    host.folder.mkdir(parents=True)
    for number, tile in enumerate(("31TCK", "31TDK")):
        corner = Affine(METRES, 0, LEFT + number * SIDE * METRES, 0, -METRES, TOP)
        random = np.random.default_rng(number)
        bands = {
            name: Raster(random.integers(1, 9000, (1, SIDE, SIDE)).astype("uint16"), CRS, corner)
            for name in ("B02", "B03", "B04", "B08")
        }
        first: dict[str, Any] = {}
        for position in range(DAYS):
            day = (date(2023, 1, 1) + timedelta(days=5 * position)).strftime("%Y%m%d")
            product = SentinelProduct(
                "S2B", f"{day}T104629", f"{day}T104859", f"{day}T105001", f"{day}T131712", "05.09", 51, tile
            )
            first = first or sentinel_item(maker, product, {**bands, "B05": bands["B02"].every(2)})
            identifier = product.uri.removesuffix(".SAFE").replace("_N0509", "")
            properties = {**first["properties"], **product.properties(is_planetary=True), "eo:cloud_cover": position}
            yield {**first, "id": identifier, "properties": properties}


@dataclass
class YearArchive:
    """A served year, the file that describes it, and what was sent until the first request of a file."""

    host: ArchiveHost
    listener: ArchiveListener
    toml: Path
    folder: Path
    searches: Counter[str] = field(default_factory=Counter)

    def run(self, out: str, *options: str, command: tuple[str, ...] = CARD) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "eechips", *command, *CHIPS, *options]
        words += ["--archive", str(self.toml), "--out", str(self.folder / out)]
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.folder / "cache")}
        return run_program(*words, env=environment, timeout=280)

    def note_first(self) -> None:
        """Note what was sent until now."""
        self.searches = Counter({"search": self.host.requests["search"], "bytes": self.host.bytes})


@pytest.fixture
def year(tmp_path: Path) -> Iterator[YearArchive]:
    with listening_host(tmp_path / "files") as (host, listener):
        host.items = tuple(make_year(host))
        found = YearArchive(host, listener, host.description(tmp_path / "year.toml", "planetary-computer"), tmp_path)
        host.actions[1] = found.note_first
        yield found


def plan_of(out: Path) -> list[tuple[Any, ...]]:
    """Return the units as they are stored, with their order."""
    with closing(sqlite3.connect(f"file:{out / 'manifest.sqlite'}?mode=ro", uri=True)) as database, database:
        return database.execute("SELECT position, id, unit FROM units ORDER BY position").fetchall()


def digests(out: Path) -> dict[str, str]:
    table = pd.read_parquet(out / "manifest.parquet")
    assert set(table["state"]) == {"done"}
    return dict(zip(table["id"], table["sha256"], strict=True))


@pytest.mark.parametrize(
    "more", [(), pytest.param(("--frames", "3"), marks=pytest.mark.exhaustive)], ids=["latest", "frames"]
)
def test_a_run_is_planned_and_made_again_without_a_network(year: YearArchive, more: tuple[str, ...]) -> None:
    ended = year.run("online", *more, "--bands", "B4,B3,B2")
    assert ended.returncode == 0, ended.stderr
    assert 1 <= year.searches["search"] <= 12
    whole = len(json.dumps({"features": year.host.items}).encode())
    assert year.searches["bytes"] <= 2 * whole
    assert year.host.requests["file"] <= 90  # windows that are asked for at once are read together: 55 to 67
    before = Counter(year.host.requests)
    year.listener.stop()
    try:
        again = year.run("offline", *more, "--bands", "B4,B3,B2")
        assert again.returncode == 0, again.stderr
        assert plan_of(year.folder / "offline") == plan_of(year.folder / "online")
        assert digests(year.folder / "offline") == digests(year.folder / "online")
        assert year.host.requests == before
    finally:
        year.listener.start()


@pytest.mark.exhaustive
def test_pixels_that_are_not_kept_are_told_without_a_network(year: YearArchive) -> None:
    assert year.run("online", "--bands", "B4").returncode == 0
    year.listener.stop()
    try:
        other = year.run("offline", "--bands", "B8", "--retries", "1", "--limit", "2")
    finally:
        year.listener.start()
    assert other.returncode != 0
    host = year.host.url.removeprefix("http://")
    assert f"{host} is not reached: is there a network?" in other.stderr
    assert "To resume: run the same command again" in other.stderr
    with closing(sqlite3.connect(year.folder / "offline" / "manifest.sqlite")) as ledger:
        states = {state for (state,) in ledger.execute("SELECT state FROM units")}
    assert states
    assert "done" not in states
