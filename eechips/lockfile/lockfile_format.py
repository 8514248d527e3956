"""Pack and unpack the ZIP archive of a lockfile: its members, bounds of their sizes, its signature, checksums of the
files that the command reads.

``lock.json`` describes the run, ``assets.jsonl`` has the versions of the assets that its results show, and
``units.jsonl`` the units.

A lockfile comes from others. Reading it executes nothing, writes nothing and opens no other file; sizes are bounded
before anything is unpacked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TypeVar

from eechips.errors import StorageError, UsageError
from eechips.files.hashes import hash_file
from eechips.lockfile.lockfile_records import LockedAsset, LockedInput, LockedUnit, LockHeader
from eechips.manifest.run_signature import is_signed, sign
from eechips.storage import atomic_path
from eechips.storage.untrusted_files import parse_json

HEADER_NAME, ASSETS_NAME, UNITS_NAME, INPUTS_FOLDER = "lock.json", "assets.jsonl", "units.jsonl", "inputs"

LARGEST_INPUT = 64 << 20
"""Bytes of a file that the command reads."""

_MOST_HEADER = 16 << 20
_MOST_LINE = 16 << 20  # a request of Earth Engine has 10 MiB
_MOST_RATIO = 60  # a unit has hashes, which do not shrink
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may take gigabytes to unpack
_SPARE = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time of ZIP: equal runs have equal lockfiles

T = TypeVar("T")


class Lockfile:
    """A lockfile that is open for reading. Use it in a ``with`` block.

    Attributes:
        header: what it says of the run.

    Raises:
        UsageError: if it is not a lockfile, or another version's.
        StorageError: if it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise UsageError(f"there is no lockfile {path}")
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise UsageError(f"{path} is not a lockfile: {error}") from None
        try:
            self.header = self._read_header()
            self._members = {HEADER_NAME, ASSETS_NAME, UNITS_NAME, *map(_member, self.header.inputs)}
            self._check_members()
        except BaseException:
            self._archive.close()
            raise

    def __enter__(self) -> Lockfile:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    @property
    def sha256(self) -> str:
        """SHA-256 of the lockfile, hexadecimal."""
        return hash_file(self.path)

    @property
    def is_own(self) -> bool:
        """Whether this user wrote the lockfile, and nothing in it has changed since.

        Raises:
            StorageError: if it is damaged.
        """
        lists = {name: self._hash(name) for name in (ASSETS_NAME, UNITS_NAME)}
        return is_signed("lockfile", self.header.signed(lists), self.header.signature)

    def _hash(self, name: str) -> str:
        digest = hashlib.sha256()
        with self._open(name) as file, self._unpacking():
            while data := file.read(_SPARE):
                digest.update(data)
        return digest.hexdigest()

    def read_input(self, locked: LockedInput) -> bytes:
        """Return the content of a file that the command reads.

        Raises:
            StorageError: if it is missing, too large, or changed.
        """
        data = self._read(_member(locked), LARGEST_INPUT)
        if hashlib.sha256(data).hexdigest() != locked.sha256:
            raise StorageError(f"{self.path} is damaged: the sha256 of {locked.name} is another")
        return data

    def assets(self) -> Iterator[LockedAsset]:
        """Yield the assets that results show, as a stream.

        Raises:
            StorageError: naming the line that is damaged.
        """
        return self._lines(ASSETS_NAME, "asset", LockedAsset.from_line, self.header.assets)

    def units(self) -> Iterator[LockedUnit]:
        """Yield the units in the order of the plan, as a stream.

        Raises:
            StorageError: naming the line that is damaged.
            UsageError: naming the line whose paths lead out of the folder of the run.
        """
        last = -1

        def read(line: bytes) -> LockedUnit:
            nonlocal last
            unit = LockedUnit.from_line(line)
            if unit.position <= last:
                raise ValueError("it is not in the order of the plan")
            last = unit.position
            return unit

        return self._lines(UNITS_NAME, "unit", read, self.header.units)

    def _lines(self, name: str, noun: str, read: Callable[[bytes], T], count: int) -> Iterator[T]:
        """Yield the lines of a member, as read by a function."""
        number = 0
        with self._open(name) as file:
            while line := self._line(file, f"{noun} {number + 1:,}"):
                number += 1
                try:
                    parsed = read(line)
                except UsageError as error:
                    raise UsageError(f"{self.path} cannot be used: {noun} {number:,}: {error}") from None
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                    raise StorageError(f"{self.path} is damaged: {noun} {number:,}: {error!r}"[:300]) from None
                yield parsed
        if number != count:
            raise StorageError(f"{self.path} is damaged: it has {number:,} {noun}s, not {count:,}")

    def _line(self, file: IO[bytes], which: str) -> bytes:
        with self._unpacking():
            line = file.readline(_MOST_LINE + 1)
        if len(line) > _MOST_LINE:
            raise StorageError(f"{self.path} is damaged: {which} has more than {_MOST_LINE >> 20} MiB")
        return line

    def _read_header(self) -> LockHeader:
        try:
            return LockHeader.from_json(parse_json(self._read(HEADER_NAME, _MOST_HEADER)))
        except UsageError as error:
            raise UsageError(f"{self.path} cannot be used: {error}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(f"{self.path} is damaged: {HEADER_NAME}: {error!r}"[:300]) from None

    def _check_members(self) -> None:
        """Refuse further members, and those that would unpack into much more than a lockfile has."""
        names = [member.filename for member in self._archive.infolist()]
        if sorted(names) != sorted(self._members):
            other = sorted(set(names) ^ self._members) or ["a name twice"]
            raise StorageError(f"{self.path} is not a lockfile of eechips: {other[0]!r}"[:200])
        for member in self._archive.infolist():
            most = LARGEST_INPUT if member.filename.startswith(INPUTS_FOLDER) else member.compress_size * _MOST_RATIO
            if member.file_size > most + _SPARE:
                size = f"{member.compress_size:,} bytes that claim to hold {member.file_size:,}"
                raise StorageError(f"{self.path} is damaged: {member.filename} has {size}"[:300])

    def _read(self, name: str, most: int) -> bytes:
        with self._open(name) as file, self._unpacking():
            data = file.read(most + 1)
        if len(data) > most:
            raise StorageError(f"{self.path} is damaged: {name} has more than {most >> 20} MiB"[:300])
        return data

    @contextlib.contextmanager
    def _unpacking(self) -> Iterator[None]:
        try:
            yield
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise StorageError(f"{self.path} is damaged: {error}") from None

    def _open(self, name: str) -> IO[bytes]:
        try:
            if self._archive.getinfo(name).compress_type not in _COMPRESSIONS:
                raise NotImplementedError(f"{name} is not compressed by DEFLATE")
            return self._archive.open(name)
        except (KeyError, RuntimeError, NotImplementedError, zipfile.BadZipFile, OSError) as error:
            raise UsageError(f"{self.path} is not a lockfile: {error}") from None


def write_lockfile(
    path: Path, header: LockHeader, inputs: Iterable[bytes], assets: Iterable[str], units: Iterable[str]
) -> None:
    """Write a lockfile, signed by this user.

    Args:
        path: path of the file; it is replaced.
        inputs: contents of the header's files.
        assets: lines of :meth:`LockedAsset.to_line`.
        units: lines of :meth:`LockedUnit.to_line`.

    Raises:
        StorageError: if it cannot be written.
    """
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        members = {_member(locked): data for locked, data in zip(header.inputs, inputs, strict=True)}
        for name, data in members.items():
            archive.writestr(_information(name), data)
        lists = {}
        for name, lines in ((ASSETS_NAME, assets), (UNITS_NAME, units)):
            digest = hashlib.sha256()
            with archive.open(_information(name), "w", force_zip64=True) as file:
                for line in lines:
                    data = f"{line}\n".encode()
                    digest.update(data)
                    file.write(data)
            lists[name] = digest.hexdigest()
        signed = {**header.to_json(), "signature": sign("lockfile", header.signed(lists))}
        text = json.dumps(signed, indent=1, ensure_ascii=False)
        archive.writestr(_information(HEADER_NAME), f"{text}\n".encode())


def _information(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _EPOCH)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    return member


def _member(locked: LockedInput) -> str:
    return f"{INPUTS_FOLDER}/{locked.sha256}"
