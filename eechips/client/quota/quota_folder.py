"""Keep the records of runs that share a quota in a folder (the default: one of the user) or an object store; decide how
often they are written.

A project's records are in a folder of their own, whose name is a digest of endpoint and project: ``term-7.json`` and
``run-<id>.json``. They contain counts, and the command, process and machine of each run; nothing secret.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eechips.client.quota.quota_members import Grant, LeaseTimes, RunReport, TermRecord
from eechips.errors import EechipsError, StorageError, UsageError
from eechips.files.local_paths import cache_folder, make_private
from eechips.files.removal import ReservedName, remove
from eechips.files.temporary_names import Writer, is_running, new_writer
from eechips.storage import LocalStore, ObjectStore, is_address
from eechips.storage.untrusted_files import parse_json

FOLDER_TIMES = LeaseTimes(step=0.5, for_each=0.02, lease=15.0, short_step=0.25)
"""Of a folder, where a record takes a millisecond."""
STORE_TIMES = LeaseTimes(step=1.0, for_each=0.1, lease=45.0, short_step=0.5)
"""Of an object store, where it takes some 50 ms, and money."""

_NAME = "quota"
_VERSION = 2
_TERM = re.compile(r"term-(\d{1,12})\.json")
_RUN = re.compile(r"run-([0-9a-f-]{1,100})\.json")
_MOST_BYTES = 1 << 20  # of a record
_MOST_RECORDS = 10_000


def default_quota_folder() -> Path | None:
    """Return the folder in which the runs of this user on this machine share quotas; None without a home."""
    cache = cache_folder()
    return None if cache is None else cache / _NAME


def _make_shared(folder: Path) -> None:
    """Make a folder with the permissions of the one above. In its place another user may put a link at any time.

    Raises:
        OSError: if it cannot be made, or is a link.
    """
    try:
        folder.mkdir()
        is_new = True
    except FileExistsError:
        is_new = False
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if is_new:
            with contextlib.suppress(PermissionError):
                os.fchmod(descriptor, folder.parent.stat().st_mode & 0o7777)
    finally:
        os.close(descriptor)


class QuotaFolder:
    """The records of the runs that share the quota of a project.

    Args:
        place: folder, or URL of an object store, for the quotas of any projects.

    Attributes:
        times: how often runs write there.

    Raises:
        StorageError: if the folder cannot be made.
        UsageError: if the address is malformed.
    """

    def __init__(self, place: str | Path, endpoint: str, project: str) -> None:
        self._name = hashlib.sha256(f"{endpoint}\0{project}".encode()).hexdigest()[:16]
        self._store: LocalStore | ObjectStore
        if is_address(str(place)):
            self.times = STORE_TIMES
            self._store = ObjectStore(f"{str(place).rstrip('/')}/{self._name}")
        else:
            self.times = FOLDER_TIMES
            self._store = LocalStore(Path(place).absolute() / self._name)

    def prepare(self) -> None:
        """Make the folder, with the permissions of the folder above: other users may share it.

        Raises:
            EechipsError: if it cannot be made, or the store does not respond.
        """
        if isinstance(self._store, ObjectStore):
            self._store.check()
            return
        root = self._store.root
        try:
            if root.parent == default_quota_folder():
                make_private(root.parent)
            root.parent.mkdir(parents=True, exist_ok=True)
            _make_shared(root)
            self._store.sweep(new_writer())  # of runs that were killed
        except OSError as error:
            raise StorageError(f"cannot use {root.parent} to share the quota: {error.strerror or error}") from error

    def exists(self) -> bool:
        """Return whether the folder exists; in an object store, every folder does."""
        return isinstance(self._store, ObjectStore) or self._store.root.is_dir()

    def find(self) -> tuple[list[int], list[str]]:
        """Return the numbers of terms, and the ids of runs with a report."""
        names = [file.name for file in self._store.files(["."]) if file.size <= _MOST_BYTES][:_MOST_RECORDS]
        terms = [int(match[1]) for match in map(_TERM.fullmatch, names) if match]
        runs = [match[1] for match in map(_RUN.fullmatch, names) if match]
        return sorted(terms), sorted(runs)

    def read_term(self, number: int) -> TermRecord | None:
        """Return the record of a term; None if it does not exist or is damaged."""
        content = self._read(_term_name(number))
        try:
            grants = {_run(run): Grant(**_fields(Grant, grant)) for run, grant in content.pop("grants").items()}
            return TermRecord(**_fields(TermRecord, {**content, "grants": {}}), grants=grants)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def read_report(self, run: str) -> RunReport | None:
        """Return the report of a run; None if it does not exist or is damaged."""
        try:
            return RunReport(**_fields(RunReport, self._read(_run_name(run))))
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def create_term(self, record: TermRecord) -> bool:
        """Write the first record of a term, unless there is one; return whether it was written."""
        return self._store.create(_term_name(record.number), _encode(record))

    def write_term(self, record: TermRecord) -> None:
        """Replace the record of a term."""
        self._write(_term_name(record.number), _encode(record))

    def write_report(self, report: RunReport) -> None:
        """Write or replace the report of a run."""
        self._write(_run_name(report.run), _encode(report))

    def remove_term(self, number: int) -> None:
        """Remove a term, if it exists and can be removed."""
        self._remove(_term_name(number))

    def remove_report(self, run: str) -> None:
        """Remove the report of a run, if it exists and can be removed."""
        self._remove(_run_name(run))

    def _read(self, name: str) -> Any:
        """Return the content of a record; None if it is missing or damaged."""
        try:
            data = self._store.read(name)
            return None if len(data) > _MOST_BYTES else parse_json(data)
        except (FileNotFoundError, ValueError, UsageError):
            return None

    def _write(self, name: str, data: bytes) -> None:
        self._store.commit(self._store.stage(name, data, str(new_writer())))

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError, EechipsError):  # another user's, in a folder with the sticky bit
            if isinstance(self._store, LocalStore):
                remove(self._store.path(name), ReservedName(self._name))
            else:
                self._store.remove(name)


def is_run_alive(run: str) -> bool | None:
    """Return whether the process of a run is running; None if that is not visible from this machine."""
    try:
        return is_running(Writer.parse(run))
    except ValueError:
        return None


def _term_name(number: int) -> str:
    return f"term-{number}.json"


def _run_name(run: str) -> str:
    return f"run-{_run(run)}.json"


def _run(text: str) -> str:
    """Return the id of a run, which becomes part of a file's name."""
    if _RUN.fullmatch(f"run-{text}.json") is None:
        raise ValueError(f"no id of a run: {text!r:.100}")
    return text


def _encode(record: TermRecord | RunReport) -> bytes:
    return (json.dumps({"version": _VERSION, **dataclasses.asdict(record)}) + "\n").encode()


_KINDS: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "float | None": (int, float, type(None)),
    "str": (str,),
    "bool": (bool,),
}
_MOST_COUNT = 1 << 53


def _fields(record: type, content: Any) -> dict[str, Any]:
    """Return the fields of a record that another run has written, without those that have the default."""
    if not isinstance(content, dict):
        raise TypeError("no record")
    if "version" in content and content["version"] != _VERSION:
        raise ValueError("another version")
    known_fields: dict[str, Any] = {}
    for field in dataclasses.fields(record):
        kinds = _KINDS.get(str(field.type))
        if kinds is None:
            continue
        value = content[field.name]
        is_wrong_bool = isinstance(value, bool) and bool not in kinds
        if not isinstance(value, kinds) or is_wrong_bool:
            raise TypeError(field.name)
        if isinstance(value, (int, float)) and not 0 <= value < _MOST_COUNT:  # nor NaN
            raise ValueError(field.name)
        known_fields[field.name] = value
    return known_fields
