"""Splits and statistics of a run that was extended, over HTTP against the demo planet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely

import eechips
from eechips.training.quality import quality_table
from eechips.training.refreshed_files import refresh_files
from local_tests.support.local_earth_engine import Server
from tests.support.finished_run import pictures, write_run


def sample(server: Server, out: Path, table: Path, count: int, **options: Any) -> eechips.Run:
    """Fetch chips of a row of places: those of odd numbers are extended by those between them."""
    numbers = [*range(0, 40, 2), *range(1, 40, 2)][:count]
    longitudes = [-105.29 + 0.004 * number for number in numbers]
    pd.DataFrame({"lon": longitudes, "lat": 39.95, "number": numbers}).to_csv(table, index=False)
    return eechips.sample(
        "SRTM", points=table, size=8, format="tif", endpoint=server.url, rate=None, executor="threads", quiet=True,
        out=out, **options,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("near", [pytest.param("refuse", marks=pytest.mark.slow), "drop"])
def test_chips_keep_their_split_and_statistics_have_all(demo_server: Server, tmp_path: Path, near: str) -> None:
    run = sample(demo_server, tmp_path / "run", tmp_path / "plots.csv", 20)
    options: dict[str, Any] = {"block_size": "2km", "stratum": "none", "seed": 4, "quiet": True}
    options |= {"near": "drop", "buffer": "400m"} if near == "drop" else {}
    before = eechips.split(run, **options).splits.set_index("id")["split"]
    eechips.stats(run, quiet=True)
    eechips.card(run, title="Plots", creator="Someone", url="https://example.org/plots", version="1.2.0")
    if near == "refuse":
        eechips.catalog(run, quiet=True)
        eechips.pack(run, "webdataset", quiet=True)
    run = sample(demo_server, tmp_path / "run", tmp_path / "plots.csv", 40, extend=True)
    extended = "was made before the run was extended"
    older = [
        f"catalog {extended}: eechips catalog {run.path} adds what is new",
        f"packs/webdataset {extended}: remove it, and repeat eechips pack for what is new",
    ]
    assert refresh_files(run.path) == (older if near == "refuse" else [])
    if near == "refuse":
        eechips.catalog(run, quiet=True)
        assert refresh_files(run.path) == older[1:]
    card = json.loads((run.path / "croissant.json").read_text())
    assert (card["name"], card["creator"]["name"], card["version"]) == ("Plots", "Someone", "1.2.0")
    assert card["url"] == "https://example.org/plots"
    assert card["description"].startswith("40 samples of ")
    table = pd.read_parquet(run.path / "splits.parquet").set_index("id")
    assert len(table) == 40
    members = before[before != "none"]
    assert table["split"].loc[members.index].equals(members)
    known = pd.read_parquet(run.path / "splits.parquet").iloc[:20]
    homes = dict(zip(known["block"], known["home"], strict=True))
    assert all(homes.get(row.block, row.home) == row.home for row in table.itertuples())
    if near == "drop":
        assert (table["split"].iloc[20:] == "none").any()
    manifest = pd.read_parquet(run.path / "manifest.parquet").set_index("id")
    assert manifest["split"].to_dict() == table["split"].to_dict()
    # The mean of the training split is that of its files.
    found = json.loads((run.path / "stats.json").read_text())
    files = manifest["file"].loc[table.index[table["split"] == "train"]]
    pixels = []
    for file in files:
        with rasterio.open(run.path / file) as chip:
            pixels.append(chip.read(1, masked=True).compressed())
    assert found["samples"]["train"] == len(files)
    assert found["means"] == pytest.approx([np.concatenate(pixels).astype(float).mean()], rel=1e-9)
    assert eechips.split(run, **options).splits.set_index("id")["split"].equals(table["split"])


@pytest.mark.slow
def test_a_check_reads_what_was_added(tmp_path: Path) -> None:
    run = write_run(tmp_path, pictures(9))
    eechips.check(run, most_black=0.3, ignore="duplicate", quiet=True)
    run = write_run(tmp_path, pictures(12))
    assert refresh_files(run.path) == []
    assert pd.read_parquet(run.path / "quality.parquet")["id"].tolist() == run.units["id"].tolist()
    options = quality_table.options(run.path)
    assert (options["most_black"], options["ignore"]) == (0.3, ["duplicate"])
    region = tmp_path / "region.geojson"
    region.write_text(shapely.to_geojson(shapely.box(-180, -90, 180, 90)))
    eechips.check(run, roi=region, quiet=True)
    told = f"quality.parquet was left as it was: its region is a file: eechips check {run.path} --roi {region}"
    assert refresh_files(run.path) == [told]


def test_runs_without_splits_and_files_of_others_stay(demo_server: Server, tmp_path: Path) -> None:
    run = sample(demo_server, tmp_path / "run", tmp_path / "plots.csv", 6)
    assert refresh_files(run.path) == []
    pd.DataFrame({"id": run.units["id"], "split": ["train", "test"] * 3}).to_parquet(run.path / "splits.parquet")
    (run.path / "stats.json").write_text("{}")
    assert refresh_files(run.path) == [
        f"splits.parquet was left as it was: it has no options of a split: eechips split {run.path}",
        "stats.json was left as it was: eechips stats has not written it",
    ]
    assert (run.path / "stats.json").read_text() == "{}"
