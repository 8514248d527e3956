"""Load what every worker needs, in the process that they are forked from."""

from __future__ import annotations

from eechips_local.evaluation import request_processor
from eechips_local.evaluation.signatures import load_signatures
from eechips_local.functions import load_functions

__all__ = ["request_processor"]

load_functions()
load_signatures()
