"""What happened to every unit: the ledger while a run goes on, its export, and the run as seen afterwards."""

from eechips.manifest.run import Problem, Run, Status, open_run
from eechips.manifest.unit_record import Record, State

__all__ = ["Problem", "Record", "Run", "State", "Status", "open_run"]
