"""Decide how a column of the manifest is stored: its type, its definition in SQLite and in Parquet, its description.

:mod:`eechips.manifest.unit_record` declares the columns. Everything else derives from them: the tables of the ledger,
``manifest.parquet`` and ``layers.parquet``, the check of runs of others, the recovery, and the documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from types import NoneType
from typing import Any, get_args, get_type_hints

_SQL = {int: "INTEGER", float: "REAL", str: "TEXT"}
_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")


@dataclass(frozen=True)
class Column:
    """A column. Annotate a field of a class with it, and :func:`columns_of` adds name, type and nullability.

    Attributes:
        meaning: sentences in Markdown, with links from ``docs/reference``.
        element_type: type of the elements, of a column of lists: the ledger stores these as JSON.
        is_digest: whether the ledger stores the hexadecimal text as bytes.
        is_sum: whether its values add up over all runs, and stay when a unit is fetched again.
        initial: value of a planned unit; null if None.
        layer_order: place among the columns of a file in ``layers.parquet``; None for columns of units only.
        of_frame: whether frames of the same file have values of their own.
        name: name of the column.
        value_type: type of the values: int, float, str or bytes.
        is_nullable: whether values may be missing.
        is_optional: whether a table in which no row has a value lacks the column.
    """

    meaning: str
    element_type: type | None = None
    is_digest: bool = False
    is_sum: bool = False
    initial: Any = None
    layer_order: int | None = None
    of_frame: bool = False
    name: str = ""
    value_type: type = str
    is_nullable: bool = True
    is_optional: bool = False

    @property
    def definition(self) -> str:
        """The definition in ``CREATE TABLE``."""
        if self.name == "position":
            return "position INTEGER PRIMARY KEY"
        null = "" if self.is_nullable else " NOT NULL"
        default = "" if self.initial is None else f" DEFAULT {self.initial!r}"
        return f"{self.name} {'BLOB' if self.is_digest else _SQL[self.value_type]}{null}{default}"

    @property
    def selection(self) -> str:
        """The expression that selects its values from the ledger."""
        return f"lower(hex({self.name}))" if self.is_digest else self.name

    @cached_property
    def arrow(self) -> Any:
        """The type of its values in Parquet, as a ``pyarrow.DataType``."""
        import pyarrow as pa

        types = {int: pa.int64(), float: pa.float64(), str: pa.string(), bytes: pa.binary()}
        return types[self.value_type] if self.element_type is None else pa.list_(types[self.element_type])

    @property
    def plain_meaning(self) -> str:
        """The meaning without Markdown."""
        return _LINK.sub(r"\1", self.meaning).replace("`", "")


def columns_of(rows: type) -> tuple[Column, ...]:
    """Return the columns that the fields of a dataclass are annotated with, in their order."""
    hints = get_type_hints(rows, include_extras=True)
    columns = []
    for field in fields(rows):
        hint = hints[field.name]
        column = next(
            (annotation for annotation in getattr(hint, "__metadata__", ()) if isinstance(annotation, Column)), None
        )
        if column is not None:
            kinds = get_args(hint.__origin__) or (hint.__origin__,)
            kind = next(base for base in (int, float, str) for annotation in kinds if issubclass(annotation, base))
            columns.append(replace(column, name=field.name, value_type=kind, is_nullable=NoneType in kinds))
    return tuple(columns)


def names_of(columns: Iterable[Column]) -> tuple[str, ...]:
    """Return the names of columns."""
    return tuple(column.name for column in columns)


def schema_of(columns: Iterable[Column]) -> Any:
    """Return the ``pyarrow.Schema`` of a table."""
    import pyarrow as pa

    return pa.schema([(column.name, column.arrow) for column in columns])
