"""Store the plan of a lockfile, and the files that its command reads, in the folder of a new run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from eechips.errors import RunMismatchError, UsageError
from eechips.files.temporary_names import new_writer
from eechips.lockfile.lockfile_format import Lockfile
from eechips.lockfile.lockfile_records import LockHeader
from eechips.manifest.extensions import EXTENSIONS
from eechips.manifest.folder_lock import lock_folder
from eechips.manifest.manifest_columns import State, WorkUnit
from eechips.manifest.reserved_names import check_new
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.untrusted_run import check_paths
from eechips.storage import LocalStore, make_folder, safe_component, write_file
from eechips.storage.untrusted_files import is_local_path

INPUTS_FOLDER = ".eechips-inputs"
"""In the folder of a rebuilt run: the files that the command reads, by their SHA-256."""

_LOCKFILE = "lockfile"
"""In the ledger: SHA-256 of the lockfile that the plan comes from."""
_BATCH = 500  # units per transaction


def store_inputs(lockfile: Lockfile, folder: Path) -> dict[tuple[str, str], str]:
    """Write the files that the command reads into the folder of a rebuilt run.

    Returns:
        Their paths, by option and value.

    Raises:
        RunMismatchError: if the folder holds another run.
        StorageError: if one is damaged, or cannot be written.
    """
    if not lockfile.header.inputs:
        return {}
    make_folder(folder)
    with lock_folder(folder):
        _check_folder(folder, lockfile.sha256)
        return _store_inputs(lockfile, folder)


def _store_inputs(lockfile: Lockfile, folder: Path) -> dict[tuple[str, str], str]:
    paths: dict[tuple[str, str], str] = {}
    groups: dict[tuple[str, str], list[str]] = {}
    for locked in lockfile.header.inputs:
        groups.setdefault((locked.option, locked.path), []).append(locked.sha256)
    for locked in lockfile.header.inputs:
        key = (locked.option, locked.path)
        place = folder / INPUTS_FOLDER / hashlib.sha256("".join(groups[key]).encode()).hexdigest()[:16]
        make_folder(place)
        path = place / safe_component(locked.name)
        write_file(path, lockfile.read_input(locked))
        paths.setdefault(key, str(path))
    return paths


def rebuilt_options(
    header: LockHeader, inputs: Mapping[tuple[str, str], str], names: Iterable[str], place: object
) -> dict[str, Any]:
    """Return the options of a lockfile's command, with the paths of its own copies of the files that it reads.

    Args:
        inputs: paths of the copies, by option and value.
        names: names of the options that may be paths of files.

    Raises:
        UsageError: if an option is the path of another file of this machine.
    """
    options = dict(header.options)
    for name in names:
        value = options.get(name)
        values = value if isinstance(value, list) else [value]
        new_values = [
            inputs.get((name, element), element) if isinstance(element, str) else element for element in values
        ]
        for before in values:
            if isinstance(before, str) and (name, before) not in inputs and is_local_path(before):
                raise UsageError(
                    f"{place} cannot be used: its {name} {before!r} is the path of a file of this machine, which is not"
                    " in the lockfile. If it is the name of an asset, run the command in another folder"
                )
        if name in options:
            options[name] = new_values if isinstance(value, list) else new_values[0]
    return options


def store_locked_plan(lockfile: Lockfile, folder: Path, described: Mapping[str, Any]) -> None:
    """Store the plan of a lockfile in the ledger of a new run, unless it is there.

    Args:
        described: identifies the run; see :func:`eechips.engine.plans.changed_options.describe`.

    Raises:
        RunMismatchError: if the folder holds another run.
        StorageError, UsageError: if the lockfile is damaged.
    """
    make_folder(folder)
    digest = lockfile.sha256
    with lock_folder(folder):
        _check_folder(folder, digest)
        with Ledger(folder / LEDGER_NAME) as ledger:
            if ledger.has_plan and not ledger.is_partial:
                return
            parts = list(map(asdict, lockfile.header.extensions))
            ledger.begin_plan({**described, _LOCKFILE: digest, **({EXTENSIONS: parts} if parts else {})})
            units = lockfile.units()
            while batch := list(islice(units, _BATCH)):
                ledger.add(WorkUnit(unit.position, unit.id, unit.unit, unit.name) for unit in batch)
            ledger.complete_plan()
        LocalStore(folder).sweep(new_writer())


def _check_folder(folder: Path, digest: str) -> None:
    """Check that a folder, which is locked, holds no run but that of a lockfile."""
    if not (folder / LEDGER_NAME).exists():
        check_new(folder)
        return
    with Ledger(folder / LEDGER_NAME, readonly=True) as ledger:
        if ledger.has_plan:
            check_paths(ledger)
            if ledger.meta().get(_LOCKFILE) != digest:
                raise RunMismatchError(f"{folder} holds another run: choose another folder")


def drops_empty(lockfile: Lockfile) -> bool:
    """Return whether the files of empty units were not kept."""
    return any(unit.state is State.EMPTY and not unit.files for unit in lockfile.units())
