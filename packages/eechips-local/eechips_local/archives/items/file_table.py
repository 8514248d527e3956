"""Fetch the table of an archive's files, keep it on this machine for 30 days, and search the files in it."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from isal import isal_zlib

from eechips_local.archives.archive_clock import CLOCK, Clock
from eechips_local.archives.archive_errors import ArchiveAwayError, ArchiveError, ArchiveRefusedError, unreached
from eechips_local.archives.archive_model import ArchiveDescription, Item, ItemQuery
from eechips_local.archives.files.file_ranges import FileRanges
from eechips_local.archives.files.file_versions import is_same_version
from eechips_local.archives.hosts.allowed_hosts import AllowedHosts
from eechips_local.archives.hosts.checked_connections import HostTransport
from eechips_local.archives.hosts.host_pauses import HostPauses
from eechips_local.archives.hosts.host_permits import HostPermits
from eechips_local.archives.hosts.host_throttle import HostCounts
from eechips_local.archives.hosts.signing import Signer
from eechips_local.archives.items.embedding_files import EmbeddingFiles
from eechips_local.assets.asset_names import shown_url
from eechips_local.assets.store_files import locked

_LOG = logging.getLogger("eechips_local.archives")
_PART = 8 << 20  # bytes of a request
_CHUNK = 1 << 20
_LARGEST = 1 << 30  # bytes of a table; that of Satellite Embeddings has some 70 MB
_IMPATIENCE = 5.0  # seconds to wait for a host that is away
_FRESH = 30 * 86_400.0  # seconds after which the archive is asked whether the table has changed
_TABLE, _VERSION = "table.parquet", "version"


class KeptTable:
    """An ``ItemSearch`` over a table that is fetched on first use. Threads and processes share it; it pickles.

    Args:
        folder: where tables are kept.
    """

    def __init__(self, description: ArchiveDescription, folder: Path, clock: Clock = CLOCK) -> None:
        self._arguments = (description, folder, clock)
        self._name, self._url, self._now = description.name, description.index, clock.time
        AllowedHosts.of_url(self._url).check(self._url)
        self._folder = folder / hashlib.sha256(self._url.encode()).hexdigest()[:16]
        self._transport = HostTransport(AllowedHosts.of_url(self._url), clock=clock)
        self._ranges = FileRanges(
            self._transport,
            Signer(replace(description, hosts=(urlsplit(self._url).netloc,), signing="none")),
            HostPermits(folder / "permits", description.connections),
            HostPauses(folder / "pauses", clock=clock),
        )
        self._lock = threading.Lock()
        self._files: EmbeddingFiles | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what opens it in another process."""
        return KeptTable, self._arguments

    def items(self, collection: str, query: ItemQuery) -> Iterator[Item]:
        """Yield the files that may match, each once.

        Raises:
            ArchiveError: if the table is not kept, and its host does not answer.
            ArchiveRefusedError: if it cannot be read.
        """
        return self._open().items(collection, query)

    def collections(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the only collection."""
        return self._open().collections()

    def counts(self) -> Mapping[str, HostCounts]:
        """Return what this process has sent to each host."""
        return self._transport.counts()

    def _open(self) -> EmbeddingFiles:
        with self._lock:
            if self._files is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                with locked(self._folder):
                    self._keep()
                self._files = EmbeddingFiles(self._folder / _TABLE, self._url.rpartition("/")[0])
            return self._files

    def _keep(self) -> None:
        """Fetch the table, unless one is kept that is new enough, unchanged, or all that can be had."""
        path, mark = self._folder / _TABLE, self._folder / _VERSION
        version, _, checksum = mark.read_text(encoding="utf-8").partition("\n") if mark.is_file() else ("", "", "")
        is_kept = path.is_file() and checksum == _checksum(path)  # else it is damaged
        if is_kept and 0 <= self._now() - mark.stat().st_mtime < _FRESH:
            return
        try:
            first = self._ranges.read(self._url, "", 0, 1 if is_kept else _PART, patience=_IMPATIENCE)
            if is_kept and is_same_version(version, first.version):
                os.utime(mark, (self._now(), self._now()))
                return
            self._fetch(first.size, first.version, path)
        except (ArchiveError, ArchiveRefusedError) as error:
            if not is_kept and isinstance(error, ArchiveAwayError):  # nobody waits for a network that is not there
                raise unreached(error) from error
            if not is_kept:
                raise
            _LOG.warning("The list of files at %s is an old one: %s", shown_url(self._url), error)
            return
        mark.write_text(f"{first.version}\n{_checksum(path)}", encoding="utf-8")
        os.utime(mark, (self._now(), self._now()))

    def _fetch(self, size: int, version: str, path: Path) -> None:
        if size > _LARGEST:
            raise ArchiveRefusedError(f"{shown_url(self._url)} has {size} bytes, more than a list of files has.")
        _LOG.warning("Fetching the list of the archive's files once: %.0f MB from %s", size / 1e6, shown_url(self._url))
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix="draft-")
        try:
            with os.fdopen(handle, "wb") as file:
                for start in range(0, size, _PART):
                    file.write(self._ranges.read(self._url, "", start, _PART, version).data)
            Path(draft).replace(path)
        except BaseException:
            Path(draft).unlink()
            raise


def _checksum(path: Path) -> str:
    checksum = 0
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            checksum = isal_zlib.crc32(part, checksum)
    return f"{checksum:08x}"
