"""Running a recipe: plan, dispatch to workers, record. ``run`` is the way in."""

from eechips.engine.config import RunConfig
from eechips.engine.estimate import Estimate, estimate
from eechips.engine.run import connect, run

__all__ = ["Estimate", "RunConfig", "connect", "estimate", "run"]
