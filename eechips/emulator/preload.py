"""Load what every worker needs, in the process that they are forked from."""

from __future__ import annotations

from eechips.emulator import evaluation
from eechips.emulator.functions import load_functions
from eechips.emulator.signatures import load_signatures

__all__ = ["evaluation"]

load_functions()
load_signatures()
