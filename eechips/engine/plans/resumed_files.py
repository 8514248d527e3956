"""Check before a run resumes that its files are those which its ledger has recorded: missing or changed ones, assembled
ones, and stores whose listings lack objects.

:mod:`eechips.engine.plans.resume` opens the units of the others again.

A file that another run, another program or a person has put in the place of a result is not taken for it. To read every
file each time would take as long as for ``eechips verify``, so only those are read that have changed since the run has
looked at them: since the end of the command before, or since their unit was finished.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from eechips.client import retry
from eechips.client.retry import RetryPolicy
from eechips.engine.progress import Progress
from eechips.errors import StorageError
from eechips.files.abandoned_files import file_system_time
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.ledger_queries import RecordedResult, read_files
from eechips.processes.parallel_map import parallel_map
from eechips.storage import LocalStore, Store, StoredFile
from eechips.text.formatting import short_digest

_COMPARED = "compared"
"""Key in the ledger of the time when the recorded files were last known to be unchanged, in seconds since 1970: by the
clock of the file system; for an object store, by that of this machine."""

_SHOWN = 3  # files that are named
_READERS = 8  # files that are read at once
_MOST_ASKED = 1000  # files that are not listed and are asked for by name
_log = logging.getLogger(__name__)


class ResumedFiles:
    """The files of a run."""

    def __init__(self, ledger: Ledger, store: Store, policy: RetryPolicy, *, quiet: bool) -> None:
        self._ledger, self._store, self._policy, self._quiet = ledger, store, policy, quiet

    def find_foreign(self) -> list[int]:
        """Return the positions of units one of whose files is gone or is not the one that was recorded, and say why.

        Raises:
            TransientError, StorageError, ConfigurationError: if the store cannot be read.
        """
        known, now = self._known, self._now()
        there = self._list(file.name for file in read_files(self._ledger.database))
        reasons: dict[int, str] = {}
        doubtful: list[RecordedResult] = []
        for result in read_files(self._ledger.database):
            file = there.get(result.name)
            if file is None or file.size != result.size:
                reasons[result.position] = _describe_other_file(result, None if file is None else file.size, None)
            elif file.changed is None or file.changed >= max(known, _past(result.finished, now)):
                doubtful.append(result)
        reasons |= dict(self._read(doubtful))
        warn_of_results(list(reasons.values()), _SHOWN)
        if doubtful:
            self.note()
        return list(reasons)

    def release_removed(self) -> None:
        """Take files that are gone from a script's calls: it may have removed them, and leave out these calls.

        Calls that lack their first file are made again if the script repeats them.
        """
        there = self._list(file.name for file in read_files(self._ledger.database))
        gone = [(file.position, file.name) for file in read_files(self._ledger.database) if file.name not in there]
        firsts = dict(self._ledger.rows(("position", "file"))) if gone else {}
        released = {position for position, name in gone if firsts[position] == name}
        self._ledger.release(*(name for position, name in gone if position in released))

    def is_assembled(self, assembled_files: Iterable[Mapping[str, Any]]) -> bool:
        """Return whether assembled files are the recorded ones: path, bytes and SHA-256 of each."""
        wanted = {str(recorded["file"]): recorded for recorded in assembled_files}
        there = self._list(wanted)
        known = self._known
        for name, recorded in wanted.items():
            file = there.get(name)
            if file is None or file.size != recorded["bytes"]:
                return False
            if (file.changed is None or file.changed >= known) and self._digest(name) != recorded["sha256"]:
                _log.warning("%s is not what this run assembled from all results: it is assembled again", name)
                return False
        return True

    def note(self) -> None:
        """Record that all recorded files are unchanged now."""
        if self._ledger.has_plan:
            self._ledger.note(_COMPARED, self._now())

    def _now(self) -> float:
        return file_system_time(self._store.root) if isinstance(self._store, LocalStore) else time.time()

    @property
    def _known(self) -> float:
        """The time up to which the files are known, in seconds since 1970."""
        compared = self._ledger.meta().get(_COMPARED)
        return _past(float(compared) if isinstance(compared, (int, float)) else None, self._now())

    def _list(self, names: Iterable[str]) -> dict[str, StoredFile]:
        """Return the files in the folders of some names, by name; raise StorageError if one of them exists.

        What a proxy or a store that resembles S3 leaves out of a listing would be fetched again: some of those that an
        object store does not list are asked for by name.
        """
        wanted = sorted(set(names))
        there = {file.name: file for file in self._store.files(sorted({name.rpartition("/")[0] for name in wanted}))}
        if not isinstance(self._store, LocalStore):
            missing = [name for name in wanted if name not in there]
            asked = missing[:: -(-len(missing) // _MOST_ASKED)] if missing else []
            for name, size in parallel_map(lambda name: (name, self._size(name)), asked, _READERS):
                if size is not None:
                    raise StorageError(
                        f"{name} is in the store of the results, but not in its listing: a proxy, or a store that is"
                        " not quite like S3, may leave out objects. Nothing is fetched again"
                    )
        return there

    def _size(self, name: str) -> int | None:
        """Return the size of a file; None if it does not exist, or is refused, as missing objects of S3 may be."""
        with contextlib.suppress(StorageError):
            return retry.call(partial(self._store.size, name), self._policy)
        return None

    def _read(self, doubtful: list[RecordedResult]) -> Iterator[tuple[int, str]]:
        """Yield position and reason of results whose content is another."""
        with Progress(len(doubtful), 0, None, quiet=self._quiet, unit="files compared") as progress:
            for result, digest in parallel_map(
                lambda recorded: (recorded, self._digest(recorded.name)), doubtful, _READERS
            ):
                if digest != result.sha256:
                    yield result.position, _describe_other_file(result, result.size, digest)
                progress.step()

    def _digest(self, name: str) -> str | None:
        try:
            return retry.call(partial(self._store.sha256, name), self._policy)
        except FileNotFoundError:
            return None


def _describe_other_file(result: RecordedResult, size: int | None, sha256: str | None) -> str:
    """Return the sentence that says why a file is not the one that a run has recorded.

    Args:
        size: size of the file, in bytes; None if there is none.
        sha256: SHA-256 digest of its content, hexadecimal; None if it was not read.
    """
    short = short_digest(result.unit)
    if size is None:
        return f"{result.name} of unit {short} is gone since this run wrote it: the unit is fetched again"
    other = f"{size:,} bytes, not {result.size:,}"
    if sha256 is not None:
        other = f"sha256 {short_digest(sha256)}, not {short_digest(result.sha256 or '')}"
    return (
        f"{result.name} is not what this run wrote for unit {short} ({other}), so it was changed or belongs to another"
        " run: the unit is fetched again, and the file replaced"
    )


def _past(moment: float | None, now: float) -> float:
    """Return a moment; minus infinity if it is unknown, or to come: the clock has been set back meanwhile."""
    return -math.inf if moment is None or moment > now else moment


def warn_of_results(sentences: Sequence[str], shown: int) -> None:
    """Warn of results with a sentence each, up to a number; then say how many more there are."""
    for sentence in sentences[:shown]:
        _log.warning("%s", sentence)
    if len(sentences) > shown:
        _log.warning("The same holds for %s further results", f"{len(sentences) - shown:,}")
