"""quality.parquet: what was found out of every file of a run, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from eechips.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

QUALITY_NAME = "quality.parquet"


def read(folder: str | Path) -> pd.DataFrame:
    """quality.parquet: a row for every file, in the order of the plan.

    Args:
        folder: of the run.

    Returns:
        Columns id (of the unit), layer (None where a unit has one file), file, sha256, flags (list of names, empty if
        nothing is wrong), and what was measured.

    Raises:
        UsageError: if the run was not checked.
    """
    import pyarrow.parquet

    path = Path(folder) / QUALITY_NAME
    if not path.is_file():
        raise UsageError(f"{folder} was not checked yet: eechips check {folder}")
    frame: pd.DataFrame = pyarrow.parquet.read_table(path).to_pandas()
    return frame


def flags(folder: str | Path) -> pd.Series[list[str]]:
    """What is wrong with every unit that was checked: names of flags, of all its files, sorted; by id of the unit.

    Raises:
        UsageError: if the run was not checked.
    """
    frame = read(folder)
    grouped = frame.groupby("id", sort=False)["flags"]
    return grouped.agg(lambda lists: sorted({flag for each in lists for flag in each}))
