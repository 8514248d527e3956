"""The reference pages state what the code does."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

import eechips
from eechips import errors
from eechips.cli.group import INTERRUPTED, NEWS, WRONG
from eechips.formats import CHIP_FORMATS, TABLE_FORMATS
from eechips.manifest.export import export_layers, export_parquet
from eechips.manifest.manifest_columns import LAYERS, State
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.training.formats import PACK_FORMATS
from tests.docs.pages import DOCS, read_page, read_section, read_table, unquote
from tests.support.engine_service import serving
from tests.support.finished_run import layered, write_run


@pytest.mark.slow
def test_generated_parts_are_up_to_date() -> None:
    """To update them: ``python docs/generate.py``."""
    done = subprocess.run(
        [sys.executable, str(DOCS / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"out of date: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("name", ["manifest.parquet", "layers.parquet"])
def test_columns_of_parquet_files_are_documented_with_their_types_in_order(name: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", layered(2))
    with Ledger(run.path / LEDGER_NAME) as ledger:
        export_parquet(ledger, run.path)
        export_layers(ledger, run.path)
    schema = pyarrow.parquet.read_schema(run.path / name)
    columns = [(field.name, re.sub(r"list<\w+: (\w+)>", r"list<\1>", str(field.type))) for field in schema]
    own = {"number", "class", "zone"}  # of the units of this run
    lacking = {each.name for each in LAYERS if each.is_optional}  # this run has no values of them
    table = read_table(read_section(read_page("reference/manifest.md"), f"## {name}"), "column", "dtype")
    documented = [(name, row["dtype"]) for row in table if (name := unquote(row["column"])) not in lacking]
    assert documented == [(column, kind) for column, kind in columns if column not in own]
    assert all(row["meaning"].endswith(".") for row in table)


def test_states_of_units_are_documented_with_what_the_next_run_does() -> None:
    table = read_table(read_page("reference/manifest.md"), "state", "meaning", "the next run")
    assert [unquote(row["state"]) for row in table] == [state.value for state in State]
    assert [row["the next run"] == "fetches it" for row in table] == [state.is_open for state in State]


RECIPE = '''"""Two tables."""

from eechips import Table


def get_requests():
    return [{"place": "a"}, {"place": "b"}]


def get_result(index, unit):
    return Table([{"value": 1}])
'''


def test_fields_of_run_json_are_those_of_a_run(tmp_path: Path) -> None:
    recipe = tmp_path / "tables.py"
    recipe.write_text(RECIPE)
    with serving() as service:
        run = eechips.run(
            recipe, out=tmp_path / "run", endpoint=service.url, project="test", executor="threads", quiet=True
        )
    assert run.is_complete
    found = json.loads((tmp_path / "run" / "run.json").read_text())
    table = {unquote(row["field"]): row["type"] for row in read_table(read_page("reference/run-json.md"), "field")}
    assert table.pop("assembly") == "object"  # of some runs, as those that follow
    for name in ("bands", "assembled", "code_changes", "extensions"):
        assert table.pop(name) == "array"
    for name in ("checksums_only", "plans_gradually"):  # of scenes and scripts
        assert table.pop(name) == "boolean"
    assert table.keys() == found.keys()
    types = {str: "string", dict: "object", list: "array", int: "integer", type(None): "null"}
    for name, value in found.items():
        assert types[type(value)] in table[name].split(" or "), name


def test_error_classes_are_documented_with_their_parents() -> None:
    classes = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.EechipsError) and kind.__module__ == errors.__name__
    ]
    table = read_table(read_page("reference/errors.md"), "class", "parent", "cause", "cure")
    documented = {unquote(row["class"]): unquote(row["parent"]) for row in table}
    assert documented == {kind.__name__: kind.__bases__[0].__name__ for kind in classes}
    for row in table:
        assert row["cause"].endswith("."), row
        assert row["cure"].endswith("."), row


def test_errors_stand_below_their_parents() -> None:
    seen = {"Exception"}
    for row in read_table(read_page("reference/errors.md"), "class", "parent"):
        assert unquote(row["parent"]) in seen
        seen.add(unquote(row["class"]))


def test_exit_statuses_are_those_of_the_command_line() -> None:
    table = read_table(read_page("reference/exit-statuses.md"), "status", "meaning")
    assert [int(row["status"]) for row in table] == [0, 1, WRONG, NEWS, INTERRUPTED]


def test_formats_are_those_that_can_be_written() -> None:
    text = read_page("reference/formats.md")
    for heading, known in (
        ("## Chips", CHIP_FORMATS.names),
        ("## Tables", TABLE_FORMATS),
        ("## Packs", PACK_FORMATS.names),
    ):
        rows = read_table(read_section(text, heading), "format")
        assert [unquote(row["format"]) for row in rows] == list(known)
