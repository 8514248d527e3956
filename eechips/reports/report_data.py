"""Read the data of a report from a run, once, and the first rows and the places of its tables."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely
from shapely.errors import GEOSException

from eechips.errors import UsageError
from eechips.formats import chip_suffixes
from eechips.geo.crs import LAT_NAMES, LON_NAMES, find_column
from eechips.geo.ellipsoid import Floats
from eechips.manifest.audit_records import Audit
from eechips.manifest.failures import Failure, list_failures
from eechips.manifest.pictures.display_styles import display_styles
from eechips.manifest.run import Run
from eechips.manifest.run_status import Status
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.reports.region_outlines import Ring, region_rings
from eechips.reports.thumbnails import Thumbnail, Thumbnails, make_thumbnail, make_thumbnails
from eechips.reports.unit_columns import MOST_UNITS, UnitColumn, UnitColumns, centres_of, draw_numbers, read_units
from eechips.storage import ID_LENGTH
from eechips.storage.untrusted_files import open_parquet, read_frame

if TYPE_CHECKING:
    from eechips.reports.region_series import Curves


_INTERVALS = 120  # of the charts over time
_CURVES = 24  # regions whose series are drawn


@dataclass(frozen=True, slots=True, eq=False)
class ReportData:
    """The data that a report shows.

    Attributes:
        info: run.json.
        status: counts and history.
        units: all units, or a random sample of them.
        places: the units, the regions of time series, or the rows of a table: on the map, in the table, to be searched.
        noun: what ``places`` are: units, regions or rows.
        made: name and picture of the files assembled from all results.
        curves: time series, if the run has any.
        head: first rows of a table, if the run has one.
        failures: all failed units.
        roi: rings of the requested region, if it is known locally.
        is_beside: whether the page is in the folder of the results, and links to their files.
        compute: EECU-seconds of the units whose requests were profiled.
        audits: random samples that were fetched again and compared.
    """

    run: Run
    info: dict[str, Any]
    status: Status
    units: UnitColumns
    places: UnitColumns
    noun: str
    pictures: Thumbnails
    made: Sequence[tuple[str, Thumbnail]]
    curves: Curves | None
    head: TableHead | None
    failures: Sequence[Failure]
    roi: Sequence[Ring]
    is_beside: bool
    compute: Floats
    audits: Sequence[Audit]


def read_report_data(run: Run, *, thumbnails: int, most: int, seed: int, is_beside: bool, quiet: bool) -> ReportData:
    """Read a run."""
    address = run.address
    units = read_units(run.path, seed=seed, most=most, quiet=quiet)
    tables = [path for path in run.assembled if path.suffix in (".csv", ".parquet") and path.is_file()]
    has_tables = address is None and (bool(tables) or any(map(_is_table, units.files)))
    pictures = make_thumbnails(run, units, count=thumbnails, seed=seed, quiet=quiet)
    is_chips = units.has_places or pictures.candidates > 0
    curves = _curves(run) if has_tables else None
    noun, places = "units", units
    if curves is not None and (regions := read_regions(run.path, seed=seed, most=most)) is not None:
        noun, places = "regions", regions
    elif not is_chips and tables and (rows := read_locations(tables[0], seed=seed, most=most)) is not None:
        noun, places = "rows", rows
    return ReportData(
        run=run,
        info=run.info,
        status=run.status(intervals=_INTERVALS),
        units=units,
        places=places,
        noun=noun,
        pictures=pictures,
        made=list(_made(run)),
        curves=curves,
        head=_head(run, tables) if has_tables else None,
        failures=list_failures(run.path),
        roi=region_rings(run.path, run.info),
        is_beside=is_beside and address is None,
        compute=_compute(run),
        audits=run.audits,
    )


def _compute(run: Run) -> Floats:
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        rows = ledger.rows(("eecu_seconds",))
        eecu_seconds = np.array([value for (value,) in rows if isinstance(value, (int, float))], dtype=np.float64)
    return eecu_seconds[np.isfinite(eecu_seconds)]


def _is_table(file: str | None) -> bool:
    return file is not None and file.endswith((".csv", ".parquet"))


def _made(run: Run) -> Iterator[tuple[str, Thumbnail]]:
    """Yield thumbnails of assembled files; missing and damaged files have none."""
    styles = display_styles(run.info)
    for path in run.assembled:
        if path.suffix.lstrip(".").lower() in chip_suffixes():
            with contextlib.suppress(OSError, ValueError):
                yield path.name, make_thumbnail(path, styles)


def _curves(run: Run) -> Curves | None:
    from eechips.reports.region_series import read_curves  # imports pandas, which runs of chips do not need

    try:
        return read_curves(run, most=_CURVES)
    except UsageError:  # it has no time series
        return None


def _head(run: Run, tables: Sequence[Path]) -> TableHead | None:
    if tables:
        return read_head(tables[0])
    for path in run.sample_files(1):
        if path.suffix in (".csv", ".parquet") and path.is_file():
            return read_head(path)
    return None


_PRECISION = 5e-3  # precision of corners as a share of the region's extent


def read_regions(folder: Path, *, seed: int = 0, most: int = MOST_UNITS) -> UnitColumns | None:
    """Read the regions of a run, also those that share a unit; None if its units have no regions.

    Regions of a table on the server have no outlines, since the plan has their ids only.
    """
    with Ledger(folder / LEDGER_NAME, readonly=True) as ledger:
        region_rows = list(_regions(ledger))
    if not region_rows:
        return None
    kept = draw_numbers(len(region_rows), most, seed)
    some = region_rows if kept is None else [region_rows[number] for number in sorted(kept)]
    outlines = np.full(len(some), None, dtype=object)
    outlines[:] = [_outline(region.get("geometry")) for region, *_ in some]
    return UnitColumns(
        total=len(region_rows),
        ids=[identifier for _, identifier, *_ in some],
        states=[state for _, _, state, *_ in some],
        files=[file for *_, file, _ in some],
        bytes=np.zeros(len(some), dtype=np.int64),
        valid=np.full(len(some), np.nan),
        errors=[error for *_, error in some],
        centres=centres_of(outlines),
        outlines=outlines,
        columns=[UnitColumn("region", "text", [str(region["region"]) for region, *_ in some])],
    )


def _regions(ledger: Ledger) -> Iterator[tuple[Mapping[str, Any], str, str, str | None, str | None]]:
    """Yield each region with the id (empty for several regions), state, file and error of its unit."""
    columns = ("lower(hex(id))", "unit", "state", "file", "error_class", "error")
    for identifier, text, state, file, error_class, error in ledger.rows(columns):
        unit = json.loads(text)
        message = None if error_class is None else f"{error_class}: {error}"
        if not isinstance(unit, dict):
            continue
        if "region" in unit:
            yield unit, identifier[:ID_LENGTH], state, file, message
        for region in unit["regions"] if isinstance(unit.get("regions"), list) else ():
            if isinstance(region, dict) and "region" in region:
                yield region, "", state, None, message


def _outline(geometry: Any) -> Any:
    """Return the simplified polygons of a GeoJSON geometry; None for anything else."""
    if not isinstance(geometry, Mapping):
        return None
    try:
        shape = shapely.geometry.shape(geometry)
        if shape.geom_type not in ("Polygon", "MultiPolygon") or shape.is_empty:
            return None
        west, south, east, north = shape.bounds
        simple = shapely.simplify(shape, _PRECISION * max(east - west, north - south))
    except (GEOSException, ValueError, TypeError, KeyError, AttributeError, IndexError):  # not of eechips
        return None
    return shape if simple.is_empty else simple


_ROWS = 8  # rows of the preview of a table
_COLUMNS = 16
_COLOURING = 6  # maximum columns of a table for colouring its places


@dataclass(frozen=True, slots=True, eq=False)
class TableHead:
    """First rows of a table.

    Attributes:
        columns: names; of many columns, the first ones.
        rows: values as text.
        total: number of rows of the table.
        left_out: number of columns that are not shown.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: int
    left_out: int


def read_head(path: Path) -> TableHead:
    """Read the first rows of a table."""
    frame = read_frame(path, path.suffix[1:], rows=_ROWS)
    if path.suffix == ".csv":
        with path.open("rb") as file:
            total = max(sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) - 1, len(frame))
    else:
        with open_parquet(path) as table:
            total = table.metadata.num_rows
    names = [str(name) for name in frame.columns]
    rows = [[_text(value) for value in row] for row in frame.iloc[:, :_COLUMNS].itertuples(index=False)]
    return TableHead(path.name, names[:_COLUMNS], rows, total, max(len(names) - _COLUMNS, 0))


def read_locations(path: Path, *, seed: int = 0, most: int = MOST_UNITS) -> UnitColumns | None:
    """Return the rows of a table as places on a map, if it has columns of longitude and latitude."""
    columns = list(map(str, read_frame(path, path.suffix[1:], rows=0).columns))
    longitude, latitude = find_column(columns, LON_NAMES), find_column(columns, LAT_NAMES)
    if longitude is None or latitude is None:
        return None
    others = [column for column in columns if column not in (longitude, latitude)]
    wanted = list(dict.fromkeys([longitude, latitude, *others[: _COLOURING // 2], *others[-_COLOURING // 2 :]]))
    frame = read_frame(path, path.suffix[1:], columns=wanted)
    total = len(frame)
    if total > most:
        frame = frame.sample(most, random_state=seed).sort_index()
    places = frame[[longitude, latitude]].apply(pd.to_numeric, errors="coerce").to_numpy(float, copy=True)
    places[~((np.abs(places[:, 0]) <= 360) & (np.abs(places[:, 1]) <= 90))] = np.nan
    count = len(frame)
    return UnitColumns(
        total=total,
        ids=[""] * count,
        states=["row"] * count,
        files=[None] * count,
        bytes=np.zeros(count, dtype=np.int64),
        valid=np.full(count, np.nan),
        errors=[None] * count,
        centres=places,
        outlines=np.full(count, None, dtype=object),
        columns=[column for name in wanted[2:] if (column := _column(name, frame[name])) is not None],
    )


def _column(name: str, values: Any) -> UnitColumn | None:
    known = values.dropna()
    different = known.nunique() if len(known) else 0
    if different < 2:
        return None
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return UnitColumn(name, "number", values.to_numpy(float, na_value=np.nan))
    texts = [None if pd.isna(value) else str(value) for value in values]
    return UnitColumn(name, "category" if different <= min(200, len(known) // 2 + 1) else "text", texts)


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, (float, np.floating)) else str(value)
