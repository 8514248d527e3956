"""Running a recipe: plan, dispatch to workers, record. ``run`` is the way in."""

from eechips.engine.config import RunConfig
from eechips.engine.estimate import Estimate, Forecast, estimate
from eechips.engine.run import connect, run

__all__ = ["Estimate", "Forecast", "RunConfig", "connect", "estimate", "run"]
