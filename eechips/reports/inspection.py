"""Inspect a run from Python: its progress (``status``), and its failures as a DataFrame (``failures``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eechips.manifest.failures import list_failures
from eechips.manifest.run import Run, open_run
from eechips.manifest.run_status import Status

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("id", "name", "state", "error_class", "error", "attempts", "position", "unit", "traceback")


def status(run: str | Path | Run) -> Status:
    """Return the progress of a run: counts by state, failures by class, speed, time left.

    Args:
        run: the run, or its folder. The run may be in progress.

    Raises:
        UsageError: if the folder holds no run.

    Example:
        >>> eechips.status("outputs/sample-naip").counts
        {'done': 600, 'failed_permanent': 2}
    """
    return open_run(run).status()


def failures(run: str | Path | Run, *, classes: Sequence[str] = ()) -> pd.DataFrame:
    """Return the failed units of a run, in the order of the plan.

    Args:
        run: the run, or its folder. The run may be in progress.
        classes: names of error classes to select, such as ``PermanentError`` or ``permanent``; all if empty.

    Returns:
        A row for each unit: ``id``, ``name``, ``state``, ``error_class``, ``error``, ``attempts``, ``position``,
        ``unit`` (JSON) and ``traceback`` (of errors in a recipe).

    Raises:
        UsageError: if the folder holds no run, or no unit failed with such a class.

    Example:
        >>> eechips.failures("outputs/sample-naip")["error"].value_counts()
    """
    import pandas as pd

    run = open_run(run)
    listed_failures = list_failures(run.path, classes)
    rows = [[getattr(failure, name) for name in _COLUMNS] for failure in listed_failures]
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    frame["state"] = [failure.state.value for failure in listed_failures]
    return frame
