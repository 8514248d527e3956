"""Choose where the results of a run are stored, estimate their bytes, and check that the disk has room for them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

from eechips.engine.config import RunConfig
from eechips.engine.costs.unit_costs import cost_of, describe_results, list_class_bands
from eechips.errors import StorageError
from eechips.files.temporary_names import new_writer
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.ledger_queries import sample_units, sum_totals
from eechips.recipe import Recipe, SupportsSize
from eechips.storage import LocalStore, ObjectStore, StagedFile, Store, is_address
from eechips.text.formatting import format_bytes


class ImmediateStore(LocalStore):
    """A folder in which a result gets its name as soon as it is complete, as in an object store, without a commit.

    Concurrent writers of the same result use different temporary files.
    """

    is_overwritten = True

    def stage(self, name: str, data: bytes, token: str) -> StagedFile:
        """Write a result and give it its name."""
        # A token of this process, not of the run: when the run is resumed, this worker may still be writing.
        staged = super().stage(name, data, str(new_writer()))
        super().commit(staged)
        return replace(staged, temporary=name)

    def commit(self, staged: StagedFile) -> None:
        """Do nothing: the result has its name already."""


def store_of(config: RunConfig) -> Store:
    """Return the store of a run's results."""
    if config.results and is_address(config.results):
        return ObjectStore(config.results)
    folder = Path(config.results or config.out).absolute()
    return ImmediateStore(folder) if config.executor_class.is_detached else LocalStore(folder)


_LOOKED_AT = 200
"""Open units, spread over the plan, whose sizes are extrapolated."""

_LEAST_DTYPE = "uint8"
"""Assumed type of pixels whose type is unknown: a run that may fit is not refused."""


def refuse_small_disk(folder: Path, need: int, advice: str) -> None:
    """Raise StorageError if a disk has less free space than results need.

    Args:
        folder: folder of the results; it need not exist yet.
        need: bytes of the results.
    """
    free = free_bytes(folder)
    if free < need:
        raise StorageError(
            f"the disk of {folder} has {format_bytes(free)} free, and this takes about {format_bytes(need)}: {advice}"
        )


def check_disk(recipe: Recipe, ledger: Ledger, store: Store, config: RunConfig) -> None:
    """Raise StorageError if the results of a run are known not to fit on the disk."""
    if isinstance(store, LocalStore) and isinstance(recipe, SupportsSize):
        advice = (
            "choose another output folder, fewer results, or a coarser scale. To measure the real size of 20 results"
            " first, give `estimate` 20"
        )
        need, most = left_bytes(recipe, ledger, config), config.max_disk
        if most is not None:
            need = min(need, max(0, most - sum_totals(ledger.database).bytes))
            advice = f"free some space, or give a smaller `max_disk` than {format_bytes(most)}"
        refuse_small_disk(store.root, need, advice)


def existing_folder(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def free_bytes(folder: Path) -> int:
    """Return the free bytes on the disk of a folder, which need not exist yet."""
    return shutil.disk_usage(existing_folder(folder)).free


def left_bytes(recipe: Recipe, ledger: Ledger, config: RunConfig) -> int:
    """Estimate the bytes that the open units of a run will take, from completed units or from their pixels."""
    totals, left = sum_totals(ledger.database), ledger.count_open()
    if totals.bytes:
        return round(left * totals.bytes / totals.units)
    units = [(0, json.loads(text)) for text in sample_units(ledger.database, _LOOKED_AT)]
    results, class_bands = describe_results(recipe, units), list_class_bands(recipe)
    sizes = [cost_of(result, config, class_bands, _LEAST_DTYPE).bytes for result in results]
    return round(left * sum(size.usual for size in sizes if size is not None) / max(1, len(sizes)))
