"""Run recipes: plan the units, have workers fetch them, and record the results. ``run`` is the entry point."""

from eechips.engine.config import RunConfig
from eechips.engine.costs import Estimate, Forecast
from eechips.engine.estimate import estimate
from eechips.engine.run import run
from eechips.engine.session import connect

__all__ = ["Estimate", "Forecast", "RunConfig", "connect", "estimate", "run"]
