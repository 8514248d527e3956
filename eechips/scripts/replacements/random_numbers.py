"""Seed the random numbers of a script and of its calls, so that a repeated call sends the same requests."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator

import numpy as np

_SEEDS = 2**32  # numpy's


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of Python and numpy in the block; restore their states after it.

    Args:
        seed: any number; numpy has its last 32 bits.
    """
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - scripts use it
    random.seed(seed % _SEEDS)
    np.random.seed(seed % _SEEDS)  # noqa: NPY002 - scripts use it
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002 - scripts use it


def present_seed() -> int:
    """Return a seed that the present states of the global generators determine, without a draw from them."""
    _, key, *place = np.random.get_state()  # noqa: NPY002 - scripts use it
    content = repr((random.getstate(), np.asarray(key).tolist(), place))
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:4], "big")
