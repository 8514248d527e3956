"""Read the data of a report from a run, once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from eechips.errors import UsageError
from eechips.formats import chip_suffixes
from eechips.manifest.audit import Audit
from eechips.manifest.display_styles import display_styles
from eechips.manifest.failures import Failure, list_failures
from eechips.manifest.ledger import LEDGER_NAME, Ledger
from eechips.manifest.run import Run, Status
from eechips.reports.region_rings import Ring, region_rings
from eechips.reports.region_units import read_regions
from eechips.reports.table_preview import TableHead, read_head, read_locations
from eechips.reports.thumbnails import Thumbnail, Thumbnails, make_thumbnail, make_thumbnails
from eechips.reports.unit_columns import UnitColumns, read_units

if TYPE_CHECKING:
    from eechips.reports.region_series import Curves

_INTERVALS = 120  # of the charts over time
_CURVES = 24  # regions whose series are drawn


@dataclass(frozen=True, slots=True, eq=False)
class ReportData:
    """The data that a report shows.

    Attributes:
        run: the run itself.
        info: run.json.
        status: counts and history.
        units: all units, or a random sample of them.
        places: the units, the regions of time series, or the rows of a table: on the map, in the table, to be searched.
        noun: what ``places`` are: units, regions or rows.
        pictures: of some units.
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
    compute: npt.NDArray[np.float64]
    audits: Sequence[Audit]


def read_report_data(run: Run, *, thumbnails: int, most: int, seed: int, is_beside: bool, quiet: bool) -> ReportData:
    """Read a run.

    Args:
        run: the run, finished or in progress.
        thumbnails: maximum number of displayed chips.
        most: maximum number of units.
        seed: of all random selections.
        is_beside: whether the page is in the run's folder.
        quiet: show no progress.
    """
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


def _compute(run: Run) -> npt.NDArray[np.float64]:
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        rows = (row for batch in ledger.batches(("eecu_seconds",)) for row in batch)
        found = np.array([value for (value,) in rows if isinstance(value, (int, float))], dtype=np.float64)
    return found[np.isfinite(found)]


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
