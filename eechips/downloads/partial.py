"""A file that is on its way: what of it is here, of which version, and its hashes so far."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import Any

from eechips.downloads.integrity import create_digest
from eechips.errors import StorageError
from eechips.removal import Reserved, remove, remove_empty
from eechips.removal import replace as rename
from eechips.staging import Writer, boot_id, has_ended, new_writer, temporary_name
from eechips.storage import write_file
from eechips.timestamps import parse_http_date

_BLOCK = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_UNSATISFIED = re.compile(r"bytes \*/(\d+)")
SHA256 = "sha256"
PARTIAL = "partial"
"""Folder of the files on their way: a folder for each unit, named by its id, with a file for each writer."""
_OWN = Reserved(PARTIAL)
_DATA = ".data"
_claimed: set[Path] = set()
_turn = Lock()


@dataclass(frozen=True, slots=True)
class FileVersion:
    """Which version of a file a server sends.

    Attributes:
        total: bytes; None if the server does not say.
        etag: as it was sent; None if there is none.
        modified: ``Last-Modified``, likewise.
        is_dated: whether ``modified`` tells versions apart for sure.
        md5: of the whole, hexadecimal, if the server tells it.
    """

    total: int | None
    etag: str | None
    modified: str | None
    is_dated: bool = False
    md5: str | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str], total: int | None, md5: str | None = None) -> FileVersion:
        """The version that an answer tells of.

        Args:
            headers: of it.
            total: bytes of the whole file.
            md5: of it, hexadecimal, if that is known.
        """
        modified = headers.get("Last-Modified")
        return cls(total, headers.get("ETag"), modified, _is_dated(modified, headers.get("Date")), md5)

    @property
    def validator(self) -> str | None:
        """What ``If-Range`` takes: a strong ETag, or a date that is one (RFC 9110, 13.1.5 and 8.8.2.2)."""
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.modified if self.is_dated and self.etag is None else None

    def is_same(self, other: FileVersion) -> bool:
        """Whether a part of another version is one of this: nothing that both tell is different."""
        pairs = ((self.total, other.total), (self.etag, other.etag), (self.modified, other.modified))
        return all(a is None or b is None or a == b for a, b in pairs)


def parse_content_range(header: str | None) -> tuple[int, int, int | None] | None:
    """First byte, byte after the last, and size of the whole of a ``Content-Range``; None if it is none."""
    found = _CONTENT_RANGE.fullmatch((header or "").strip())
    if found is None:
        return None
    return int(found[1]), int(found[2]) + 1, None if found[3] == "*" else int(found[3])


def parse_unsatisfied_range(header: str | None) -> int | None:
    """Size of the whole of a ``Content-Range`` that says that nothing of it lies where it was asked for."""
    found = _UNSATISFIED.fullmatch((header or "").strip())
    return None if found is None else int(found[1])


class PartialFile:
    """A file on its way, and beside it a note of its version. One thread uses it at a time.

    What a process that was killed has left is hashed once, and goes on. After the machine went down, nobody knows
    whether all that the file seems to have was written: it begins anew.

    Attributes:
        failures: how often the whole file was wrong.
        version: of what is there; None if nothing is.

    Args:
        path: of the file.
        algorithms: beside sha256, as :func:`eechips.downloads.integrity.create_digest` knows them.
    """

    def __init__(self, path: Path, algorithms: Iterable[str] = ()) -> None:
        self.path, self._note = path, _note_of(path)
        self._wanted = tuple(dict.fromkeys((SHA256, *algorithms)))
        self.failures = 0
        self.version: FileVersion | None = None
        self._hashes: dict[str, Any] = {}
        self._size = 0
        self._file: FileIO | None = None
        self._boot = boot_id()
        self._restore()

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self._size

    @property
    def is_complete(self) -> bool:
        """Whether as many bytes are here as the server has promised."""
        return self.version is not None and self.version.total == self._size

    def digest(self, algorithm: str = SHA256) -> str:
        """Of what is here, hexadecimal."""
        return str(self._hashes[algorithm].hexdigest())

    def begin(self, version: FileVersion, algorithms: Iterable[str] = ()) -> None:
        """Begins anew.

        Args:
            version: of what will be written.
            algorithms: further ones that are needed.

        Raises:
            StorageError: if it cannot be written.
        """
        self.close()
        self._wanted = tuple(dict.fromkeys((*self._wanted, *algorithms)))
        with self._failing():
            remove(self.path, _OWN)  # before the note says that what is there is of this version
        self._save(version)
        with self._failing():
            self._file = FileIO(self.path, "wb")
        self.version, self._size = version, 0
        self._hashes = {name: create_digest(name) for name in self._wanted}

    def write(self, piece: bytes) -> None:
        """Adds what has come.

        Raises:
            StorageError: if it cannot be written.
        """
        with self._failing():
            if self._file is None:
                self._file = FileIO(self.path, "ab")
            left = memoryview(piece)
            while left:
                left = left[self._file.write(left) or 0 :]
        for digest in self._hashes.values():
            digest.update(piece)
        self._size += len(piece)

    def measure(self, total: int) -> None:
        """Takes note of the size of the whole, which was not told when it began.

        Args:
            total: bytes.
        """
        if self.version is not None and self.version.total is None:
            self._save(replace(self.version, total=total))

    def finish(self) -> None:
        """Takes what is here for the whole, whose size nobody has told."""
        self.measure(self._size)

    def reset(self, *, failed: bool = False) -> None:
        """Forgets what is here.

        Args:
            failed: whether it was whole, and wrong.
        """
        self.close()
        self.failures += failed
        remove(self.path, _OWN)
        self.version, self._size, self._hashes = None, 0, {}
        self._save(None)

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _save(self, version: FileVersion | None) -> None:
        self.version = version
        content = {
            "version": None if version is None else asdict(version),
            "algorithms": self._wanted,
            "failures": self.failures,
            "boot": self._boot,
        }
        write_file(self._note, json.dumps(content).encode())

    def _restore(self) -> None:
        """Goes on with what an earlier process has left, if that is safe."""
        try:
            content = json.loads(self._note.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return
        self.failures = int(content["failures"])
        wanted = tuple(content["algorithms"])
        if content["version"] is None or not set(self._wanted) <= set(wanted):
            return
        if self._boot is None or content["boot"] != self._boot:  # unknown is not the same
            return
        version = FileVersion(**content["version"])
        is_usable = version.validator is not None or version.total is not None
        if not is_usable or not self.path.is_file():
            return
        self._wanted, self.version = wanted, version
        self._hashes = {name: create_digest(name) for name in wanted}
        with self.path.open("rb") as file:
            while block := file.read(_BLOCK):
                for digest in self._hashes.values():
                    digest.update(block)
                self._size += len(block)
        if version.total is not None and self._size > version.total:
            self.reset()

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageError(f"the disk is full: could not write {self.path}") from error
            raise StorageError(f"could not write {self.path}: {error.strerror or error}") from error


@contextlib.contextmanager
def claim_partial(folder: Path, writer: Writer) -> Iterator[Path]:
    """A file on its way that nobody else writes to for the duration of the block.

    Any number of commands may transfer the same file at once: each has one of its own. What a writer that has ended
    has left is taken over, by one of those that want it.

    Args:
        folder: of the unit, in :data:`PARTIAL`.
        writer: who asks. If it works for a run, it holds the lock of that run.

    Yields:
        The path of the file, which may not be there yet.

    Raises:
        OSError: if the file system refuses.
    """
    path = folder / f"{replace(writer, number=secrets.token_hex(4))}{_DATA}"
    with _turn:
        _claimed.add(path)
    try:
        for left in sorted(_left(folder, writer), key=_size_of, reverse=True):
            try:
                rename(_note_of(left), _note_of(path))  # whoever has the note has the file
            except FileNotFoundError:
                continue  # somebody else took it over
            with contextlib.suppress(FileNotFoundError):
                rename(left, path)
            break
        yield path
    finally:
        with _turn:
            _claimed.discard(path)


def _left(folder: Path, asking: Writer) -> list[Path]:
    """The files of a unit that nobody writes to any more; of each, the file or its note may be missing."""
    here = new_writer()
    found: list[Path] = []
    for each in folder.glob("*"):
        path = each.with_suffix(_DATA)
        try:
            writer, written = Writer.parse(each.stem), each.stat().st_mtime
        except (ValueError, FileNotFoundError):  # nobody's, or taken over at this moment
            continue
        with _turn:
            is_claimed = path in _claimed
        is_own = (writer.place, writer.pid, writer.started) == (here.place, here.pid, here.started)
        if path not in found and not is_claimed and (is_own or has_ended(writer, asking, written)):
            found.append(path)
    return found


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def offer(path: Path, token: str) -> Path:
    """Gives a whole file a second name, by which it may be taken away.

    The first stays, until :func:`forget`. What is written down last is that a file was taken: a process that is killed
    before that finds it here, and does not fetch it again.

    Args:
        path: of the file.
        token: of the writer; see :func:`eechips.staging.temporary_name`.

    Returns:
        The second name, one of those that a store sweeps; the first, where the file system has no second ones.
    """
    second = path.with_name(temporary_name(path.name, token))
    try:
        second.hardlink_to(path)
    except OSError:
        remove(_note_of(path), _OWN)
        return path
    return second


def discard(path: Path) -> None:
    """Removes a file that was on its way, if it is there, and its note, and the unit's folder if that is all."""
    remove(_note_of(path), _OWN)
    remove(path, _OWN)
    remove_empty(path.parent)


def forget(folder: Path, writer: Writer) -> None:
    """Removes the files of a unit that were on their way, except those that somebody writes to.

    Args:
        folder: of the unit, in :data:`PARTIAL`.
        writer: who asks. If it works for a run, it holds the lock of that run.
    """
    for path in _left(folder, writer):
        discard(path)


def _note_of(path: Path) -> Path:
    return path.with_suffix(".json")


def _is_dated(modified: str | None, date: str | None) -> bool:
    """Whether a file was last changed so long before it was sent that a further change has another date."""
    changed, sent = parse_http_date(modified or ""), parse_http_date(date or "")
    return changed is not None and sent is not None and (sent - changed).total_seconds() >= 1.0
