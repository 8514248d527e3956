"""Load what every worker needs, in the process that they are forked from."""

from __future__ import annotations

import gc
import importlib

from eechips_local.deferred_imports import defer_imports
from eechips_local.functions import load_functions

gc.disable()  # until a worker runs: nearly all that is loaded stays
defer_imports()
importlib.import_module("eechips_local.assets.table_cache")
importlib.import_module("eechips_local.evaluation.request_processor")
load_functions()
importlib.import_module("eechips_local.evaluation.signatures").load_signatures()
