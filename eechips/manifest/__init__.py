"""What happened to every unit: the ledger while a run goes on, its export, and the run as seen afterwards."""

from eechips.manifest.record import Record, State
from eechips.manifest.run import Problem, Run, Status, open_run

__all__ = ["Problem", "Record", "Run", "State", "Status", "open_run"]
