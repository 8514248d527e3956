"""What every worker needs, loaded once in the process that they are forked from."""

from __future__ import annotations

from eechips.emulator import evaluation
from eechips.emulator.functions import registry
from eechips.emulator.signatures import signatures

__all__ = ["evaluation"]

registry()
signatures()
