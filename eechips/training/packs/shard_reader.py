"""Read the samples of a pack, and notice what was damaged, cut off or lost since it was written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from eechips.errors import EechipsError, StorageError
from eechips.files.hashes import hash_file
from eechips.training.formats import PACK_FORMATS
from eechips.training.packs.shard_index import INDEX_NAME, PackEntry, StoredShard

_LISTS = ("bands", "transform", "frames", "sources", "dates")  # of a layer, in the metadata of a sample
_COARSEST_TIME = 2 * 10**9  # nanoseconds between two times of a file system (FAT)

_FileState = tuple[int, int, int, int, int]
"""Device, inode, size, and times of the last change of content and of anything, in nanoseconds."""

_hashed: dict[tuple[Path, str], tuple[_FileState, ...]] = {}
"""The states of the files of shards that were compared with their checksums, by pack and shard."""


def read_shard(folder: Path, pack_format: str, stored: StoredShard) -> Iterator[PackEntry]:
    """Yield the samples of a shard.

    The sizes and checksums of the shard's files are compared with the index: once in a process, unless their inode,
    size or times change. Checksums of samples, or of a format, do not show that a file belongs to another pack; tar
    files of other samples often have the same size.

    Args:
        folder: folder of the pack.
        pack_format: a name in :data:`eechips.training.formats.PACK_FORMATS`.

    Raises:
        StorageError: if the shard is damaged.
        UsageError: if a package for the format is missing.
    """
    module = PACK_FORMATS.get(pack_format)
    started = time.time_ns()
    states = _states(folder, stored)
    place = folder.absolute(), stored.shard.stem
    if _hashed.get(place) != states:
        _check_files(folder, stored)
        is_settled = all(max(state[-2:]) < started - _COARSEST_TIME for state in states)  # a later change shows in them
        if is_settled and _states(folder, stored) == states:
            _hashed[place] = states
    shard_path = folder / (stored.files[0].name if stored.files else INDEX_NAME)
    entries = module.read(folder, stored.shard)
    count = 0
    while True:
        try:
            entry = next(entries, None)
            if entry is None:
                break
            _check(entry)
        except (EechipsError, MemoryError):
            raise
        except Exception as error:  # the packages of the formats raise errors of any kind
            if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of the data
                raise StorageError(f"{shard_path} cannot be read: {error.strerror}") from error
            raise _damaged(shard_path, " ".join(str(error).split())[:200] or type(error).__name__) from error
        count += 1
        yield entry
    if count != stored.shard.count:
        raise _damaged(shard_path, f"it has {count:,} of {stored.shard.count:,} samples")


def _check_files(folder: Path, stored: StoredShard) -> None:
    """Compare the files of a shard with their checksums.

    Raises:
        StorageError: if one cannot be read, or differs.
    """
    for file in stored.files:
        path = folder / file.name
        try:
            digest = hash_file(path)
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror or error}") from error
        if digest != file.sha256:
            raise _damaged(path, "its content differs from the index")


def _states(folder: Path, stored: StoredShard) -> tuple[_FileState, ...]:
    """Return the states of a shard's files.

    Raises:
        StorageError: if one cannot be read, is missing or has another size than in the index.
    """
    states = []
    for file in stored.files:
        path = folder / file.name
        try:
            status = path.stat() if path.is_file() else None
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror}") from error
        if status is None or status.st_size != file.bytes:
            reason = "it is missing" if status is None else f"it has {status.st_size:,} of {file.bytes:,} bytes"
            raise _damaged(path, reason)
        states.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return tuple(states)


def _check(entry: PackEntry) -> None:
    """Compare a sample with its metadata.

    Raises:
        ValueError, KeyError, TypeError: if they differ.
    """
    known = entry.parsed_metadata
    if known["id"] != entry.id:
        raise ValueError(f"sample {entry.id} has the metadata of {known['id']}")
    if not isinstance(known["unit"], dict):
        raise ValueError(f"the metadata of sample {entry.id} have no unit")
    for layer, facts in known["layers"].items():
        wrong = [name for name in _LISTS if not isinstance(facts.get(name), (list, type(None)))]
        corners = facts.get("transform") or [0.0] * 6
        if wrong or len(corners) != 6 or not all(isinstance(number, (int, float)) for number in corners):
            raise ValueError(f"{', '.join(wrong) or 'transform'} of {layer} of sample {entry.id} is of another type")


def _damaged(path: Path, reason: str) -> StorageError:
    return StorageError(f"{path} is damaged: {reason}. The same `eechips pack` makes damaged shards again")
