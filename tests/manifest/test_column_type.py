"""The columns of the manifest: declared once, and everything else derives from the declaration."""

from __future__ import annotations

import ast
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

import eechips
from eechips.errors import StorageError
from eechips.manifest import manifest_columns
from eechips.manifest.manifest_columns import COLUMNS, FILE_COLUMNS, MANIFEST, Column, columns_of
from eechips.manifest.sqlite.database import SCHEMA_VERSION
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.untrusted_run import check_values
from tests.support.finished_run import layered, write_run

SOURCES = Path(eechips.__file__).parent


def _listed(path: Path) -> Iterator[tuple[int, set[str]]]:
    """Yield line and names of columns of every tuple, list, set, dict and text, except docstrings.

    A file that does not have too many of them is not parsed.
    """
    source = path.read_text(encoding="utf-8")
    if not _are_too_many(COLUMNS.keys() & re.findall(r"\w+", source)):
        return
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            names = {each.value for each in node.elts if isinstance(each, ast.Constant)}
        elif isinstance(node, ast.Dict):
            names = {each.value for each in node.keys if isinstance(each, ast.Constant)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            names = set(re.findall(r"\w+", node.value))
        else:
            continue
        yield node.lineno, {str(name) for name in names} & COLUMNS.keys()


def _are_too_many(names: set[str]) -> bool:
    """A module may select columns for a purpose of its own: fewer than half of a row, or two thirds of a file."""
    return len(names) > len(MANIFEST) / 2 or len(names.intersection(FILE_COLUMNS)) > len(FILE_COLUMNS) * 2 / 3


@pytest.mark.slow
def test_no_other_module_lists_the_columns() -> None:
    found = [
        f"{path.relative_to(SOURCES)}:{line}: {', '.join(sorted(names))}"
        for folder in (
            "manifest",
            "engine",
            "lockfile",
            "training",
            "reports",
            "catalogs",
            "beam",
            "builtin_recipes",
            "cli",
        )
        for path in sorted((SOURCES / folder).rglob("*.py"))
        if path != Path(manifest_columns.__file__)
        for line, names in _listed(path)
        if _are_too_many(names)
    ]
    assert found == []


def test_a_column_is_one_annotated_field() -> None:
    @dataclass
    class Row:
        position: int
        cloud_share: Annotated[float | None, Column("Share of clouds, see [masks](masks.md) and `--clear`.")] = None
        names: Annotated[str, Column("Names.", element_type=str, initial="[]")] = ""

    # The annotations of a local class are looked up in the module.
    share, names = columns_of(Row)
    assert (share.definition, share.selection, str(share.arrow)) == ("cloud_share REAL", "cloud_share", "double")
    assert share.plain_meaning == "Share of clouds, see masks and --clear."
    assert names.definition == "names TEXT NOT NULL DEFAULT '[]'"
    assert manifest_columns.schema_of([names]).field("names").type == names.arrow


def test_the_ledger_of_this_version_has_these_columns(tmp_path: Path) -> None:
    """Ledgers are on disks: other columns, or others types, are another ``SCHEMA_VERSION``."""
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        ledger.store_plan({}, ())
    with closing(sqlite3.connect(tmp_path / LEDGER_NAME)) as database, database:
        stored = database.execute("SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info('units')")
        found = [" ".join(str(each) for each in row) for row in stored]
    database.close()
    assert SCHEMA_VERSION == 5
    assert found == [
        "position INTEGER 0 None 1",
        "id BLOB 1 None 0",
        "unit TEXT 1 None 0",
        "name TEXT 1 None 0",
        "replaces INTEGER 0 None 0",
        "state TEXT 1 'planned' 0",
        "attempts INTEGER 1 0 0",
        "requests INTEGER 1 0 0",
        *(f"{name} TEXT 0 None 0" for name in ("error_class", "error", "traceback", "file")),
        "bytes INTEGER 0 None 0",
        "sha256 TEXT 0 None 0",
        *(f"{name} INTEGER 0 None 0" for name in ("width", "height")),
        *(f"{name} TEXT 0 None 0" for name in ("bands", "dtype", "crs", "transform")),
        "valid_fraction REAL 0 None 0",
        "rows INTEGER 0 None 0",
        *(f"{name} TEXT 0 None 0" for name in ("sources", "dates")),
        "shared_request INTEGER 0 None 0",
        "method TEXT 0 None 0",
        *(f"{name} REAL 0 None 0" for name in ("seconds", "eecu_seconds")),
        "finished TEXT 0 None 0",
    ]


@pytest.mark.parametrize("column", [column for column in MANIFEST if column.name != "position"], ids=lambda c: c.name)
def test_a_value_of_another_type_is_damage_in_every_column(column: Column, tmp_path: Path) -> None:
    """A blob in ``method`` and ``shared_request`` was accepted: these were missing in a list of their own."""
    run = write_run(tmp_path / "run", layered(2))
    with closing(sqlite3.connect(run.path / LEDGER_NAME)) as database, database:
        database.execute(f"UPDATE units SET {column.name} = x'c3' WHERE position = 0")
    database.close()
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger, pytest.raises(StorageError, match="is damaged: unit"):
        check_values(ledger)


@pytest.mark.parametrize("name", manifest_columns.LAYER_COLUMNS)
def test_a_value_of_another_type_is_damage_in_the_metadata_of_a_file(name: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", layered(2))
    with closing(sqlite3.connect(run.path / LEDGER_NAME)) as database, database:
        database.execute(f"UPDATE layers SET metadata = json_set(metadata, '$.{name}', json('true')) WHERE rowid = 1")
    database.close()
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger, pytest.raises(StorageError, match="is damaged: unit"):
        check_values(ledger)
