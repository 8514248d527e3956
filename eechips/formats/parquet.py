"""Encode and validate Parquet tables: typed columns; missing values are null."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from eechips.errors import ValidationError
from eechips.formats.chip_format import MAX_DECODED_BYTES, EncodedFile, Expectation, FileMetadata

IMPORTS = ("pandas",)
"""What `encode` imports: ``pyarrow.array`` does so (pyarrow/pandas-shim.pxi). Workers can load it in advance."""


def encode(names: Sequence[str], columns: Sequence[Sequence[Any]]) -> EncodedFile:
    """Encode columns as Parquet; each has values of one type."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table(dict(zip(names, (pyarrow.array(c) for c in columns), strict=True)))
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, compression="zstd")
    return EncodedFile(buffer.getvalue(), "parquet", FileMetadata(bands=tuple(names), rows=table.num_rows))


def validate(data: bytes, expectation: Expectation) -> FileMetadata:
    """Decode every page of a Parquet file, and return its metadata.

    Raises:
        ValidationError: if it is truncated or damaged, or has other columns than expected.
    """
    import pyarrow

    from eechips.geo.untrusted_parquet import BoundedParquet

    try:
        with BoundedParquet(io.BytesIO(data)) as file:
            if file.metadata.num_rows * max(file.metadata.num_columns, 1) * 8 > MAX_DECODED_BYTES:
                raise ValidationError(f"a table of {len(data):,} bytes claims to have {file.metadata.num_rows:,} rows")
            table = file.read()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ValidationError(f"not a whole Parquet file: {str(error)[:200]}") from None
    if expectation.bands is not None and tuple(table.column_names) != expectation.bands:
        raise ValidationError(f"columns {', '.join(table.column_names)}, expected {', '.join(expectation.bands)}")
    return FileMetadata(bands=tuple(table.column_names), rows=table.num_rows)
