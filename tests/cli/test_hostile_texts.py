"""Texts of a stranger's run reach the terminal, CSV and HTML of every command that reads it only after the filter."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eechips.manifest.export import export_parquet
from eechips.manifest.failures import export_failures
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.training.cards.card_text import MARK
from eechips.training.cards.dataset_card import card
from tests.support.commands import run_command
from tests.support.finished_run import geotiff_of, write_run
from tests.support.hostile_texts import FORGED, HOSTILE_TEXTS, UNSAFE, unsafe_parts
from tests.support.programs import run_program
from tests.support.terminal import run_on_terminal

SHORT = [text for text in HOSTILE_TEXTS if len(text) < 1000]
COMMAND = f"eechips sample --dataset 'x\x1b[1A\x1b[2K' --name '\nExecute it? [y/N] {FORGED}{' ' * 200}{FORGED}'"

# Words of each command that reads a run, and its files that a person opens.
COMMANDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("status", "run"): (),
    ("status", "run", "--json"): (),
    ("failures", "run", "--limit", "0"): (),
    ("failures", "run", "--traceback"): (),
    ("failures", "run", "--json"): (),
    ("check", "run"): (),
    ("split", "run"): (),
    ("stats", "run"): (),
    ("card", "run"): ("run/README.md", "run/croissant.json"),
    ("catalog", "build", "run", "--out", "stac", "--date", "2021-01-01"): (),
    ("report", "run"): ("run/report.html",),
    ("preview", "run"): (),
    ("verify", "run"): (),
    ("lock", "run"): (),
    ("retry", "run"): (),
    ("trust", "run"): (),
    ("retry", "run", "--unit", HOSTILE_TEXTS[0]): (),
    ("failures", HOSTILE_TEXTS[9]): (),
    (HOSTILE_TEXTS[1],): (),
    ("--" + HOSTILE_TEXTS[9],): (),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a stranger's run; each of its texts is hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    random = np.random.default_rng(0)
    units: list[tuple[dict[str, Any], Any]] = []
    for number, text in enumerate(SHORT):
        chip = geotiff_of(random.integers(0, 255, (1, 16, 16), dtype=np.uint8), column=3 * number)
        units.append(({"kind": "point", "number": number, "class": text, f"field {text}": text}, {"": ("tif", chip)}))
    units += [({"kind": "point", "number": 100 + n, "class": text}, None) for n, text in enumerate(HOSTILE_TEXTS)]
    run = write_run(
        folder / "run",
        units,
        command=COMMAND,
        recipe=SHORT[0],
        endpoint="https://x\x1b]0;title\x07.example",
        directory=f"/tmp/{SHORT[1]}",
        notes=SHORT,
        datasets=[{"id": text, "title": text, "licence": text, "citation": text} for text in SHORT],
        parameters=dict(zip(SHORT, SHORT, strict=True)),
        versions={"eechips": SHORT[2]},
        started=SHORT[3],
    )
    with closing(sqlite3.connect(run.path / LEDGER_NAME)) as ledger:
        first = len(SHORT)
        for number, text in enumerate(HOSTILE_TEXTS):
            values = (text, f"{text}\n{text}", f"Error {text}", f"chips/{number}", first + number)
            ledger.execute("UPDATE units SET error=?, traceback=?, error_class=?, name=? WHERE position=?", values)
        ledger.commit()
    with Ledger(run.path / LEDGER_NAME) as ledger:
        export_parquet(ledger, run.path)
        export_failures(ledger, run.path)
    return folder


@pytest.mark.exhaustive
@pytest.mark.slow
def test_nothing_unsafe_reaches_a_terminal(place: Path) -> None:
    code = (
        "import json, sys\n"
        "from eechips.cli import main\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    print('COMMAND', ascii(words), flush=True)\n"
        "    try:\n"
        "        main(words, prog_name='eechips')\n"
        "    except SystemExit as end:\n"
        "        print('STATUS', end.code, flush=True)\n"
    )
    words = [sys.executable, "-c", code, json.dumps(list(COMMANDS))]
    status, shown = run_on_terminal(words, cwd=place, question="[y/N]: ", answer="n\n")
    assert status == 0
    outputs = shown.split("COMMAND ")[1:]
    assert len(outputs) == len(COMMANDS)
    for (command, files), output in zip(COMMANDS.items(), outputs, strict=True):
        assert unsafe_parts(output) == [], command
        assert "a bug in eechips" not in output, output
        assert "Traceback (most" not in output, output
        for file in files:
            text = (place / file).read_text(encoding="utf-8")
            assert not UNSAFE.search(text), file
            assert file.endswith("json") or "\\u001b" not in text
    assert shown.count("\nExecute it? [y/N]: ") == 2
    assert shown.count("\nTrust it? [y/N]: ") == 1


@pytest.mark.parametrize(
    "command",
    [c for c in COMMANDS if c[0] in ("status", "failures", "retry", "trust", "--" + HOSTILE_TEXTS[9])],
    ids=lambda c: ascii(c[0])[:12],
)
def test_nothing_unsafe_is_printed(command: tuple[str, ...], place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    assert unsafe_parts(run_command(*command).output) == []


def test_a_command_of_a_stranger_is_shown_whole_and_marked(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    lines = run_command("retry", "run").output.splitlines()
    marked = [line.removeprefix("  | ") for line in lines if line.startswith("  | ")]
    assert "".join(marked).count(FORGED) == 2
    assert all(len(line) < 80 for line in lines if line.startswith("  | "))


def test_csv_for_people_has_no_formula(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    printed = run_command("failures", "run", "--csv", "--traceback").output
    for text in (printed, (place / "run" / "failures.csv").read_text(encoding="utf-8")):
        rows = list(csv.reader(io.StringIO(text, newline="")))
        assert len(rows) == 1 + len(HOSTILE_TEXTS)
        cells = [cell for row in rows for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "\r", "-"))]
        assert unsafe_parts("\n".join(cells).replace(f"\n{FORGED}", "")) == []


def test_json_for_programs_keeps_the_texts(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    units = json.loads(run_command("failures", "run", "--json").output)["units"]
    assert [unit["unit"]["class"] for unit in units] == list(HOSTILE_TEXTS)


def test_the_preview_of_a_notebook_is_clean(place: Path) -> None:
    from eechips import open_run

    assert not UNSAFE.search(html.unescape(open_run(place / "run")._repr_html_()))


@pytest.mark.parametrize("source", ["javascript:alert(1)", "https://a.b) <b>", "https://a.b/c\n\n<b>"])
def test_a_card_has_no_element_or_link_of_a_stranger(tmp_path: Path, source: str) -> None:
    tag = "<a b=c`|>"
    chip = geotiff_of(np.ones((1, 4, 4), dtype=np.uint8))
    run = write_run(
        tmp_path / "run",
        [({"kind": "point"}, {"": ("tif", chip)})],
        datasets=[{"id": "X", "source": source}],
        parameters={"start": tag, "end": tag},
        **dict.fromkeys(("started", "finished", "seed", "identity"), tag),
    )
    with closing(Ledger(run.path / LEDGER_NAME, readonly=True)) as ledger:
        export_parquet(ledger, run.path)
    text = card(run).readme.read_text().partition(MARK)[2]
    assert "<" not in re.sub(r"(`{3,}).*?\1|`[^`]*`", "", text, flags=re.DOTALL)
    assert "](javascript" not in text


@pytest.mark.parametrize("command", ["update", "retry"])
def test_a_command_that_no_shell_reads_is_no_bug(tmp_path: Path, command: str) -> None:
    write_run(tmp_path / "run", [({"kind": "point"}, None)], command="eechips sample --dataset 'X")
    assert "was made by a program" in run_command(command, tmp_path / "run", status=2).output


def test_warnings_name_options_once_and_those_of_others_stay_as_they_are() -> None:
    """A script's own log lost lines that it had shown before, and backquotes, in a command that runs it."""
    program = (
        "import logging\n"
        "from eechips.cli.group import main\n"
        "main(['--version'], standalone_mode=False)\n"
        "for _ in range(2):\n"
        "    for name in ('eechips.geo', 'other'):\n"
        "        logging.getLogger(name).warning('say `id_field`')\n"
    )
    result = run_program(sys.executable, "-c", program, status=0)
    assert result.stderr.splitlines() == ["say --id-field", "say `id_field`", "say `id_field`"]
