"""Runs that are packed, and what their packs contain."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from eechips.manifest.run import Run
from eechips.training.sample_reader import read_samples
from eechips.training.splits import split_table
from tests.support.finished_run import layered, write_run

ENCODED = ("webdataset", "tfrecord", "parquet")
DECODED = ("zarr", "hdf5") if sys.version_info >= (3, 11) else ("hdf5",)  # zarr 3.1 needs Python 3.11
FORMATS = (*ENCODED, *DECODED)
SOME = [pytest.param(name, marks=pytest.mark.slow) if name == "zarr" else name for name in FORMATS]
"""All formats; Zarr, which writes many files, when there is time."""


def write_packable_run(folder: Path) -> Run:
    """23 samples of three layers, in two splits and left out."""
    run = write_run(folder, layered(23), datasets=[{"id": "A", "licence": "CC0"}])
    split_run(run, ["train", "train", "test", "none"])
    return run


def split_run(run: Run, names: Sequence[str]) -> None:
    ids = read_samples(run).ids
    of_each = [names[number % len(names)] for number in range(len(ids))]
    split_table.write(run.path, pd.DataFrame({"id": ids, "split": of_each, "block": of_each}), {"seed": 0})


def contents(folder: Path) -> dict[str, str]:
    """Sha256 of every file of a pack but the lock."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".eechips.lock"]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
