"""Define the tables of a ledger, and refuse databases that have others."""

from __future__ import annotations

import re

from eechips.errors import StorageError
from eechips.manifest.database import Connection
from eechips.manifest.unit_record import MANIFEST

SCHEMA_VERSION = 4

SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE units ({", ".join(column.definition for column in MANIFEST)});
"""
# Made after the plan is stored: that is faster than keeping them up to date row by row.
INDEXES = """
CREATE INDEX units_state ON units (state, position);
CREATE UNIQUE INDEX units_file ON units (file) WHERE file IS NOT NULL;
CREATE UNIQUE INDEX units_replaces ON units (replaces) WHERE replaces IS NOT NULL;
"""


# Only in ledgers whose units have several files: those beyond a unit's first.
FURTHER = (
    "CREATE TABLE IF NOT EXISTS further_files"
    " (file TEXT PRIMARY KEY, position INTEGER NOT NULL, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL);"
    "CREATE INDEX IF NOT EXISTS further_files_position ON further_files (position)"
)

# Only in such ledgers: metadata of every file, also the first of a unit. Files of scripts have the layer ''.
LAYERS = (
    "CREATE TABLE IF NOT EXISTS layers"
    " (file TEXT PRIMARY KEY, position INTEGER NOT NULL, layer TEXT NOT NULL, metadata TEXT NOT NULL);"
    "CREATE INDEX IF NOT EXISTS layers_position ON layers (position)"
)
OF_SEVERAL = ("further_files", "layers")

# Only in ledgers of runs that have exported results: the batch tasks of units that are not recorded yet.
EXPORTS = (
    "CREATE TABLE IF NOT EXISTS exports"
    " (position INTEGER NOT NULL, number INTEGER NOT NULL, operation TEXT NOT NULL, url TEXT NOT NULL,"
    " requests INTEGER NOT NULL, seconds REAL NOT NULL, started TEXT NOT NULL, PRIMARY KEY (position, number))"
)


def check_schema(database: Connection, *, has_plan: bool) -> None:
    """Refuse a database with anything but plain tables: a view may never end, and a trigger may undo writes.

    Raises:
        StorageError: if it has, or lacks what a ledger has.
    """
    rows = database.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master").fetchall()
    for kind, name, sql in rows:
        if kind not in ("table", "index") or not re.match(r"(CREATE (TABLE|(UNIQUE )?INDEX) |$)", sql):
            raise StorageError(f"{database.path} is not a ledger of eechips: it has the {kind} {name!r}")
    if has_plan:
        columns = {row[1] for row in database.execute("PRAGMA table_info(units)")}
        lacking = sorted({column.name for column in MANIFEST} - columns)
        if lacking or ("table", "meta") not in {row[:2] for row in rows}:
            raise StorageError(f"{database.path} is damaged: it lacks {', '.join(lacking) or 'the table meta'}")
