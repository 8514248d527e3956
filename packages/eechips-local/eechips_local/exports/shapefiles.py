"""Write tables as Shapefiles: geometries of one type, names of 10 characters, texts of 254 bytes; refuse what does not
fit.

Format: https://www.loc.gov/preservation/digital/formats/fdd/fdd000280.shtml.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import shapely

from eechips_local.assets.store_files import temporary_folder
from eechips_local.evaluation.context import Context
from eechips_local.exports.table_columns import column, column_names, shapes
from eechips_local.pixels.output.encode import zipped
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.values import Feature

_LONGEST_NAME = 10  # of columns: https://developers.google.com/earth-engine/guides/exporting_tables
_LONGEST_TEXT = 254  # bytes of a value
_SINGLE = {"MultiPolygon": "Polygon", "MultiLineString": "LineString", "LinearRing": "LineString"}
_OF_PATHS = re.compile(r"[/\\\x00-\x1f]")


def zipped_shapefile(
    features: Iterable[Feature], selectors: Sequence[str] | None, name: str, context: Context
) -> bytes:
    """Return a ZIP archive of a Shapefile, as table download URLs of the format SHP give it.

    Scripts such as geemap's ``ee_export_vector`` unpack it and open ``<name>.shp``.

    Args:
        features: rows of the table.
        selectors: columns; None for all properties.
        name: name of the files in the archive, without an ending; it cannot name a folder.
        context: context of the evaluation.

    Raises:
        InvalidError: if a Shapefile cannot hold the features; see `write_shapefile`.
    """
    stem = _OF_PATHS.sub("_", name)
    with temporary_folder() as folder:
        files = write_shapefile(folder / "table.shp", features, selectors, context)
        return zipped([(f"{stem}{path.suffix}", path.read_bytes()) for path in files])


def write_shapefile(
    path: Path, features: Iterable[Feature], selectors: Sequence[str] | None, context: Context
) -> list[Path]:
    """Write a Shapefile; return its files: .cpg, .dbf, .prj, .shp, .shx.

    Args:
        path: the file .shp, in a folder without others of its name.
        features: rows of the table.
        selectors: columns; None for all properties.
        context: context of the evaluation.

    Raises:
        InvalidError: if geometries are of several types, names of columns are equal in their first 10 characters, or
            a text is too long.
    """
    # Here, since it brings pandas along, which other formats have no use for.
    import pyogrio
    from pyogrio.errors import DataSourceError

    rows = list(features)
    geometries = shapes(rows)
    kinds = sorted({_SINGLE.get(shape.geom_type, shape.geom_type) for shape in geometries if shape is not None})
    if len(kinds) != 1 or kinds == ["GeometryCollection"]:
        raise InvalidError(f"A Shapefile has geometries of one type; found {', '.join(kinds) or 'none'}.")
    names = column_names(rows, selectors)
    short = [name.replace(":", "_")[:_LONGEST_NAME] for name in names]
    if len(set(short)) < len(short):
        raise InvalidError(
            f"Column names of a Shapefile have {_LONGEST_NAME} characters at most, and must differ then."
        )
    columns = [column(rows, name, context) for name in names]
    for name, values in zip(names, columns, strict=True):
        _check_texts(name, values)
    table = pa.table([*columns, pa.array(shapely.to_wkb(geometries), pa.binary())], names=[*short, "geometry"])
    try:
        pyogrio.write_arrow(
            table, path, driver="ESRI Shapefile", geometry_name="geometry", geometry_type=kinds[0], crs="EPSG:4326",
            encoding="UTF-8",
        )  # fmt: skip
    except DataSourceError as error:
        raise InvalidError(f"The Shapefile cannot be written: {error}") from error
    return sorted(path.parent.glob(f"{path.stem}.*"))


def _check_texts(name: str, values: pa.Array) -> None:
    """Raise if a text of a column is too long for a Shapefile."""
    if pa.types.is_string(values.type):
        longest = max((len(text.encode("utf-8", "replace")) for text in values.to_pylist() if text), default=0)
        if longest > _LONGEST_TEXT:
            raise InvalidError(f"Texts in a Shapefile have {_LONGEST_TEXT} bytes at most; '{name}' has {longest}.")
