"""``eechips card``: correct, readable by Croissant's own library, and reproducible."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import eechips
from eechips.datasets import find_dataset
from eechips.errors import StorageError, UsageError
from eechips.geo.grid import Grid
from eechips.manifest.export import export_layers, export_parquet
from eechips.manifest.pictures.frame_rows import draw_caption
from eechips.manifest.run import Run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.reports.contact_sheet import preview
from eechips.reports.page import report
from eechips.training.cards.dataset_card import card
from eechips.training.cards.summary import bounds_of, summarize
from eechips.training.quality.chip_pixels import decode
from eechips.training.quality.quality_check import check
from eechips.training.sample_reader import read_samples
from eechips.training.splits import split_table
from tests.support.commands import run_command
from tests.support.finished_run import layered, pictures, png_of, write_run

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of mlcroissant

INFO: dict[str, Any] = {
    "command": "eechips sample --dataset S2 --total 6 --out outputs/it",
    "source": "https://earthengine-highvolume.googleapis.com",
    "endpoint": "https://earthengine-highvolume.googleapis.com",
    "identity": "ab" * 32,
    "seed": 7,
    "started": "2026-11-20T10:00:00.000Z",
    "finished": "2026-11-20T11:00:00.000Z",
    "versions": {"eechips": "0.1.0"},
    "datasets": [
        {
            "id": "ESA/WorldCover/v200",
            "title": "ESA WorldCover 10m v200",
            "licence": "CC-BY-4.0",
            "citation": "Zanaga et al., 2022",
            "source": "https://developers.google.com/earth-engine/datasets/catalog/ESA_WorldCover_v200",
        },
        {"id": "users/somebody/map|1"},
    ],
}


def finished(folder: Path, units: Any, **info: Any) -> Run:
    run = write_run(folder, units, **{**INFO, **info})
    with Ledger(folder / LEDGER_NAME, readonly=True) as ledger:
        export_parquet(ledger, folder)
        export_layers(ledger, folder)
    return run


def split_up(run: Run) -> None:
    ids = run.units["id"].tolist()
    names = (["train", "train", "test"] * len(ids))[: len(ids)]
    # A column that came later than this test is filled with what a table without it has.
    frame = pd.DataFrame({"id": ids, "split": names, "block": "b", "home": names})
    split_table.write(run.path, frame, {"by": "blocks", "seed": 3, "block_size": 10_000.0})


def records(run: Run, name: str) -> list[dict[str, Any]]:
    """Read a record set by Croissant's own library; names are without that of the set."""
    import mlcroissant  # with PyTorch, which takes seconds

    dataset = mlcroissant.Dataset(str(run.path / "croissant.json"))
    assert not dataset.metadata.ctx.issues.errors
    return [{key.rpartition("/")[2]: value for key, value in record.items()} for record in dataset.records(name)]


def rows_of(text: str, heading: str) -> dict[str, list[str]]:
    """The table after a heading, by its first column."""
    lines = text.split(heading, 1)[1].split("\n\n")[1].splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {row[0]: row[1:] for row in cells if set("".join(row)) != {"-"}}


@pytest.mark.slow
def test_croissant_reads_pictures(tmp_path: Path) -> None:
    run = finished(tmp_path / "naip", pictures(6))
    split_up(run)
    made = card(run, creator="A. Person", url="https://example.org/naip", version="1.2.0")
    units = run.units
    found = records(run, "units")
    assert [record["id"].decode() for record in found] == units["id"].tolist()
    assert [record["eco_name"].decode() for record in found] == [unit["eco_name"] for unit in units["unit"]]
    for record in found:
        data = (run.path / record["file"].decode()).read_bytes()
        assert hashlib.sha256(data).hexdigest() == record["sha256"].decode()
    parts = {record["id"].decode(): record["split"].decode() for record in records(run, "splits")}
    assert parts == split_table.read(run.path).to_dict()
    images = {record["file"].decode(): np.asarray(record["image"]) for record in records(run, "images-png")}
    assert sorted(images) == sorted(units["file"])
    for name, image in images.items():
        values = decode((run.path / name).read_bytes(), "png").values
        np.testing.assert_array_equal(np.moveaxis(image, -1, 0), values)
    import mlcroissant

    metadata = mlcroissant.Dataset(str(made.croissant)).metadata
    assert (metadata.name, str(metadata.version), metadata.url) == ("naip", "1.2.0", "https://example.org/naip")
    assert metadata.license == ["https://creativecommons.org/licenses/by/4.0/"]


@pytest.mark.slow
def test_a_file_that_was_changed_is_found_by_croissant(tmp_path: Path) -> None:
    import mlcroissant

    run = finished(tmp_path / "run", pictures(3))
    card(run)
    table = pd.read_parquet(run.path / "manifest.parquet")
    table.iloc[:2].to_parquet(run.path / "manifest.parquet")
    with pytest.raises(mlcroissant.GenerationError) as caught:
        records(run, "units")
    assert "not identical with the reference" in str(caught.value.__cause__)


def front_matter(run: Run) -> dict[str, Any]:
    text = (run.path / "README.md").read_text().split("---")[1]
    found: dict[str, Any] = yaml.safe_load(text)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("is_split", [True, False])
@pytest.mark.parametrize("kind", ["pictures", "layers", "rasters"])
def test_a_run_is_a_data_set_of_hugging_face(tmp_path: Path, kind: str, is_split: bool) -> None:
    units = pictures(6) if kind == "pictures" else layered(6)
    if kind == "rasters":
        units = [(unit, {"": files["S2"]}) for unit, files in units]
    run = finished(tmp_path / "run", units)
    if is_split:
        split_up(run)
    card(run)
    (config,) = front_matter(run)["configs"]
    parts = split_table.read(run.path).to_dict() if is_split else dict.fromkeys(run.units["id"], "train")
    found = {}
    for each in config["data_files"]:
        table, *patterns = each["path"]
        rows = pq.read_table(run.path / table).to_pylist()
        found |= {row["id"]: each["split"] for row in rows}
        names = [row[name] for row in rows for name in row if name.endswith(("file_name", "file"))]
        assert names
        assert all((run.path / name).is_file() for name in names)
        assert patterns == ([] if kind == "rasters" else ["**/*.png"])
    assert found == parts
    if kind != "rasters":
        assert config.get("metadata_filenames", ["metadata.parquet"]) == [e["path"][0] for e in config["data_files"]]

    datasets = pytest.importorskip("datasets", minversion="4")
    loaded = datasets.load_dataset(str(run.path), cache_dir=str(tmp_path / "cache"))
    assert {name: len(each) for name, each in loaded.items()} == dict(Counter(parts.values()))
    units_by_id = dict(zip(run.units["id"], run.units["unit"], strict=True))
    files_by_id = dict(zip(run.units["id"], run.units["file"], strict=True))
    for row in (row for each in loaded.values() for row in each):
        assert row["number"] == units_by_id[row["id"]]["number"]
        if kind == "pictures":
            values = decode((run.path / files_by_id[row["id"]]).read_bytes(), "png").values
            np.testing.assert_array_equal(np.moveaxis(np.asarray(row["image"]), -1, 0)[: len(values)], values)


def test_samples_that_came_after_the_split_are_not_described_as_training_samples(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", pictures(4))
    frame = pd.DataFrame(
        {"id": run.units["id"][:3], "split": ["train", "train", "test"], "block": "b", "home": "train"}
    )
    split_table.write(run.path, frame, {"by": "blocks", "seed": 3, "block_size": 10_000.0})
    with pytest.raises(UsageError, match=r"1 of 4 samples came after the run was split: eechips split"):
        card(run)


def test_a_foreign_table_is_not_overwritten(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", pictures(2))
    (run.path / "metadata.parquet").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"metadata\.parquet was not written by eechips"):
        card(run)
    card(run, overwrite=True)
    card(run)


@pytest.mark.slow
def test_croissant_reads_layers(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", layered(4))
    card(run)
    found = records(run, "files")
    layers = run.layers.reset_index()
    assert [record["file"].decode() for record in found] == layers["file"].tolist()
    assert [record["layer"].decode() for record in found] == layers["layer"].tolist()
    assert found[0]["bands"] == [b"B1", b"B2", b"B3", b"B4"]
    assert found[0]["transform"] == layers["transform"][0]
    assert [record["class"] for record in records(run, "units")] == [unit["class"] for unit in run.units["unit"]]


def test_samples_may_have_different_numbers_of_files(tmp_path: Path) -> None:
    *others, (unit, files) = layered(3)
    assert files is not None
    run = finished(tmp_path / "run", [*others, (unit, dict(list(files.items())[:2]))])
    assert "3 samples of up to 3 files each" in card(run).readme.read_text()


def test_the_counts_of_the_readme_are_right(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", [*layered(7), ({"kind": "point", "number": 99}, None)])
    split_up(run)
    made = card(run, title="Land & <cover> | of *it*")
    text = made.readme.read_text()
    assert "# Land &amp; &lt;cover&gt; \\| of \\*it\\*\n" in text
    assert "7 samples of 3 files each" in text
    facts = rows_of(text, "## What is in it")
    assert facts["samples"] == ["7"]
    assert facts["files"][0].startswith("21, ")
    assert facts["units of the plan"] == ["7 done, 1 failed permanent"]
    classes = rows_of(text, "### By class")
    counts = pd.DataFrame(
        {"class": [s.stratum for s in read_samples(run)], "split": [s.split for s in read_samples(run)]}
    ).value_counts()
    assert classes["class"] == ["samples", "train", "test"]
    for value in (0, 10, 20):
        train, test = (int(counts.get((value, name), 0)) for name in ("train", "test"))
        assert classes[str(value)] == [str(train + test), str(train), str(test)]
    assert rows_of(text, "### Splits")["train"][0] == str(int(counts[:, "train"].sum()))
    sources = rows_of(text, "## Sources and licence")
    assert sources["users/somebody/map\\|1"] == ["`users/somebody/map/1`", "unknown: see its page", ""]
    assert "seed" in rows_of(text, "eechips sample --dataset S2")
    assert "ynthetic" not in text
    assert "contact_sheet.png" in text
    assert made.sheet is not None
    assert decode(made.sheet.read_bytes(), "png").values.shape[0] == 3


@pytest.mark.parametrize(
    ("parameters", "years"),
    [
        ({"start": "2019-03-01", "end": "2020-01-01"}, "2019"),
        ({"start": "2018-12-01", "end": "2020-01-02"}, "2018–2020"),
        ({"start": "2019-03-01"}, "[year]"),
        ({}, "[year]"),
    ],
)
def test_citations_have_the_years_of_the_data(tmp_path: Path, parameters: dict[str, str], years: str) -> None:
    known = find_dataset("S2")
    assert known is not None
    dataset = {"id": known.id, "citation": known.citation}
    run = finished(tmp_path / "run", pictures(2), datasets=[dataset], parameters=parameters)
    made = card(run)
    cited = f"Contains modified Copernicus Sentinel data {years} (European Union/ESA/Copernicus)"
    assert json.loads(made.croissant.read_text())["citeAs"] == cited
    assert cited.replace("[", "\\[") in made.readme.read_text().replace("\\]", "]")


def test_the_card_names_the_demo_planet(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", pictures(3), source="local:demo", notes=["The demo planet is synthetic."])
    text = card(run).readme.read_text()
    assert "> **Synthetic.** Nothing here was observed" in text
    assert "tags: [earth-observation, remote-sensing, synthetic]" in text
    described = json.loads((run.path / "croissant.json").read_text())["description"]
    assert "from the synthetic demo planet, not from the Earth" in described


@pytest.mark.parametrize(
    ("info", "told"),
    [
        ({}, "by Google Earth Engine;"),
        ({"source": "local:assets"}, "by a local Earth Engine from local files;"),
        (
            {"source": "http://127.0.0.1:8700", "endpoint": "http://127.0.0.1:8700"},
            "which may have served the synthetic",
        ),
        (
            {"source": "https://ee.example.org", "endpoint": "https://ee.example.org"},
            "by the service at ee.example.org;",
        ),
    ],
)
def test_the_card_names_the_source_of_pixels(tmp_path: Path, info: dict[str, str], told: str) -> None:
    assert told in card(finished(tmp_path / "run", pictures(1), **info)).readme.read_text()


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        run = finished(tmp_path / name / "data", layered(5))
        split_up(run)
        card(run)
        card(run)  # again: nothing adds up
        names = ("README.md", "croissant.json", "contact_sheet.png")
        found.append([(run.path / each).read_bytes() for each in names])
    assert found[0] == found[1]
    assert str(tmp_path).encode() not in b"".join(found[0])


def test_a_foreign_readme_is_kept(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", pictures(2))
    (run.path / "README.md").write_text("# Mine\n")
    with pytest.raises(UsageError, match="was not written by eechips"):
        card(run)
    assert not (run.path / "croissant.json").exists()
    assert card(run, overwrite=True).readme.read_text() != "# Mine\n"


def test_a_card_of_which_some_files_were_written_is_made_again(tmp_path: Path) -> None:
    """As after a process that was killed: what it has written is known as its own."""
    run = finished(tmp_path / "run", pictures(2))
    (run.path / "croissant.json").mkdir()
    with pytest.raises(UsageError, match=r"croissant\.json: Is a directory"):
        card(run, overwrite=True)
    (run.path / "croissant.json").rmdir()
    assert card(run).croissant.is_file()


@pytest.mark.parametrize(
    "name", ["croissant.json", "contact_sheet.png", "splits.parquet", "report.html", "preview.png"]
)
def test_a_foreign_file_in_the_run_folder_is_kept(tmp_path: Path, name: str) -> None:
    run = finished(tmp_path / "run", pictures(2))
    others = {"splits.parquet": split_up, "report.html": report, "preview.png": preview}
    make = others.get(name, card)
    (run.path / name).write_bytes(b"mine")
    with pytest.raises(UsageError, match=rf"{name} was not written by eechips"):
        make(run)
    assert (run.path / name).read_bytes() == b"mine"
    (run.path / name).unlink()
    make(run)
    make(run)  # in the place of its own


def test_findings_that_eechips_has_not_written_stay(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", pictures(2))
    pd.DataFrame({"mine": [1]}).to_parquet(run.path / "quality.parquet")
    before = (run.path / "quality.parquet").read_bytes()
    with pytest.raises(StorageError, match=r"quality\.parquet is damaged"):
        check(run)
    assert (run.path / "quality.parquet").read_bytes() == before


def test_the_card_tells_of_extensions_and_of_samples_that_came_after_the_check(tmp_path: Path) -> None:
    parts = [{"command": f"eechips sample --total {count}"} for count in (2, 3)]
    checked = finished(tmp_path / "checked", pictures(2))
    extended = finished(tmp_path / "extended", pictures(3), extensions=parts)
    check(checked)
    card(checked)
    assert "`eechips check` read 2 samples" in (checked.path / "README.md").read_text()
    (extended.path / "quality.parquet").write_bytes((checked.path / "quality.parquet").read_bytes())
    card(extended)
    text = (extended.path / "README.md").read_text()
    assert "`eechips check` read 2 of 3 samples" in text
    assert "```sh\neechips sample --total 2\neechips sample --total 3\n```" in text


def test_a_result_of_that_name_stays(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", pictures(2))
    with Ledger(run.path / LEDGER_NAME) as ledger:
        further = [(0, "croissant.json", 2, hashlib.sha256(b"{}").hexdigest())]
        with ledger.transaction():
            ledger.add_files(further, ())
    (run.path / "croissant.json").write_bytes(b"{}")
    with pytest.raises(UsageError, match=r"croissant\.json is a result of the run"):
        card(run)
    assert (run.path / "croissant.json").read_bytes() == b"{}"


def test_unfinished_and_empty_runs_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", pictures(2))
    with pytest.raises(UsageError, match="is not finished"):
        card(run)
    empty = finished(tmp_path / "empty", [({"kind": "point"}, None)])
    with pytest.raises(UsageError, match="no results"):
        card(empty)


def test_the_command_writes_the_card(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", pictures(2))
    result = run_command("card", run.path, "--title", "It", status=0)
    assert [Path(line).name for line in result.output.splitlines()] == [
        "README.md",
        "croissant.json",
        "contact_sheet.png",
    ]
    assert eechips.card is card


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(name=st.text(min_size=1, max_size=20))
def test_hostile_names_stay_in_their_cells(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    folder = tmp_path_factory.mktemp("hostile")
    blank = png_of(np.zeros((3, 4, 4), dtype=np.uint8))
    run = finished(folder / "run", [({"kind": "point", "eco_name": name}, {"": ("png", blank)})])
    text = card(run, title=name).readme.read_text()
    table = text.split("### By ecoregion\n\n", 1)[1].split("\n\n", 1)[0].splitlines()
    assert len(table) == 3
    assert len(re.split(r"(?<!\\)(?:\\\\)*\|", table[2])) == 4
    assert "<" not in table[2].replace("&lt;", "")
    (record,) = records(run, "units")
    if '"' not in name and "\\" not in name and name.isprintable():
        assert record["eco_name"].decode() == name


@pytest.mark.parametrize("columns", [(358_000.0,), (358_000.0, 480_000.0)])
def test_bounds_reach_over_the_antimeridian(columns: tuple[float, ...]) -> None:
    found = bounds_of([Grid("EPSG:32601", (10.0, 0.0, x, 0.0, -10.0, 7_300_000.0), 1024, 1024) for x in columns])
    assert found is not None
    west, south, east, north = found
    assert west > 179.0
    assert -180.0 < east < -176.0
    assert 65.0 < south < north < 66.0


@given(st.lists(st.tuples(st.integers(-180, 179), st.integers(-80, 79)), min_size=1, max_size=6))
def test_bounds_are_the_least_that_hold_everything(corners: list[tuple[int, int]]) -> None:
    grids = [Grid("EPSG:4326", (1.0, 0.0, float(x), 0.0, -1.0, float(y + 1)), 1, 1) for x, y in corners]
    found = bounds_of(grids)
    assert found is not None
    west, south, east, north = found
    assert (south, north) == (min(y for _, y in corners), max(y for _, y in corners) + 1)
    covered = {(x + 180) % 360 for x, _ in corners}
    width = (east - west) % 360 or 360.0
    least = min(max((x - start) % 360 for x in covered) + 1 for start in covered)
    assert width == least
    assert all((x - (west + 180)) % 360 + 1 <= width for x in covered)
    assert bounds_of([]) is None


def test_a_summary_opens_no_file(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", pictures(50))
    for path in (run.path / "chips").iterdir():
        path.unlink()
    found = summarize(read_samples(run))
    assert (found.samples, found.files, found.stratum) == (50, 50, "eco_name")


@pytest.mark.slow
def test_samples_are_counted_by_the_label_of_their_file(tmp_path: Path) -> None:
    """Also if its column has a name of its own; names of plots and rounded measurements are no labels."""
    labels = ["oak | elm", "oak | elm", "beech", "beech", "beech", "oak | elm"]
    for name in ("Label", "tree <species>"):
        units = []
        for number, ((_, files), label) in enumerate(zip(pictures(6), labels, strict=True)):
            own = {"plot": f"p{number}", "height": 2.5, name: label}
            units.append(({"kind": "point", "properties": own}, files))
        run = finished(tmp_path / name, units)
        split_up(run)
        text = card(run).readme.read_text()
        counted = rows_of(text, "### By " + name.replace("<", "&lt;").replace(">", "&gt;"))
        assert [counted[label][0] for label in ("beech", "oak \\| elm")] == ["3", "3"]
        assert len(next(iter(counted.values()))) == 3  # samples, and two splits
        sheet = decode((run.path / "contact_sheet.png").read_bytes(), "png").values
        above = draw_caption("beech", 3 * 100 - 4)
        np.testing.assert_array_equal(sheet[:, 4 : 4 + above.shape[0], 4 : 4 + above.shape[1]], [above] * 3)
        assert [record[name.replace(" ", "_")].decode() for record in records(run, "units")] == labels


@pytest.mark.parametrize("image", ["WORLDCOVER", "ESA/WorldCover/v200:Map"])
def test_classes_of_known_maps_have_names(tmp_path: Path, image: str) -> None:
    blank = png_of(np.zeros((3, 4, 4), dtype=np.uint8))
    units = [({"kind": "point", "class": code, "n": code}, {"": ("png", blank)}) for code in (10, 80, 77)]
    run = finished(tmp_path / "run", units, parameters={"class_image": image})
    classes = rows_of(card(run).readme.read_text(), "### By class")
    assert list(classes) == ["class", "10 Tree cover", "77", "80 Permanent water bodies"]
    assert [record["class"] for record in records(run, "units")] == [10, 80, 77]


def test_statistics_and_footprints_of_other_data_are_described(tmp_path: Path) -> None:
    units = [(unit, {"": files["S2"]}) for unit, files in layered(12)]
    run = finished(tmp_path / "run", units)
    other = write_run(tmp_path / "pretraining", units[:2])
    eechips.split(run, by="random", away_from=other.path, ratios="1,1")
    eechips.stats(run, quiet=True)
    text = card(run).readme.read_text()
    plain = text.replace("\\", "")
    assert "away_from pretraining, distance 0, away drop, near_footprints 2" in plain
    assert str(tmp_path) not in text.partition("### Splits")[2].partition("## ")[0]
    assert "Samples of `none` are too close to another split, or to the footprints of other data." in text
    assert "`stats.json` has means" in text
    listed = {each["@id"]: each for each in json.loads((run.path / "croissant.json").read_text())["distribution"]}
    assert listed["stats.json"]["sha256"] == hashlib.sha256((run.path / "stats.json").read_bytes()).hexdigest()
    assert listed["stats.json"]["encodingFormat"] == "application/json"
