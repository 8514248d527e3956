"""Open an archive: its search, its reader of files, and the store of its datasets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.archives.archive_store import ArchiveStore, JoinedArchives
from eechips_local.archives.files.cog_raster import RangeCogReader
from eechips_local.archives.files.file_ranges import RangeTransport
from eechips_local.archives.files.folder_transport import FolderTransport
from eechips_local.archives.files.range_cache import cache_folder
from eechips_local.archives.hosts.allowed_hosts import AllowedHosts
from eechips_local.archives.hosts.checked_connections import HostTransport
from eechips_local.archives.hosts.signing import Signer
from eechips_local.archives.items.item_search import open_search


def open_archives(descriptions: Iterable[ArchiveDescription], since: float | None = None) -> JoinedArchives:
    """Return the store of several archives, without a request.

    Args:
        since: see :func:`open_archive`.

    Raises:
        ArchiveRefusedError: if a description names no archive that can be searched.
    """
    return JoinedArchives([open_archive(description, since) for description in descriptions])


def open_archive(description: ArchiveDescription, since: float | None = None) -> ArchiveStore:
    """Return the store of an archive's datasets, without a request.

    Args:
        since: when a file must have been asked for its version before what is kept of it is used, in seconds since
            1970; now by default.

    Raises:
        ArchiveRefusedError: if the description names no archive that can be searched.
    """
    search = open_search(description, cache_folder() / "searches", since)
    transport: RangeTransport = HostTransport(AllowedHosts.of_files(description))
    if description.file:
        transport = FolderTransport(Path(description.file), transport)
    reader = RangeCogReader(transport, Signer(description), connections=description.connections, since=since)
    return ArchiveStore(description, search, reader)
