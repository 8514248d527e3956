"""Keep the measured compute of units, for estimates of later runs that are alike.

A file of a few hundred bytes in the user's cache folder for each kind of run: command, datasets and bands. Runs work
without it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

from eechips.engine.compute_sample import ComputeRange, ComputeSample
from eechips.errors import StorageError, UsageError
from eechips.files.user_cache import CACHE_VARIABLE, cache_folder
from eechips.storage import write_file
from eechips.web.urls import is_loopback

FOLDER = "costs"
_FACTOR = 2.0
"""Factor by which the compute of like requests differs: caches, and numbers of images at a place
(https://developers.google.com/earth-engine/guides/computation_overview#stability_and_predictability). Assumed."""


@dataclass(frozen=True, slots=True)
class RecordedCompute:
    """Compute of the units of an earlier run.

    Attributes:
        pixels: number of pixels of a unit; 0 if it has none.
        seen: when, ISO 8601, UTC.
    """

    sample: ComputeSample
    pixels: int
    seen: str

    def estimate(self, units: int, pixels: int) -> ComputeRange | None:
        """Estimate the compute of units that are alike: half to twice the range that the sample gives.

        With other numbers of pixels, the range is from compute that does not depend on them to such that is
        proportional to them.

        Args:
            pixels: number of pixels of one; 0 if it has none.
        """
        compute = self.sample.estimate(units)
        if compute is None:
            return None
        ratio = pixels / self.pixels if pixels and self.pixels else 1.0
        low, high = (compute.seconds if end is None else end for end in (compute.low, compute.high))
        return ComputeRange(
            compute.seconds * math.sqrt(ratio), low * min(1.0, ratio) / _FACTOR, high * max(1.0, ratio) * _FACTOR
        )


def load_recorded_compute(endpoint: str, kind: str) -> RecordedCompute | None:
    """Load the compute of earlier units; None if there is none, or the file cannot be read."""
    path = _path(endpoint, kind)
    try:
        content = json.loads(path.read_bytes()) if path is not None else {}
        sums = {figure.name: float(content["sample"][figure.name]) for figure in dataclasses.fields(ComputeSample)}
        if not all(math.isfinite(figure) and figure >= 0.0 for figure in sums.values()):
            return None
        assignments, units = int(sums.pop("assignments")), int(sums.pop("units"))
        sample = ComputeSample(assignments, units, **sums)
        return RecordedCompute(sample, int(content["pixels"]), str(content["seen"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def save_recorded_compute(endpoint: str, kind: str, recorded: RecordedCompute) -> bool:
    """Store the compute of the units of a run, in place of that of an earlier one.

    That of a server on loopback is stored only if ``EECHIPS_CACHE`` is set.

    Returns:
        Whether it was stored; False also if the folder cannot be written.
    """
    path = _path(endpoint, kind)
    if path is None or (is_loopback(endpoint) and not os.environ.get(CACHE_VARIABLE)):
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, (json.dumps({"kind": kind, **dataclasses.asdict(recorded)}, indent=2) + "\n").encode())
    except (OSError, StorageError, UsageError):
        return False
    return True


def _path(endpoint: str, kind: str) -> Path | None:
    folder = cache_folder()
    key = hashlib.sha256(f"{endpoint}\n{kind}".encode()).hexdigest()
    return None if folder is None else folder / FOLDER / f"{key[:32]}.json"
