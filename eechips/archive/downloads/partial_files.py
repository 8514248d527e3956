"""Keep partially downloaded files with their versions and digests, so that downloads resume."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import Any

from eechips.archive.downloads.integrity import create_digest
from eechips.errors import StorageError
from eechips.files.abandoned_files import file_system_time, has_ended
from eechips.files.removal import ReservedName, remove, remove_empty
from eechips.files.removal import replace as rename
from eechips.files.temporary_names import Writer, boot_id, new_writer, temporary_name
from eechips.storage import write_file
from eechips.text.timestamps import parse_http_date

_BLOCK = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_UNSATISFIED = re.compile(r"bytes \*/([0-9]{1,18})")
SHA256 = "sha256"
PARTIAL = "partial"
"""Folder of the partial files of a run: one folder for each unit, named by its id, one file for each writer."""
_OWN = ReservedName(PARTIAL)
_DATA = ".data"
_claimed: set[Path] = set()
_turn = Lock()


@dataclass(frozen=True, slots=True)
class FileVersion:
    """Version of a file on its server.

    Attributes:
        total: bytes; None if the server does not state them.
        etag: as sent; None if there is none.
        modified: ``Last-Modified`` as sent; None if there is none.
        is_dated: whether ``modified`` is a strong validator.
        md5: MD5 digest of the whole file, hexadecimal; None if the server does not state it.
    """

    total: int | None
    etag: str | None
    modified: str | None
    is_dated: bool = False
    md5: str | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str], total: int | None, md5: str | None = None) -> FileVersion:
        """Return the version that a response states."""
        modified = headers.get("Last-Modified")
        return cls(total, headers.get("ETag"), modified, _is_dated(modified, headers.get("Date")), md5)

    @property
    def validator(self) -> str | None:
        """The value for ``If-Range``: a strong ETag, or a strong date (RFC 9110, 13.1.5 and 8.8.2.2)."""
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.modified if self.is_dated and self.etag is None else None

    def is_same(self, other: FileVersion) -> bool:
        """Return whether nothing that both versions state differs."""
        pairs = ((self.total, other.total), (self.etag, other.etag), (self.modified, other.modified))
        return all(a is None or b is None or a == b for a, b in pairs)


def parse_content_range(header: str | None) -> tuple[int, int, int | None] | None:
    """Parse ``Content-Range`` into first byte, byte after the last, and total size; return None if it is malformed."""
    match = _CONTENT_RANGE.fullmatch((header or "").strip())
    if match is None:
        return None
    return int(match[1]), int(match[2]) + 1, None if match[3] == "*" else int(match[3])


def parse_unsatisfied_range(header: str | None) -> int | None:
    """Return the total size from the ``Content-Range`` of a 416 response; None if there is none."""
    match = _UNSATISFIED.fullmatch((header or "").strip())
    return None if match is None else int(match[1])


class PartialFile:
    """A partially downloaded file and a note of its version. One thread uses it at a time.

    The file of a killed process is hashed once and resumed. After a reboot of the machine the file starts again: the
    file system may not have written all of it.

    Attributes:
        failures: how often the complete file was wrong.
        version: version of the file on the server; None before the first byte.

    Args:
        algorithms: digests beside sha256, named as in :func:`eechips.archive.downloads.integrity.create_digest`.
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
        """Bytes received so far."""
        return self._size

    @property
    def is_complete(self) -> bool:
        """Return whether the file has as many bytes as the server stated."""
        return self.version is not None and self.version.total == self._size

    def digest(self, algorithm: str = SHA256) -> str:
        """Return the digest of the received bytes, hexadecimal."""
        return str(self._hashes[algorithm].hexdigest())

    def begin(self, version: FileVersion, algorithms: Iterable[str] = ()) -> None:
        """Start the file from its first byte.

        Raises:
            StorageError: if the file cannot be written.
        """
        self.close()
        self._wanted = tuple(dict.fromkeys((*self._wanted, *algorithms)))
        with self._failing():
            remove(self.path, _OWN)  # before the note claims this version for the old content
        self._save(version)
        with self._failing():
            self._file = FileIO(self.path, "wb")
        self.version, self._size = version, 0
        self._hashes = {name: create_digest(name) for name in self._wanted}

    def write(self, piece: bytes) -> None:
        """Append received bytes.

        Raises:
            StorageError: if the file cannot be written.
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
        """Record the total size, if the first response did not state it."""
        if self.version is not None and self.version.total is None:
            self._save(replace(self.version, total=total))

    def finish(self) -> None:
        """Treat the received bytes as the whole file, where the server states no size."""
        self.measure(self._size)

    def reset(self, *, failed: bool = False) -> None:
        """Discard the received bytes; ``failed`` if the complete file was wrong."""
        self.close()
        self.failures += failed
        remove(self.path, _OWN)
        self.version, self._size, self._hashes = None, 0, {}
        self._save(None)

    def close(self) -> None:
        """Close the file."""
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
        write_file(self._note, json.dumps(content).encode(), is_one_of_many=True)

    def _restore(self) -> None:
        """Resume the file of an earlier process, if that is safe."""
        try:
            content = json.loads(self._note.read_text(encoding="utf-8"))
            failures, boot = int(content["failures"]), content["boot"]
            wanted = tuple(dict.fromkeys(map(str, content["algorithms"])))
            hashes = {name: create_digest(name) for name in wanted}
            version = None if content["version"] is None else FileVersion(**content["version"])
            if version is not None and not isinstance(version.total, int | None):
                raise TypeError(version.total)
        except (
            FileNotFoundError,
            ArithmeticError,
            ValueError,
            LookupError,
            TypeError,
        ):  # damaged, or another version's
            return
        self.failures = failures
        if version is None or not set(self._wanted) <= set(wanted):
            return
        if self._boot is None or boot != self._boot:  # an unknown boot id is not the same one
            return
        is_usable = version.validator is not None or version.total is not None
        if not is_usable or not self.path.is_file():
            return
        self._wanted, self.version, self._hashes = wanted, version, hashes
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
            raise StorageError.of_write(self.path, error) from error


@contextlib.contextmanager
def claim_partial(folder: Path, writer: Writer) -> Iterator[Path]:
    """Claim a partial file for one writer for the duration of the block.

    Any number of commands may download the same file at once: each has a partial file of its own. One of them takes
    over the file of a writer that has ended.

    Args:
        writer: writer of the claim. A writer that works for a run holds the lock of that run.

    Yields:
        The path of the file, which need not exist yet.

    Raises:
        OSError: if the file system fails.
    """
    path = folder / f"{replace(writer, number=secrets.token_hex(4))}{_DATA}"
    with _turn:
        _claimed.add(path)
    try:
        for left in sorted(_left(folder, writer), key=_size_of, reverse=True):
            try:
                rename(_note_of(left), _note_of(path))  # the note decides who owns the file
            except FileNotFoundError:
                continue  # another writer took it over
            with contextlib.suppress(FileNotFoundError):
                rename(left, path)
            break
        yield path
    finally:
        with _turn:
            _claimed.discard(path)


def _left(folder: Path, asking: Writer) -> list[Path]:
    """Return the abandoned files of a unit; of each, the file or its note may be missing."""
    here, now = new_writer(), partial(file_system_time, folder)
    abandoned: list[Path] = []
    for file in folder.glob("*"):
        path = file.with_suffix(_DATA)
        try:
            writer, written = Writer.parse(file.stem), file.stat().st_mtime
        except (ValueError, FileNotFoundError):  # a foreign file, or taken over meanwhile
            continue
        with _turn:
            is_claimed = path in _claimed
        is_own = (writer.place, writer.pid, writer.started) == (here.place, here.pid, here.started)
        if path not in abandoned and not is_claimed and (is_own or has_ended(writer, asking, written, now)):
            abandoned.append(path)
    return abandoned


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def offer(path: Path, token: str) -> Path:
    """Give a complete file a second name, under which it may be moved away.

    The first name stays until :func:`forget`. The ledger records the file after it was moved: a process that is killed
    in between finds the file under its first name and does not download it again.

    Args:
        token: token of the writer; see :func:`eechips.files.temporary_names.temporary_name`.

    Returns:
        The second name, which a sweep of the store removes; the first, where the file system has no hard links.
    """
    second = path.with_name(temporary_name(path.name, token))
    try:
        second.hardlink_to(path)
    except OSError:
        remove(_note_of(path), _OWN)
        return path
    return second


def discard(path: Path) -> None:
    """Remove a partial file and its note, and the unit's folder if it is empty then."""
    remove(_note_of(path), _OWN)
    remove(path, _OWN)
    remove_empty(path.parent)


def forget(folder: Path, writer: Writer) -> None:
    """Remove the partial files of a unit, except those that are being written."""
    for path in _left(folder, writer):
        discard(path)


def _note_of(path: Path) -> Path:
    return path.with_suffix(".json")


def _is_dated(modified: str | None, date: str | None) -> bool:
    """Return whether a file was changed at least a second before it was sent, so that a change shows in its date."""
    changed, sent = parse_http_date(modified or ""), parse_http_date(date or "")
    return changed is not None and sent is not None and (sent - changed).total_seconds() >= 1.0
