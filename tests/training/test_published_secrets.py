"""What is made of a run to be passed on has no secret of its units: cards, packs and catalogues."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from eechips.manifest.export import export_layers, export_parquet
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.training.sample_reader import read_samples
from tests.support.commands import run_command
from tests.support.finished_run import layered, write_run

SECRET = "5ecre7-7oken"


def text_of(path: Path) -> str:
    """Return the content of a file; that of Parquet is compressed."""
    if path.suffix == ".parquet":
        return str(pq.read_table(path).to_pylist())
    return path.read_bytes().decode("latin-1")


@pytest.mark.parametrize(
    "words",
    [
        ("card", "run"), ("catalog", "run", "--date", "2021-01-01"),
        ("pack", "run", "--to", "webdataset", "--out", "new"),
        ("pack", "run", "--to", "tfrecord", "--out", "new"), ("pack", "run", "--to", "parquet", "--out", "new"),
    ],
)  # fmt: skip
def test_nothing_made_of_a_run_has_a_secret_of_its_units(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = {
        "href": f"https://me:{SECRET}@host/a.tif?sig={SECRET}",
        "token": SECRET,
        "note": "of the unit",
        "properties": {"token": "of a column"},
    }
    run = write_run(tmp_path / "run", [({**unit, **place}, files) for unit, files in layered(3)])
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        export_parquet(ledger, run.path)
        export_layers(ledger, run.path)
    before = set(tmp_path.rglob("*"))
    run_command(*words, status=0)
    made = {path.name: text_of(path) for path in tmp_path.rglob("*") if path.is_file() and path not in before}
    assert made
    assert any("of the unit" in text for text in made.values())
    assert any("of a column" in text for text in made.values())
    assert [name for name, text in made.items() if SECRET in text] == []


def test_a_card_counts_labels_without_their_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    labels = ["water", f"forest https://host/a?sig={SECRET}"]
    units = [
        ({"kind": "point", "coordinates": [number, 0], "properties": {"label": labels[number % 2]}}, files)
        for number, (_, files) in enumerate(layered(8))
    ]
    run = write_run(tmp_path / "run", units)
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        export_parquet(ledger, run.path)
        export_layers(ledger, run.path)
    run_command("card", "run", status=0)
    card, croissant = (text_of(tmp_path / "run" / name) for name in ("README.md", "croissant.json"))
    assert SECRET not in card + croissant
    assert "| water | 4 |" in card
    assert "| forest https://host/a?sig" in card


def test_the_fields_of_a_sample_are_redacted_once(tmp_path: Path) -> None:
    [sample, *_] = read_samples(write_run(tmp_path, layered(2)))
    assert sample.fields is sample.fields
