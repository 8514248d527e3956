"""Loading, stacking and describing runs whose results lie in an object store, or were checked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

import eechips
from eechips.errors import UsageError
from eechips.manifest.export import export_layers, export_parquet
from eechips.manifest.run import Run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.training.quality import quality_table
from eechips.training.quality.chip_pixels import decode
from tests.support.finished_run import layered, move_results, pictures, write_run

ADDRESS = "memory://loading/results"


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Run]:
    """A run whose files are in memory, as in a bucket, and not beside the ledger."""
    run = write_run(tmp_path / "run", layered(4))
    files = fsspec.filesystem("memory")
    for path in sorted((run.path / "chips").rglob("*.*")):
        files.pipe_file(f"loading/results/{path.relative_to(run.path).as_posix()}", path.read_bytes())
    shutil.move(run.path / "chips", tmp_path / "kept")
    move_results(run, ADDRESS)
    with Ledger(run.path / LEDGER_NAME) as ledger:
        export_parquet(ledger, run.path)
        export_layers(ledger, run.path)
    yield run
    files.rm("loading", recursive=True)


def test_results_in_an_object_store_are_read_from_there(stored: Run, tmp_path: Path) -> None:
    frame = eechips.load(stored, rows="files")
    assert frame["path"].str.startswith(f"{ADDRESS}/chips/").all()
    cube = eechips.stack(frame[frame["width"].notna()], layer="S2", lazy=False)
    for row in frame.xs("S2", level="layer").itertuples():
        data = (tmp_path / "kept" / Path(row.file).name).read_bytes()
        np.testing.assert_array_equal(cube.S2.sel(sample=row.id), decode(data, "tif").values)


def test_a_card_of_results_in_an_object_store(stored: Run) -> None:
    made = eechips.card(stored)
    assert made.sheet is not None
    assert f"The files are at `{ADDRESS}`" in made.readme.read_text()
    assert f'"{ADDRESS}/chips/*.tif"' in made.croissant.read_text()


def test_masks_become_nan_and_values_stay(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", layered(3))
    plain, masked = (eechips.stack(run, masked=value) for value in (False, True))
    assert [str(each.dtype) for each in plain.data_vars.values()] == ["uint16", "float32", "uint8"]
    assert [str(each.dtype) for each in masked.data_vars.values()] == ["float32"] * 3
    for name in ("S2", "DEM"):
        valid = ~np.isnan(masked[name].values)
        assert 0.6 < valid.mean() < 0.95
        np.testing.assert_array_equal(masked[name].values[valid], plain[name].values[valid].astype(np.float32))


def test_flags_are_joined(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", pictures(6))
    data = (run.path / run.units["file"][0]).read_bytes()
    (run.path / run.units["file"][4]).write_bytes(data)  # another chip's content
    eechips.check(run.path, quiet=True)
    flags = quality_table.flags(run.path)
    assert any(flags.values())
    frame = eechips.load(run)
    files = eechips.load(run, rows="files")
    assert [list(each) for each in frame["flags"]] == [list(flags[identifier]) for identifier in frame["id"]]
    table = quality_table.read(run.path).set_index("file")["flags"]
    assert [list(each) for each in files["flags"]] == [list(table[name]) for name in files["file"]]
    text = None
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        export_parquet(ledger, run.path)
        text = eechips.card(run).readme.read_text()
    assert "### Quality" in text
    assert f"read {len(frame)} samples" in text


def test_chips_of_two_sizes_say_how_to_choose(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [*pictures(3, size=8), *pictures(5, size=16, seed=1)[3:]])
    with pytest.raises(UsageError, match=r"8, 8 of 3; 16, 16 of 2\): select some, as frame\[frame.height == …\]"):
        eechips.stack(run)
    frame = eechips.load(run)
    cube = eechips.stack(frame[frame["height"] == 16])
    assert cube.sizes["sample"] == 2
    assert np.isnan(cube["transform"]).all()  # PNG files that nobody has placed
