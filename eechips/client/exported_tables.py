"""Export the rows of tables as CSV, and read them back.

Cells of a CSV have no types, and how Earth Engine writes lists into them is not documented. Each row is therefore one
cell with its properties as JSON (https://developers.google.com/earth-engine/apidocs/ee-string-encodejson), which has
numbers, texts, lists and dictionaries.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from eechips.client.http_messages import load_values
from eechips.errors import ValidationError
from eechips.recipe import Table
from eechips.recipe.results import Series, SplittableTable

if TYPE_CHECKING:
    import ee

_ROW, _GEO = "eechips_row", ".geo"
_END = "end"
"""The last row: a table without rows can be exported, and a file that lacks rows at its end is detected."""
_MOST_EXACT = 2**53


def table_obstacle(table: Table) -> str | None:
    """Return why an exported table would not be the same as a fetched one, a clause; None if it is the same."""
    if table.unpack is None and table.columns is None:
        return "the order of the columns is unknown; give the table `columns`"
    if _GEO in (table.columns or ()):
        return "exported geometries differ from fetched ones (.geo)"
    return None


def has_geometry(table: Table) -> bool:
    """Return whether the rows of a table are exported with their geometries."""
    return table.unpack is not None


def exported_rows(table: Table) -> ee.FeatureCollection:
    """Return the features of the file of a table without an obstacle: see :func:`table_obstacle`."""
    import ee

    source: Any = table.source.source if isinstance(table.source, SplittableTable) else table.source
    rows: Any = source.rows() if isinstance(source, Series) else source
    keeps_geometry = has_geometry(table)

    def packed(element: Any) -> Any:
        feature: Any = ee.Feature(element)
        text = ee.String.encodeJSON(feature.toDictionary(feature.propertyNames()))
        return feature.select([], None, keeps_geometry).set(_ROW, text)

    end = ee.FeatureCollection([ee.Feature(None, {_ROW: _END})])
    exported: ee.FeatureCollection = rows.map(packed).merge(end)
    return exported


def selected_columns(table: Table) -> list[str]:
    """Return the columns of the file of a table."""
    return [_ROW, _GEO] if has_geometry(table) else [_ROW]


def read_rows(data: bytes, table: Table) -> list[dict[str, Any]]:
    """Read the file of a table.

    Args:
        table: table that was exported.

    Returns:
        The same as :meth:`eechips.client.fetcher.Fetcher.rows`. Numbers without a fraction are integers, as in
        responses. Of geometries the coordinates are the same.

    Raises:
        ValidationError: if the file is not that of an exported table, or not whole.
    """
    import pyarrow as pa
    from pyarrow import csv

    names = selected_columns(table)
    try:
        cells = csv.read_csv(
            io.BytesIO(data),
            # A cell lies within one block.
            read_options=csv.ReadOptions(block_size=max(1, min(len(data), 2**31 - 1)), use_threads=False),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise ValidationError(f"it is no CSV: {error}") from error
    if cells.column_names != names:
        raise ValidationError(f"its columns are {', '.join(cells.column_names)}, not {', '.join(names)}")
    texts = cells.column(_ROW).to_pylist()
    if texts[-1:] != [_END]:
        raise ValidationError("its last row is missing")
    geometries = cells.column(_GEO).to_pylist() if has_geometry(table) else [""] * len(texts)
    return [_row(text, geometry) for text, geometry in zip(texts[:-1], geometries, strict=False)]


def _row(text: str, geometry: str) -> dict[str, Any]:
    try:
        row = load_values(text, parse_float=_number)
        shape = load_values(geometry) if geometry else None
    except (ValueError, OverflowError) as error:
        raise ValidationError(f"a row is no JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValidationError("a row is no JSON object")
    # Rows without a geometry have {"type": "MultiPoint", "coordinates": []}.
    is_there = isinstance(shape, dict) and (shape.get("coordinates") or shape.get("geometries"))
    return {"system:index": None, **row, _GEO: shape if is_there else None}


def _number(text: str) -> float | int:
    """Return a number as it is in responses, where whole ones have no fraction."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < _MOST_EXACT else number
