"""Compare the files of a run with its ledger, for ``eechips verify``: missing, another SHA-256, or not decodable."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from eechips.errors import UsageError, ValidationError
from eechips.formats import inspect, validate
from eechips.manifest.metadata_keys import ASSEMBLED, CHECKSUMS_ONLY, PLANS_GRADUALLY
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.ledger_queries import read_files
from eechips.manifest.withheld_files import is_withheld
from eechips.processes.parallel_map import parallel_map
from eechips.storage import ObjectStore, Store

_READERS = 16  # files of an object store that are checked at once

SET_ASIDE = "set aside until the script goes on: repeat the command of the run"
"""What is wrong with a result that :mod:`eechips.manifest.withheld_files` keeps."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A unit whose file differs from the ledger.

    Attributes:
        id: id of the unit; ``assembled`` for an assembled file.
        file: path below the output folder.
        reason: the difference.
    """

    id: str
    file: str
    reason: str


def check_files(folder: Path, ledger: Ledger, store: Store, tell: Callable[[], object]) -> list[Problem]:
    """Check every file of a run against its ledger; see :meth:`eechips.Run.verify`.

    Args:
        folder: output folder of the run.
        ledger: open for reading.
        store: the run's results.
        tell: called after every file.

    Returns:
        The problems in the order of the plan.

    Raises:
        TransientError, StorageError: if the object store of the files fails.
    """
    problems = []
    meta = ledger.meta()
    check = inspect if meta.get(PLANS_GRADUALLY) else validate  # files of scripts may have any name

    def problem(file: tuple[str, str, str | None]) -> Problem | None:
        identifier, name, digest = file
        whole = identifier == ASSEMBLED or meta.get(CHECKSUMS_ONLY)
        reason = _check(store, name, digest, None if whole else check)
        if reason is not None and is_withheld(folder, name):
            reason = SET_ASIDE
        return None if reason is None else Problem(identifier, name, reason)

    units = ((file.unit, file.name, file.sha256) for file in read_files(ledger.database))
    files = chain(units, ((ASSEMBLED, recorded["file"], recorded["sha256"]) for recorded in meta.get(ASSEMBLED) or ()))
    # Parallel reading pays for a store, not for a disk.
    checked = parallel_map(problem, files, _READERS) if isinstance(store, ObjectStore) else map(problem, files)
    for outcome in checked:
        tell()
        if outcome is not None:
            problems.append(outcome)
    return problems


def _check(store: Store, file: str, digest: str | None, check: Callable[[bytes, str], object] | None) -> str | None:
    """Return what is wrong with a file: its checksum, or what the check of its content finds."""
    try:
        data = b"" if check is None else store.read(file)
        sha256 = store.sha256(file) if check is None else hashlib.sha256(data).hexdigest()
    except FileNotFoundError:
        return "the file is missing"
    except UsageError as error:
        return str(error)
    except OSError as error:
        return f"the file cannot be read: {error.strerror or error}"
    if sha256 != digest:
        return "the file has changed: its sha256 is another"
    try:
        if check is not None:
            check(data, Path(file).suffix.lstrip("."))
    except ValidationError as error:
        return str(error)
    return None
