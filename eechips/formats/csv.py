"""Encode and validate CSV tables (RFC 4180, UTF-8, one header line). Missing values are empty cells."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import IO, Any

from eechips.errors import ValidationError
from eechips.formats.chip_format import EncodedFile, Expectation, FileMetadata

csv.field_size_limit(2**31 - 1)  # of the process: outlines are longer than its 131,072 characters
LINE_END = "\r\n"
"""End of the lines of writers to a :class:`CsvFile`. Before Python 3.13 the module csv quotes a cell only if it has one
of these characters: a carriage return in a cell would else end its row.
"""


class CsvFile(io.TextIOWrapper):
    """Lines of a writer that ends them with ``LINE_END``; in the file they end with a line feed alone.

    Args:
        file: binary; the end of a ``with`` block leaves it open.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="utf-8", newline="")

    def write(self, line: str) -> int:
        """Write a line, whatever line breaks its cells have."""
        return super().write(f"{line.removesuffix(LINE_END)}\n")

    def __exit__(self, *_: object) -> None:
        self.detach()


def encode(names: Sequence[str], columns: Sequence[Sequence[Any]]) -> EncodedFile:
    """Encode columns as CSV; floats are written with all digits, dates as ISO 8601."""
    buffer = io.BytesIO()
    with CsvFile(buffer) as file:
        writer = csv.writer(file, lineterminator=LINE_END)
        writer.writerow(names)
        writer.writerows([_text(value) for value in row] for row in zip(*columns, strict=True))
    rows = len(columns[0]) if columns else 0
    return EncodedFile(buffer.getvalue(), "csv", FileMetadata(bands=tuple(names), rows=rows))


def validate(data: bytes, expectation: Expectation) -> FileMetadata:
    """Return the metadata of a CSV file.

    Raises:
        ValidationError: if it is not UTF-8, has no header, rows of unequal length, or no end of line at its end.
    """
    try:
        lines = list(csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValidationError(f"not a CSV file: {error}") from None
    if not lines or not data.endswith(b"\n"):
        raise ValidationError("truncated CSV: no header, or the last line does not end")
    header, *rows = lines
    if any(len(row) != len(header) for row in rows):
        raise ValidationError("damaged CSV: rows of unequal length")
    if expectation.bands is not None and tuple(header) != expectation.bands:
        raise ValidationError(f"columns {', '.join(header)}, expected {', '.join(expectation.bands)}")
    return FileMetadata(bands=tuple(header), rows=len(rows))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, datetime):
        in_utc = value if value.tzinfo is None else value.astimezone(timezone.utc).replace(tzinfo=None)
        return f"{in_utc.isoformat()}Z"
    return str(value)
