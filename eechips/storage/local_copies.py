"""Read results as local files. Results of an object store are copied to a temporary folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from eechips.files.scratch_folders import temporary_folder
from eechips.storage.local_store import LocalStore
from eechips.storage.object_store import ObjectStore

_AT_ONCE = 8  # objects downloaded from a store at once


@contextlib.contextmanager
def local_copies(store: LocalStore | ObjectStore) -> Iterator[Callable[[Sequence[str]], Iterator[Path]]]:
    """Yield a function that yields the local paths of files by their names; missing files have paths, too.

    Files of an object store are downloaded ahead.
    """
    if isinstance(store, LocalStore):
        local = store
        yield lambda names: (local.file(name) for name in names)
        return
    with temporary_folder() as scratch, ThreadPoolExecutor(_AT_ONCE) as pool:

        def fetch(numbered: tuple[int, str]) -> Path:
            number, name = numbered
            copy = Path(scratch) / f"{number}-{Path(name).name}"
            with contextlib.suppress(OSError):  # reported when the copy is read
                copy.write_bytes(store.read(name))
            return copy

        yield lambda names: pool.map(fetch, enumerate(names))
