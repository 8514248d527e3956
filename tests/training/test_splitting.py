"""``eechips split`` from end to end."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine

import eechips
from eechips.errors import LeakageError, UsageError
from eechips.formats import geotiff
from eechips.training.sample_reader import read_samples
from eechips.training.splits import split_table
from tests.support.commands import run_command
from tests.support.finished_run import Files, pictures, write_run

Unit = tuple[dict[str, object], Files]


def chip(east: float, north: float, **fields: object) -> Unit:
    """A unit whose GeoTIFF is 640 m wide and lies so many metres from a place in Colorado."""
    values = np.full((1, 8, 8), 7, dtype=np.uint8)
    grid = Affine(80.0, 0.0, 400_000.0 + east, 0.0, -80.0, 4_400_000.0 + north)
    data = geotiff.encode(values, np.ones((8, 8), dtype=bool), ("B1",), rasterio.crs.CRS.from_epsg(32613), grid)
    return {"kind": "point", "coordinates": [east, north], **fields}, {"": ("tif", data)}


def spread(count: int, seed: int = 0, *, reach: float = 200_000.0) -> list[Unit]:
    draw = np.random.default_rng(seed)
    places = (draw.integers(0, int(reach / 80), (count, 2)) * 80.0).tolist()
    return [chip(x, y, eco_name=f"zone {n % 4}", date=f"20{10 + n % 10}-06-01") for n, (x, y) in enumerate(places)]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    write_run(folder, spread(200))
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A run of 200 chips."""
    return Path(shutil.copytree(original, tmp_path / "run"))


@pytest.mark.slow
def test_splits_are_written_and_reported(folder: Path) -> None:
    done = run_command("split", folder, "--block-size", "20km", "--near", "drop", status=0)
    assert re.search(r"^train +1\d\d +(6[89]|7[01])\.\d% +70\.0% +\d+$", done.output, flags=re.M)
    assert len(re.findall(r"^zone \d +", done.output, flags=re.M)) == 4
    assert "No two chips of different splits overlap" in done.output
    table = pd.read_parquet(folder / "splits.parquet")
    assert table.columns.tolist() == ["id", "split", "block", "home"]
    assert table["id"].tolist() == read_samples(folder).ids
    assert split_table.read(folder).to_dict() == dict(zip(table["id"], table["split"], strict=True))
    assert table.groupby("block")["home"].nunique().max() == 1
    options = split_table.options(folder)
    assert (options["by"], options["block_size"], options["seed"], options["buffer"]) == ("blocks", 20_000.0, 0, 0.0)
    assert read_samples(folder).of_split("train").ids == table.loc[table["split"] == "train", "id"].tolist()


def test_the_same_options_give_the_same_bytes(folder: Path) -> None:
    run_command("split", folder, "--near", "drop", status=0)
    before = (folder / "splits.parquet").read_bytes()
    again = run_command("split", folder, "--near", "drop")
    assert "Blocks that kept their earlier split" in again.output
    assert (folder / "splits.parquet").read_bytes() == before
    (folder / "splits.parquet").unlink()
    run_command("split", folder, "--near", "drop", status=0)
    assert (folder / "splits.parquet").read_bytes() == before
    run_command("split", folder, "--near", "drop", "--seed", "1", status=0)
    assert (folder / "splits.parquet").read_bytes() != before


@pytest.mark.slow
@pytest.mark.parametrize("by", ["blocks", "random"])
def test_chips_that_come_later_move_no_others(tmp_path: Path, by: str) -> None:
    write_run(tmp_path / "few", spread(100)[:60])
    eechips.split(tmp_path / "few", by=by, near="drop")
    before = split_table.table(tmp_path / "few")
    write_run(tmp_path / "many", spread(100))
    (tmp_path / "many" / "splits.parquet").write_bytes((tmp_path / "few" / "splits.parquet").read_bytes())
    found = eechips.split(tmp_path / "many", by=by, near="drop")
    after = split_table.table(tmp_path / "many")
    assert found.kept == before["block"].nunique()
    assert after.loc[before.index, "home"].tolist() == before["home"].tolist()
    shares = after["home"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.7, abs=0.03)
    assert repr(found).startswith(f"<eechips split: {(after['split'] == 'train').sum()} train, ")
    fresh = eechips.split(tmp_path / "many", by=by, near="drop", fresh=True)
    assert fresh.kept == 0


def test_blocks_keep_their_split_while_all_their_chips_are_away(tmp_path: Path) -> None:
    write_run(tmp_path / "few", spread(40)[:20])
    write_run(tmp_path / "many", spread(40))
    eechips.split(tmp_path / "many", ratios="1,1")
    table = split_table.table(tmp_path / "many")
    for folder, other in (("few", "many"), ("many", "few")):
        shutil.copy(tmp_path / other / "splits.parquet", tmp_path / folder)
        eechips.split(tmp_path / folder, ratios="1,1")
    assert split_table.table(tmp_path / "many").equals(table)


def test_a_planted_overlap_is_refused_with_the_pair(tmp_path: Path) -> None:
    units = [chip(50_000.0 * n, 0.0, site="ab"[n % 2]) for n in range(8)]
    write_run(tmp_path / "clean", units)
    run_command("split", tmp_path / "clean", "--by", "column:site", "--ratios", "1,1", status=0)
    write_run(tmp_path / "planted", [*units, chip(50_320.0, 160.0, site="a")])
    samples = read_samples(tmp_path / "planted")
    done = run_command("split", tmp_path / "planted", "--by", "column:site", "--ratios", "1,1", status=1)
    assert "Leakage: 2 chips overlap chips of another split; nothing was written" in done.output
    assert all(identifier[:16] in done.output for identifier in (samples.ids[1], samples.ids[8]))
    assert "  overlap" in done.output
    assert not (tmp_path / "planted" / "splits.parquet").exists()
    dropped = run_command(
        "split", tmp_path / "planted", "--by", "column:site", "--ratios", "1,1", "--near", "drop", status=0
    )
    assert "Left out, in no split: 1" in dropped.output
    assert (split_table.read(tmp_path / "planted") == "none").sum() == 1


def test_the_buffer_is_measured_between_edges(tmp_path: Path) -> None:
    """Two chips of 640 m whose corners are 5,640 m apart have 5 km between them; UTM's are 0.1% too long there."""
    write_run(tmp_path, [chip(0, 0, site="a"), chip(5_640, 0, site="b"), chip(60_000, 0, site="b")])
    run_command("split", tmp_path, "--by", "column:site", "--ratios", "1,1")
    for buffer, status in (("4.99km", 0), ("5.01km", 1)):
        done = run_command("split", tmp_path, "--check", "--buffer", buffer, status=status)
    assert re.search(r"  \w+ \w{16}  \w+ \w{16}  [45],\d\d\d\.\d m apart", done.output)
    with pytest.raises(LeakageError) as raised:
        eechips.split(tmp_path, by="column:site", ratios="1,1", buffer="6km")
    [pair] = raised.value.pairs
    assert pair[4] == pytest.approx(5000.0, rel=2e-3)


def test_splits_that_somebody_edited_are_checked(folder: Path) -> None:
    units = [chip(0, 0), chip(320, 0), *spread(20)]
    write_run(folder.parent / "edited", units)
    place = folder.parent / "edited"
    eechips.split(place, ratios="1,1")
    run_command("split", place, "--check", status=0)
    table = pd.read_parquet(place / "splits.parquet")
    table.loc[[0, 1], "split"] = ["train", "test"]
    split_table.write(place, table, split_table.options(place))
    done = run_command("split", place, "--check", status=1)
    assert "Leakage: 2 chips overlap chips of another split; the splits are too close" in done.output


def test_splits_of_another_program_are_checked(tmp_path: Path) -> None:
    """It need not know of blocks, nor of our metadata."""
    write_run(tmp_path, [chip(0, 0), chip(320, 0), chip(9000, 0)])
    table = pd.DataFrame({"id": read_samples(tmp_path).ids, "split": ["fit", "fit", "look"]})
    table.to_parquet(tmp_path / "splits.parquet")
    run_command("split", tmp_path, "--check", status=0)
    with pytest.raises(UsageError, match="was not written by eechips split"):
        eechips.split(tmp_path, ratios="1,1", block_size="2km")
    (tmp_path / "splits.parquet").unlink()
    assert eechips.split(tmp_path, ratios="1,1", block_size="2km").kept == 0
    table.assign(split=["fit", "look", "look"]).to_parquet(tmp_path / "splits.parquet")
    run_command("split", tmp_path, "--check", status=1)
    table[["split"]].to_parquet(tmp_path / "splits.parquet")
    refused = run_command("split", tmp_path, "--check", status=2)
    assert "has no columns id and split" in refused.output


def test_duplicates_in_another_split_are_reported(tmp_path: Path) -> None:
    """Far from each other, and the same picture."""
    draw = np.random.default_rng(0)
    units = [chip(9000.0 * n, 0.0, site="ab"[n % 2]) for n in range(6)]
    for number, (_, files) in enumerate(units):
        with rasterio.MemoryFile(files[""][1]) as memory, memory.open() as source:
            grid, crs = source.transform, source.crs
        source_of = np.random.default_rng(7) if number in (0, 3, 4) else draw
        values = source_of.integers(0, 255, (1, 8, 8), dtype=np.uint8)
        files[""] = ("tif", geotiff.encode(values, np.ones((8, 8), dtype=bool), ("B1",), crs, grid))  # type: ignore[index]
    write_run(tmp_path, units)
    assert eechips.split(tmp_path, by="column:site", ratios="1,1").doubled == 0  # nobody has looked
    eechips.check(tmp_path)
    done = run_command("split", tmp_path, "--by", "column:site", "--ratios", "1,1")
    assert "Chips that duplicate one of another split: 1 " in done.output


def test_splits_by_time_are_in_order_of_time(folder: Path) -> None:
    done = run_command("split", folder, "--by", "time", "--date-field", "date", "--ratios", "0.6,0.2,0.2", status=0)
    assert "Not measured: the distance between splits" in done.output
    assert split_table.options(folder)["cuts"] == ["2016-06-01", "2018-06-01"]
    dates = pd.Series(read_samples(folder).field("date"), index=read_samples(folder).ids)
    spans = dates.groupby(split_table.read(folder)).agg(["min", "max"])
    assert spans.loc["train", "max"] < spans.loc["validation", "min"]
    assert spans.loc["validation", "max"] < spans.loc["test", "min"]
    cut = run_command("split", folder, "--by", "time", "--cuts", "2012-01-01", "--ratios", "1,1")
    assert re.search(r"^train +40 +20\.0%", cut.output, flags=re.M)


def test_later_chips_do_not_move_the_cuts(tmp_path: Path) -> None:
    units = [chip(9000.0 * n, 0, day=f"2020-01-{1 + n:02}") for n in range(20)]
    early, late = write_run(tmp_path / "early", units[:10]).path, write_run(tmp_path / "late", units).path
    options = {"by": "time", "date_field": "day", "ratios": "1,1"}
    before = eechips.split(early, **options).splits["split"].tolist()
    assert before == ["train"] * 5 + ["test"] * 5
    shutil.copy(early / "splits.parquet", late)
    assert eechips.split(late, **options).splits["split"].tolist() == before + ["test"] * 10
    assert eechips.split(late, **options, fresh=True).splits["split"].tolist() == ["train"] * 10 + ["test"] * 10


@pytest.mark.slow
def test_ratios_of_an_earlier_split_are_those_that_the_user_wrote(tmp_path: Path) -> None:
    """0.7, 0.2 and 0.1 add up to less than 1: divided by their sum, and again, they differ."""
    units = [chip(3000.0 * n, 0) for n in range(90)]
    early, late = write_run(tmp_path / "early", units[:60]).path, write_run(tmp_path / "late", units).path
    options = {"block_size": "3km", "ratios": "0.7,0.2,0.1"}
    before = eechips.split(early, **options)
    shutil.copy(early / "splits.parquet", late)
    again = eechips.split(late, **options | {"ratios": before.options["ratios"]}).splits["split"].tolist()
    assert again[:60] == before.splits["split"].tolist()


def test_cuts_that_the_user_names_are_not_those_of_the_ratios_later(tmp_path: Path) -> None:
    write_run(tmp_path, [chip(9000.0 * n, 0, day=f"2020-01-{1 + n:02}") for n in range(10)])
    options = {"by": "time", "date_field": "day", "ratios": "1,1"}
    named = eechips.split(tmp_path, **options, cuts=["2020-01-03"])
    assert named.splits["split"].value_counts().to_dict() == {"train": 2, "test": 8}
    assert eechips.split(tmp_path, **options).splits["split"].value_counts().to_dict() == {"train": 5, "test": 5}


def test_a_composite_over_a_cut_is_in_no_split(tmp_path: Path) -> None:
    periods = [("2020-01-01", "2020-02-01"), ("2020-02-01", "2020-03-01"), ("2020-01-15", "2020-02-15")]
    write_run(tmp_path, [chip(9000.0 * n, 0, start=start, end=end) for n, (start, end) in enumerate(periods)])
    run_command("split", tmp_path, "--by", "time", "--cuts", "2020-02-01", "--ratios", "1,1", status=0)
    assert split_table.read(tmp_path).tolist() == ["train", "test", "none"]


def test_chips_of_an_h3_cell_share_a_split(folder: Path) -> None:
    h3 = pytest.importorskip("h3")
    eechips.split(folder, by="h3", resolution=4, near="drop")
    table = split_table.table(folder)
    assert table["block"].map(h3.get_resolution).eq(4).all()
    assert table.groupby("block")["home"].nunique().max() == 1


def test_chips_of_several_dates_stay_together(tmp_path: Path) -> None:
    write_run(tmp_path, [chip(5000.0 * (n % 10), 0, number=n) for n in range(40)])
    for by in ("random", "blocks"):
        eechips.split(tmp_path, by=by, block_size="1km")
        assert [len(set(part)) for part in np.array(split_table.read(tmp_path)).reshape(4, 10).T] == [1] * 10


def test_chips_of_one_day_are_not_split_by_time(tmp_path: Path) -> None:
    write_run(tmp_path, [chip(5000.0 * n, 0, date="2020-06-01") for n in range(3)])
    with pytest.raises(UsageError, match="the chips are of 1 day, too few for 3 splits: give fewer `ratios`"):
        eechips.split(tmp_path, by="time")


def test_pictures_without_a_place_are_split_but_not_by_place(tmp_path: Path) -> None:
    write_run(tmp_path, pictures(30))
    refused = run_command("split", tmp_path, status=2)
    assert "30 of 30 results have no crs and transform" in refused.output
    done = run_command("split", tmp_path, "--by", "random", status=0)
    assert "Not measured: 30 results without crs and transform" in done.output
    run_command("split", tmp_path, "--by", "random", "--buffer", "1km", status=2)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--by", "moon"], "--by must be blocks, h3, time, random or column:NAME, not 'moon'"),
        (["--by", "column:moon"], "no sample has a field 'moon'; there are: date, eco_name"),
        (["--cuts", "2020-01-01"], "--cuts needs --by time"),
        (["--by", "time", "--cuts", "2020-01-01"], "3 splits have 2 cuts between them, not 1"),
        (["--by", "time", "--cuts", "soon"], "is not days in order"),
        (["--by", "time", "--date-field", "eco_name"], "200 of 200 chips have no date"),
        (["--date-field", "date"], "--date-field needs --by time"),
        (["--block-size", "10"], "--block-size '10' is not a distance"),
        (["--block-size", "1m"], "--block-size must be at least 10 m"),
        (["--block-size", "9000km"], "blocks are too few for 3 splits|block is too few for 3 splits"),
        (["--ratios", "1"], "--ratios '1' is not two or three numbers"),
        (["--stratum", "moon"], "no sample has a field 'moon'"),
        (["--near", "drop", "--buffer", "2000km"], "no chips are left in train"),
        (["--check"], "has no splits yet: eechips split"),
    ],
)
def test_invalid_options_are_refused(folder: Path, words: list[str], says: str) -> None:
    done = run_command("split", folder, *words, status=2)
    assert re.search(says, done.output)
    assert not (folder / "splits.parquet").exists()


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        eechips.split(tmp_path)
    with pytest.raises(UsageError, match=r"`seed` is a whole number, not 1\.5"):
        eechips.split(tmp_path, seed=1.5)
    write_run(tmp_path, [({"kind": "point"}, None)])
    with pytest.raises(UsageError, match="has no files to split yet"):
        eechips.split(tmp_path)
    with pytest.raises(UsageError, match="was not checked yet"):
        eechips.training.quality.quality_table.read(tmp_path)  # type: ignore[attr-defined]


def test_the_file_records_its_options(folder: Path) -> None:
    eechips.split(folder, ratios="fit=0.5,look=0.5", seed=3, near="drop", buffer="2km", stratum="none")
    assert json.loads(json.dumps(split_table.options(folder))) == {
        "by": "blocks",
        "ratios": {"fit": 0.5, "look": 0.5},
        "block_size": 10_000.0,
        "stratum": "none",
        "seed": 3,
        "buffer": 2000.0,
        "near": "drop",
    }
