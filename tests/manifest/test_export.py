"""Columns that are added to a finished run's manifest.parquet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

import eechips
from eechips.manifest.export import FAILURES_NAME, PARQUET_NAME, annotate, export_parquet
from eechips.manifest.failures import export_failures
from eechips.manifest.manifest_columns import Record, State
from eechips.manifest.run import Run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from tests.support.finished_run import geotiff_of, write_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    random = np.random.default_rng(0)
    chips = [random.integers(1, 200, (3, 16, 16), np.uint8) for _ in range(11)]
    chips.append(np.zeros((3, 16, 16), np.uint8))
    units = [({"n": n}, {"": ("tif", geotiff_of(chip, column=100 * n))}) for n, chip in enumerate(chips)]
    run = write_run(tmp_path / "run", [*units, ({"n": 12}, None)])
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        export_parquet(ledger, run.path)
    return run


def test_flags_and_splits_are_columns_of_the_manifest(run: Run) -> None:
    before = parquet.read_table(run.path / PARQUET_NAME)
    eechips.check(run)
    division = eechips.split(run, by="random")
    eechips.check(run)  # once more: no second column
    after = parquet.read_table(run.path / PARQUET_NAME)
    assert after.column_names == [*before.column_names, "split", "flags"]
    assert after.select(before.column_names).equals(before)
    flags = after["flags"].to_pylist()
    assert flags[:11] == [[]] * 11
    assert set(flags[11]) >= {"black", "constant"}
    assert flags[12] is None
    assert after["split"].to_pylist() == [*division.splits["split"], None]
    assert run.verify() == []


def test_a_run_that_is_not_finished_has_no_manifest(run: Run) -> None:
    (run.path / PARQUET_NAME).unlink()
    annotate(run.path, "split", {"a": "train"})
    assert not (run.path / PARQUET_NAME).exists()


def test_the_manifest_has_the_units_columns_and_geometries(tmp_path: Path) -> None:
    geopandas = pytest.importorskip("geopandas")
    chip = np.ones((3, 16, 16), np.uint8)
    place = {"kind": "point", "coordinates": [-105.0, 40.0]}
    square = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
    units = [
        ({**place, "class": "crop", "score": 1, "name": "a", "large": 2**53 + 1}, {"": ("tif", geotiff_of(chip))}),
        ({**place, "class": "town", "score": 2.5, "mixed": 3, "large": 0.5}, None),
        ({"kind": "region", "geometry": square, "properties": {"mixed": "x", "split": "mine"}}, None),
        ({"n": 3, "id": 7}, None),
    ]
    made = write_run(tmp_path / "run", units)
    with Ledger(made.path / LEDGER_NAME, readonly=True) as ledger:
        export_parquet(ledger, made.path)
    found = geopandas.read_parquet(made.path / PARQUET_NAME)
    assert found["class"].dropna().tolist() == ["crop", "town"]
    assert found["score"].dropna().tolist() == [1.0, 2.5]
    assert found["mixed"].dropna().tolist() == ["3", "x"]
    assert found["large"].dropna().tolist() == [str(2**53 + 1), "0.5"]  # float64 would lose a digit
    assert found["unit_id"].dropna().tolist() == [7]
    assert found["unit_split"].tolist()[2] == "mine"
    assert found["unit_name"].tolist()[0] == "a"
    assert found.crs == "OGC:CRS84"
    first, second, third, fourth = found.geometry
    assert (first.geom_type, second.wkt, third.geom_type, fourth) == ("Polygon", "POINT (-105 40)", "Polygon", None)
    annotate(made.path, "split", {found["id"][0]: "train"})
    again = geopandas.read_parquet(made.path / PARQUET_NAME)
    assert (again["split"][0], again["unit_split"][2]) == ("train", "mine")
    assert again.geometry.equals(found.geometry)


def test_failures_have_the_units_columns_and_no_polygons(tmp_path: Path) -> None:
    square = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
    made = write_run(tmp_path / "run", [({"kind": "region", "region": "A", "geometry": square, "state": "CO"}, None)])
    with Ledger(made.path / LEDGER_NAME) as ledger:
        ledger.record([Record(position=0, state=State.FAILED_PERMANENT, error_class="RecipeError", error="no")])
        export_failures(ledger, made.path)
    text = (made.path / FAILURES_NAME).read_text()
    assert text.splitlines()[0] == "position,id,state,error_class,error,traceback,attempts,region,unit_state"
    assert text.splitlines()[1].endswith(",A,CO")
    assert "Polygon" not in text


def test_failures_have_no_secrets_of_units(tmp_path: Path) -> None:
    value = {"href": "https://a:s3cret@h/x?sig=s3cret", "properties": {"token": "of a column"}}
    made = write_run(tmp_path / "run", [({"kind": "call", "value": value}, None)])
    with Ledger(made.path / LEDGER_NAME) as ledger:
        ledger.record([Record(position=0, state=State.FAILED_PERMANENT, error_class="RecipeError", error="no")])
        export_failures(ledger, made.path)
    text = (made.path / FAILURES_NAME).read_text()
    assert text.splitlines()[1].endswith(",https://***@h/x?sig=***,of a column")


class Interrupting(dict[str, str]):
    """Values that the user interrupts while they are looked up."""

    def get(self, *_: object) -> str:
        raise KeyboardInterrupt


def test_an_interrupted_export_leaves_no_temporary_file(run: Run) -> None:
    before = {path.name for path in run.path.iterdir()}
    with pytest.raises(KeyboardInterrupt):
        annotate(run.path, "split", Interrupting())
    assert {path.name for path in run.path.iterdir()} == before
