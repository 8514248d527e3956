"""Contact sheets of time series: a row for each place, a column for each date, one stretch."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import eechips
from eechips.errors import UsageError
from eechips.manifest.export import export_layers, export_parquet
from eechips.manifest.extensions import EXTENSIONS, PlanPart
from eechips.manifest.pictures.frame_rows import FrameRow, read_frame_rows
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.recipe import unit_id
from tests.support.commands import run_command
from tests.support.finished_run import geotiff_of, npy_of, write_run

DAYS = ("2019-01-05", "2019-04-09", "2019-07-02")
LEVELS = (9000, 1000, 3000)  # snow, and what grows
EDGE, GAP, HEAD = 16, 4, 32


def level(value: int) -> npt.NDArray[np.uint16]:
    return np.full((1, 8, 8), value, dtype=np.uint16)


def frames(series: str = "") -> dict[str, dict[str, Any]]:
    return {
        f"t{number:02d}": {"series": series, "frame": number, "dates": [f"{day}T17:00:00Z"], "start": day[:8] + "01"}
        for number, day in enumerate(DAYS)
    }


def units(count: int, **further: Any) -> list[Any]:
    """Places in the order of their numbers, each with its frames."""
    return [
        (
            {"kind": "point", "coordinates": [7.0 + n / 10, 46.5], "image": f"scene {n // 2}", **further}
            | ({"properties": {"plot": f"Müller {n}", "crop": "maize"}} if not further else {}),
            {f"t{k:02d}": ("tif", geotiff_of(level(value), column=n)) for k, value in enumerate(LEVELS)},
        )
        for n in range(count)
    ]


def labels(row: FrameRow) -> list[str]:
    return [chip.label for chip in row.chips]


def test_rows_are_places_and_columns_are_dates(tmp_path: Path) -> None:
    run = write_run(tmp_path, units(3), frames=frames())
    rows = read_frame_rows(run.path, rows=12, columns=24)
    assert [row.name for row in rows] == ["Müller 0", "Müller 1", "Müller 2"]
    assert [labels(row) for row in rows] == [list(DAYS)] * 3
    assert [chip.file for chip in rows[0].chips] == [
        f"{run.units['file'].iloc[0].removesuffix('t00.tif')}t{number:02d}.tif" for number in range(3)
    ]


def test_places_without_names_are_called_by_their_coordinates(tmp_path: Path) -> None:
    run = write_run(tmp_path, units(2, crop="maize"), frames=frames())
    assert [row.name for row in read_frame_rows(run.path, rows=12, columns=24)] == [
        "7.0000, 46.5000",
        "7.1000, 46.5000",
    ]


def test_a_measurement_of_a_table_is_no_name(tmp_path: Path) -> None:
    """CSV files have numbers as text, and fields are in the order of the alphabet."""
    measured = [
        ({**unit, "properties": {"biomass": f"-0.{n}", "plot": f"p{n}"}}, own) for n, (unit, own) in enumerate(units(2))
    ]
    run = write_run(tmp_path, measured, frames=frames())
    assert [row.name for row in read_frame_rows(run.path, rows=12, columns=24)] == ["p0", "p1"]


def test_frames_of_extensions_stand_in_the_row_of_their_place(tmp_path: Path) -> None:
    """Equal places have rows of their own; earlier and later periods, and further bands, are those of their places."""
    first = [({**unit, "frames": [{"start": 2}], "name": str(n)}, files) for n in "ab" for unit, files in units(1)]
    later = [({**unit, "frames": [{"start": 1}], "further": True}, files) for unit, files in first]
    bands = [({**unit, "completes": unit_id(dict(unit), "identity")}, files) for unit, files in later]
    run = write_run(tmp_path, [*first, *later, *bands], frames=frames())
    parts = [asdict(PlanPart(number, 2 * number, 2, "", "", {})) for number in range(3)]
    with Ledger(run.path / LEDGER_NAME) as ledger:
        ledger.note(EXTENSIONS, parts)
    rows = read_frame_rows(run.path, rows=12, columns=24)
    assert [row.name for row in rows] == ["a", "b"]
    assert [labels(row) for row in rows] == [[day for day in DAYS for _ in range(3)]] * 2
    assert len({chip.file for row in rows for chip in row.chips}) == 18


def test_many_places_are_drawn_and_many_frames_are_spread(tmp_path: Path) -> None:
    run = write_run(tmp_path, units(9), frames=frames())
    rows = read_frame_rows(run.path, rows=4, columns=2)
    assert len(rows) == 4
    assert [row.place for row in rows] == sorted(row.place for row in rows)
    assert {tuple(labels(row)) for row in rows} == {(DAYS[0], DAYS[2])}
    assert rows == read_frame_rows(run.path, rows=4, columns=2)


def test_a_frame_without_data_says_so_and_runs_without_frames_have_no_rows(tmp_path: Path) -> None:
    empty = {**frames()["t01"], "dates": [], "valid_fraction": 0.0}
    run = write_run(tmp_path / "a", units(1), frames={**frames(), "t01": empty})
    assert labels(read_frame_rows(run.path, rows=1, columns=9)[0]) == [DAYS[0], "2019-04-01 no data", DAYS[2]]
    plain = write_run(tmp_path / "b", units(1))
    assert read_frame_rows(plain.path, rows=1, columns=9) == []


def test_the_preview_has_one_stretch_and_the_dates_in_order(tmp_path: Path) -> None:
    """January's snow is the brightest of all frames; each by itself would be grey."""
    run = write_run(tmp_path, units(2), frames=frames())
    result = run_command("preview", run.path, "--edge", EDGE, status=0)
    assert result.output.splitlines()[-2:] == [
        f"row {number + 1}: Müller {number}: 2019-01-05 to 2019-07-02" for number in range(2)
    ]
    with Image.open(tmp_path / "preview.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (2 * (EDGE + GAP + HEAD) + GAP, 3 * (EDGE + GAP) + GAP, 3)
    middle = GAP + HEAD + EDGE // 2
    shown = [int(pixels[middle, GAP + k * (EDGE + GAP) + EDGE // 2, 0]) for k in range(3)]
    assert shown[0] == 255
    assert shown[1] == 0
    assert shown[2] == pytest.approx(255 * (3000 - 1000) / (9000 - 1000), abs=2)
    assert pixels[GAP : GAP + HEAD].min() < 100  # letters


@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_frames_of_one_file_are_shown_each(tmp_path: Path, suffix: str) -> None:
    stacked = np.concatenate([level(value) for value in LEVELS])
    if suffix == "tif":
        data = geotiff_of(stacked)
    else:
        several = [np.load(io.BytesIO(npy_of(level(value), np.ones((8, 8), dtype=np.bool_)))) for value in LEVELS]
        held = io.BytesIO()
        np.save(held, np.stack(several))
        data = held.getvalue()
    listed = [{"frame": k, "dates": [f"{day}T00:00:00Z"]} for k, day in enumerate(DAYS)]
    run = write_run(
        tmp_path,
        [({"kind": "point", "coordinates": [7.0, 46.5]}, {"S2": (suffix, data)})],
        frames={"S2": {"series": "S2", "bands": ["B1"], "frames": listed}},
    )
    (row,) = read_frame_rows(run.path, rows=9, columns=9)
    assert (row.name, labels(row)) == ("7.0000, 46.5000, S2", list(DAYS))
    with Image.open(eechips.preview(run, edge=EDGE)) as image:
        pixels = np.asarray(image)
    middle = GAP + HEAD + EDGE // 2
    assert [int(pixels[middle, GAP + k * (EDGE + GAP) + 8, 0]) for k in range(2)] == [255, 0]


def test_the_card_shows_the_series(tmp_path: Path) -> None:
    run = write_run(tmp_path, units(3), frames=frames())
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        export_parquet(ledger, run.path)
        export_layers(ledger, run.path)
    made = eechips.card(run)
    assert "![a row for each place, a column for each date](contact_sheet.png)" in made.readme.read_text()
    assert made.sheet is not None
    with Image.open(made.sheet) as image:
        assert image.size == (3 * (96 + GAP) + GAP, 3 * (96 + GAP + HEAD) + GAP)


def write_rows(folder: Path) -> Path:
    """Write a run of 210 units with 30 frames each."""
    listed = [{"frame": k, "dates": [f"2019-01-{k + 1:02d}T00:00:00Z"]} for k in range(30)]
    content = geotiff_of(np.repeat(level(0), 30, 0))
    units = [({"kind": "point", "coordinates": [n / 10, 0.0]}, {"S2": ("tif", content)}) for n in range(210)]
    return write_run(folder, units, frames={"S2": {"series": "S2", "bands": ["B1"], "frames": listed}})


@pytest.mark.slow
def test_all_frames_of_a_sheet_are_counted(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 to 5,000 chips, not 210 rows of 24"):
        eechips.preview(write_rows(tmp_path), rows=210, edge=8)


@pytest.mark.exhaustive
def test_a_sheet_may_have_almost_five_thousand_frames(tmp_path: Path) -> None:
    with Image.open(eechips.preview(write_rows(tmp_path), rows=208, edge=8)) as image:
        assert image.width == 24 * (8 + GAP) + GAP
