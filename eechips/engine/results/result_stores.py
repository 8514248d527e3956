"""Choose where the results of a run are stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from eechips.engine.config import RunConfig
from eechips.files.temporary_names import new_writer
from eechips.storage import LocalStore, ObjectStore, StagedFile, Store, is_address


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


def place_store(place: str) -> Store:
    """Return the store of results in a folder, or at an address."""
    return ObjectStore(place) if is_address(place) else LocalStore(Path(place).absolute())


def store_of(config: RunConfig) -> Store:
    """Return the store of a run's results."""
    if config.results and is_address(config.results):
        return ObjectStore(config.results)
    folder = Path(config.results or config.out).absolute()
    return ImmediateStore(folder) if config.executor_class.is_detached else LocalStore(folder)
