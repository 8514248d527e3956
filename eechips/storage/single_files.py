"""Write single files atomically: :mod:`eechips.files.removal` gives the temporary file its final name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from eechips.errors import EechipsError, StorageError
from eechips.files.abandoned_files import sweep_beside
from eechips.files.removal import NamedPath, remove, replace
from eechips.files.temporary_names import Writer, new_writer, temporary_name
from eechips.storage.local_store import LocalStore
from eechips.storage.paths import is_device


@contextlib.contextmanager
def open_atomic(path: Path, *, keeps: bool = False) -> Iterator[TextIO]:
    """Open a text file that receives its name when the block ends; pipes and devices are written directly.

    Args:
        path: path of the file; an existing file, or the target of a link, is replaced.
        keeps: whether the file is kept if the block raises an exception after it has written something; otherwise it
            is removed.

    Raises:
        StorageError: if it cannot be written.
    """
    is_replaced = (path.is_file() or not path.exists()) and not is_device(path)
    target, writer = Path(os.path.realpath(path)), new_writer()
    temporary = target.with_name(temporary_name(target.name, str(writer))) if is_replaced else path
    with _named(path):
        sweep_beside(target, writer)
        file = temporary.open("w", encoding="utf-8")
    is_wanted = False
    try:
        with file:
            try:
                yield file
                is_wanted = True
            except BaseException:
                with contextlib.suppress(OSError):
                    is_wanted = keeps and file.tell() > 0
                raise
    finally:
        with _named(path):
            try:
                if is_replaced and is_wanted:
                    replace(temporary, target)
            finally:
                if is_replaced:
                    remove(temporary, NamedPath())


@contextlib.contextmanager
def atomic_path(path: Path, writer: Writer | None = None) -> Iterator[Path]:
    """Yield the path of a temporary file beside another, which it replaces when the block ends without an exception.

    Args:
        path: path of the file; an existing file is replaced.
        writer: in the name of the temporary file; None for a new one.

    Raises:
        StorageError: if the file cannot be written.
    """
    writer = writer or new_writer()
    temporary = path.with_name(temporary_name(path.name, str(writer)))
    try:
        with _named(path):
            sweep_beside(path, writer)
            yield temporary
            replace(temporary, path)
    finally:
        remove(temporary, NamedPath())  # left over after an error or an interrupt


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError.of_write(path, error) from error


def write_file(path: Path, data: bytes, *, is_one_of_many: bool = False) -> None:
    """Write a file under a temporary name, and rename it; remove what killed processes have left of it.

    Args:
        path: path of the file; an existing file is replaced.
        data: content.
        is_one_of_many: whether so many files are written into the folder that it is not listed for each of them.

    Raises:
        StorageError: if it cannot be written.
    """
    store, writer = LocalStore(path.parent), new_writer()
    if not is_one_of_many:
        with _named(path):
            sweep_beside(path, writer)
    staged = store.stage(path.name, data, str(writer))
    try:
        store.commit(staged)
    except EechipsError:
        with contextlib.suppress(OSError):  # the folder may be the cause
            store.discard(staged)
        raise
