"""What workers do with units, wherever they are."""

from __future__ import annotations

from dataclasses import dataclass

from eechips.client.chip_parameters import Method
from eechips.client.retry import RetryPolicy
from eechips.client.transport import Timeouts
from eechips.recipe import Recipe
from eechips.storage import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """What is done with each unit of a run. Picklable; it holds no credentials.

    Attributes:
        recipe: what to run.
        policy: of retries.
        timeouts: of requests.
        method: how pixels are asked for.
        store: where results go.
        token: of the run's writer, in the names of temporary files; see :mod:`eechips.staging`.
        logs: whether every request is noted.
        keeps_empty: whether results without a valid pixel have files.
        names_apart: whether a name that the recipe gives to a result gets the unit's id appended, as nobody compares
            the names of units.
    """

    recipe: Recipe
    policy: RetryPolicy
    timeouts: Timeouts
    method: Method
    store: Store
    token: str
    logs: bool = False
    keeps_empty: bool = True
    names_apart: bool = False
