"""Record the outcome of every unit of a run, export it, and read it back.

The ledger is ``manifest.sqlite`` while a run is not finished; ``manifest.parquet`` and ``failures.csv`` are exported
from it. Pictures and pages about a run belong into :mod:`eechips.reports`.
"""
