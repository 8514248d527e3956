"""Load what every worker needs, in the process that they are forked from."""

from __future__ import annotations

from eechips_local.evaluation import evaluation
from eechips_local.evaluation.signatures import load_signatures
from eechips_local.functions import load_functions

__all__ = ["evaluation"]

load_functions()
load_signatures()
