"""Record the outcome of every unit of a run, export it, and read it back.

The ledger is ``manifest.sqlite`` while a run is not finished; ``manifest.parquet`` and ``failures.csv`` are exported
from it. Pictures and pages about a run belong into :mod:`eechips.reports`.
"""

from eechips.manifest.run import Problem, Run, open_run
from eechips.manifest.run_status import Status
from eechips.manifest.sqlite.unit_record import Record, State

__all__ = ["Problem", "Record", "Run", "State", "Status", "open_run"]
