"""Load what every worker needs, in the process that they are forked from."""

from __future__ import annotations

import importlib

from eechips_local.deferred_boto3 import defer_boto3
from eechips_local.functions import load_functions

defer_boto3()
importlib.import_module("eechips_local.evaluation.request_processor")
load_functions()
importlib.import_module("eechips_local.evaluation.signatures").load_signatures()
