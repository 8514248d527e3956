"""Define the order of a run's units in an epoch of training: the same for those that fetch and those that read them."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from eechips.manifest.database import Connection

FETCH_SEED = "fetch_seed"
"""In the ledger: seed of the order in which the units are fetched; missing if that is the order of the plan."""


@lru_cache(maxsize=4)
def epoch_order(count: int, seed: int | None, epoch: int = 0) -> npt.NDArray[np.int64]:
    """Return the order of units in an epoch.

    Args:
        seed: seed of the order; None for the order of the plan, in each epoch.
        epoch: from 0; each has an order of its own. A run fetches its units in the order of epoch 0.

    Returns:
        The number of the unit at each ordinal, int64, (count,), read-only.
    """
    if seed is None:
        order = np.arange(count, dtype=np.int64)
    else:
        order = np.random.default_rng([seed, epoch]).permutation(count).astype(np.int64)
    order.flags.writeable = False
    return order


def planned_positions(database: Connection) -> npt.NDArray[np.int64]:
    """Return the positions of the units of a plan, without those that replace others, int64, (count,)."""
    rows = database.execute("SELECT position FROM units WHERE replaces IS NULL ORDER BY position").fetchall()
    return np.array([position for (position,) in rows], dtype=np.int64)


def plan_digest(database: Connection) -> str:
    """Return what tells a plan from others, and from itself before it was extended: a digest of its units' ids."""
    digest = hashlib.sha256()
    for (identifier,) in database.execute("SELECT id FROM units WHERE replaces IS NULL ORDER BY position"):
        digest.update(identifier)
    return digest.hexdigest()[:16]
