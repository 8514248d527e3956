"""Read and write lockfiles: ZIP archives with JSON and the files that the command reads.

``lock.json`` describes the run, ``assets.jsonl`` has the versions of the assets that its results show, and
``units.jsonl`` the units.

A lockfile comes from others. Reading it executes nothing, writes nothing and opens no other file; sizes are bounded
before anything is unpacked.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

from eechips.errors import StorageError, UsageError
from eechips.files.hashes import hash_file
from eechips.files.removal import NamedPath, remove, replace
from eechips.files.temporary_names import new_writer, temporary_name
from eechips.lockfile.content_hashes import ContentHashes, content_hashes_from_json
from eechips.manifest.reserved_names import result_name
from eechips.manifest.run_signature import is_signed, sign
from eechips.manifest.unit_record import State
from eechips.recipe import canonical_json
from eechips.recipe.asset_version import AssetVersion
from eechips.storage.received_files import parse_json

FORMAT = 1
HEADER_NAME, ASSETS_NAME, UNITS_NAME, INPUTS_FOLDER = "lock.json", "assets.jsonl", "units.jsonl", "inputs"

LARGEST_INPUT = 64 << 20
"""Bytes of a file that the command reads."""

_MOST_INPUTS = 256
_MOST_HEADER = 16 << 20
_MOST_LINE = 16 << 20  # a request of Earth Engine has 10 MiB
_MOST_VERSION = 1 << 63
_MOST_RATIO = 60  # a unit has hashes, which do not shrink
_SPARE = 1 << 20
_DIGITS = frozenset("0123456789abcdef")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time of ZIP: equal runs have equal lockfiles
_HELD = (State.DONE, State.EMPTY)

T = TypeVar("T")

_HEADER: Mapping[str, type | tuple[type, ...]] = {
    "command": str,
    "options": dict,
    "inputs": list,
    "recipe": str,
    "identity": str,
    "source": str,
    "datasets": list,
    "versions": dict,
    "started": (str, type(None)),
    "finished": (str, type(None)),
    "assets": int,
    "units": int,
    "files": int,
    "bytes": int,
    "left_out": int,
    "assembled": list,
    "signature": (str, type(None)),
}


@dataclass(frozen=True, slots=True)
class LockedInput:
    """A file that the command reads.

    Attributes:
        option: that names it.
        path: its value.
        name: of the file.
        sha256: of its content, hexadecimal.
    """

    option: str
    path: str
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class LockedFile:
    """A result.

    Attributes:
        file: path below the folder of the run.
        bytes: size.
        sha256: of the content, hexadecimal.
        layer: its name among the files of the unit; empty if there is one.
        metadata: bands, dtype, crs, transform, sources and dates, as far as they are known.
        hashes: of its content, in small parts; None for kinds of files without.
    """

    file: str
    bytes: int
    sha256: str
    layer: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    hashes: ContentHashes | None = None

    def to_json(self) -> dict[str, Any]:
        """Convert to a JSON value."""
        found: dict[str, Any] = {"file": self.file, "bytes": self.bytes, "sha256": self.sha256}
        if self.layer:
            found["layer"] = self.layer
        found |= {name: value for name, value in self.metadata.items() if value is not None}
        return found if self.hashes is None else {**found, "hashes": self.hashes.to_json()}

    @classmethod
    def from_json(cls, value: Any) -> LockedFile:
        """Read a file of :meth:`to_json`.

        Raises:
            ValueError, KeyError, TypeError: if it is none.
            UsageError: if its path leads out of the folder.
        """
        rest = dict(value)
        file, size, digest = (rest.pop(name) for name in ("file", "bytes", "sha256"))
        layer, hashes = rest.pop("layer", ""), rest.pop("hashes", None)
        if not isinstance(file, str) or type(size) is not int or not 0 <= size < 1 << 53 or not isinstance(layer, str):
            raise ValueError("a file has values of other types")
        return cls(result_name(file), size, _digest(digest), layer, rest, content_hashes_from_json(hashes))


@dataclass(frozen=True, slots=True)
class LockedAsset:
    """An asset that results show.

    Attributes:
        id: of the asset.
        version: when the lockfile was written; of an asset that has changed since its results were fetched, or is gone,
            it is unknown.
    """

    id: str
    version: AssetVersion

    def to_line(self) -> str:
        """Return the asset as a line of JSON."""
        known = {name: value for name, value in asdict(self.version).items() if value is not None}
        return json.dumps({"id": self.id, **known}, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: bytes) -> LockedAsset:
        """Read a line of :meth:`to_line`.

        Raises:
            ValueError, KeyError, TypeError: if it is none.
        """
        content = parse_json(line)
        name, version, updated = content["id"], content.get("version"), content.get("updated")
        etags = None if content.get("etags") is None else _digest(content["etags"])
        is_number = version is None or (type(version) is int and 0 <= version < _MOST_VERSION)
        if not isinstance(name, str) or not isinstance(updated, (str, type(None))) or not is_number:
            raise ValueError("it has values of other types")
        return cls(name, AssetVersion(version, updated, etags))


@dataclass(frozen=True, slots=True)
class LockedUnit:
    """A unit and its results.

    Attributes:
        position: in the plan.
        id: hexadecimal.
        unit: canonical JSON.
        name: of its results, without suffix.
        state: ``done`` or ``empty``.
        finished: time at which it was fetched, ISO 8601; None if it is unknown.
        files: its results, the first one first; none for an empty unit whose file was not kept.
        expression: SHA-256 of what its results request, hexadecimal; None if it is unknown.
    """

    position: int
    id: str
    unit: str
    name: str
    state: State
    finished: str | None
    files: tuple[LockedFile, ...]
    expression: str | None = None

    def to_line(self) -> str:
        """Return the unit as a line of JSON."""
        content = {
            "position": self.position,
            "id": self.id,
            "unit": json.loads(self.unit),
            "name": self.name,
            "state": self.state.value,
            "finished": self.finished,
            "expression": self.expression,
            "files": [file.to_json() for file in self.files],
        }
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: bytes) -> LockedUnit:
        """Read a line of :meth:`to_line`.

        Raises:
            ValueError, KeyError, TypeError: if it is none.
            UsageError: if a name leads out of the folder.
        """
        content = parse_json(line)
        position, name, finished = content["position"], content["name"], content["finished"]
        state, expression = State(content["state"]), content["expression"]
        if type(position) is not int or not 0 <= position < 1 << 53 or state not in _HELD:
            raise ValueError("it has no place in a plan")
        is_typed = isinstance(content["unit"], dict) and isinstance(name, str)
        if not is_typed or not isinstance(finished, (str, type(None))):
            raise ValueError("it has values of other types")
        files = tuple(map(LockedFile.from_json, content["files"]))
        return cls(
            position,
            _digest(content["id"]),
            canonical_json(content["unit"]),
            result_name(name),
            state,
            finished,
            files,
            None if expression is None else _digest(expression),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LockHeader:
    """What a lockfile says of the run as a whole.

    Attributes:
        command: that fetches, such as ``sample``.
        options: of the command, as JSON values by name.
        inputs: files that the command reads.
        recipe: its name.
        identity: of the recipe: what determines a result besides its unit.
        source: where requests went: the endpoint, or a name of the local Earth Engine's data.
        datasets: id, licence and citation of each dataset.
        versions: of the software, by name.
        started: of the run, ISO 8601.
        finished: of the run, ISO 8601.
        assets: number of those that results show.
        units: their number.
        files: their number.
        bytes: of all files.
        left_out: units of the run that failed or were dropped, and are not in the lockfile.
        assembled: files made of all results.
        signature: of :meth:`signed`, by the user who wrote the lockfile; None without one.
    """

    command: str
    options: Mapping[str, Any]
    inputs: tuple[LockedInput, ...]
    recipe: str
    identity: str
    source: str
    datasets: tuple[Mapping[str, Any], ...]
    versions: Mapping[str, Any]
    started: str | None
    finished: str | None
    assets: int
    units: int
    files: int
    bytes: int
    left_out: int
    assembled: tuple[LockedFile, ...] = ()
    signature: str | None = None

    def signed(self, lists: Mapping[str, str]) -> dict[str, Any]:
        """Return what the signature covers: the header, with the SHA-256 of the lists of assets and units by name."""
        return {**self.to_json(), "signature": None, "lists": dict(lists)}

    def to_json(self) -> dict[str, Any]:
        """Convert to a JSON value."""
        found = {name: getattr(self, name) for name in _HEADER}
        found["inputs"] = [asdict(each) for each in self.inputs]
        found["datasets"] = list(self.datasets)
        found["assembled"] = [file.to_json() for file in self.assembled]
        return {"lockfile": FORMAT, **found}

    @classmethod
    def from_json(cls, value: Any) -> LockHeader:
        """Read the content of ``lock.json``.

        Raises:
            ValueError, KeyError, TypeError: if it is something else.
            UsageError: if a newer version wrote it.
        """
        version = value["lockfile"]
        if version != FORMAT:
            raise UsageError(f"it has format {version!r}, and this eechips reads {FORMAT}: install a newer eechips")
        for name, kind in _HEADER.items():
            if not isinstance(value[name], kind) or isinstance(value[name], bool):
                raise ValueError(f"{name} is {json.dumps(value[name])[:60]}")
        found = {name: value[name] for name in _HEADER}
        found["inputs"] = tuple(map(_input, value["inputs"]))
        found["datasets"] = tuple(map(_dataset, value["datasets"]))
        found["assembled"] = tuple(map(LockedFile.from_json, value["assembled"]))
        found["identity"] = _digest(value["identity"])
        if len(found["inputs"]) > _MOST_INPUTS:
            raise ValueError(f"it has {len(found['inputs']):,} files to read")
        return cls(**found)


class Lockfile:
    """A lockfile that is open for reading. Use it in a ``with`` block.

    Attributes:
        path: of the file.
        header: what it says of the run.

    Args:
        path: of the file.

    Raises:
        UsageError: if it is no lockfile, or another version's.
        StorageError: if it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise UsageError(f"there is no lockfile {path}")
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise UsageError(f"{path} is no lockfile: {error}") from None
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
        with self._open(name) as file:
            try:
                while data := file.read(_SPARE):
                    digest.update(data)
            except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
                raise StorageError(f"{self.path} is damaged: {error}") from None
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
        """Yield the lines of a member, as read by a function.

        Args:
            name: of the member.
            noun: what a line is, for messages.
            read: converts a line.
            count: number of lines that there must be.
        """
        number = 0
        with self._open(name) as file:
            while line := self._line(file, f"{noun} {number + 1:,}"):
                number += 1
                try:
                    found = read(line)
                except UsageError as error:
                    raise UsageError(f"{self.path} cannot be used: {noun} {number:,}: {error}") from None
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                    raise StorageError(f"{self.path} is damaged: {noun} {number:,}: {error!r}"[:300]) from None
                yield found
        if number != count:
            raise StorageError(f"{self.path} is damaged: it has {number:,} {noun}s, not {count:,}")

    def _line(self, file: IO[bytes], which: str) -> bytes:
        try:
            line = file.readline(_MOST_LINE + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise StorageError(f"{self.path} is damaged: {error}") from None
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
            raise StorageError(f"{self.path} is no lockfile of eechips: {other[0]!r}"[:200])
        for member in self._archive.infolist():
            most = LARGEST_INPUT if member.filename.startswith(INPUTS_FOLDER) else member.compress_size * _MOST_RATIO
            if member.file_size > most + _SPARE:
                size = f"{member.compress_size:,} bytes that claim to hold {member.file_size:,}"
                raise StorageError(f"{self.path} is damaged: {member.filename} has {size}"[:300])

    def _read(self, name: str, most: int) -> bytes:
        with self._open(name) as file:
            try:
                data = file.read(most + 1)
            except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
                raise StorageError(f"{self.path} is damaged: {error}") from None
        if len(data) > most:
            raise StorageError(f"{self.path} is damaged: {name} has more than {most >> 20} MiB"[:300])
        return data

    def _open(self, name: str) -> IO[bytes]:
        try:
            return self._archive.open(name)
        except (KeyError, RuntimeError, NotImplementedError, zipfile.BadZipFile, OSError) as error:
            raise UsageError(f"{self.path} is no lockfile: {error}") from None


def write_lockfile(
    path: Path, header: LockHeader, inputs: Iterable[bytes], assets: Iterable[str], units: Iterable[str]
) -> None:
    """Write a lockfile, signed by this user.

    Args:
        path: of the file; it is replaced.
        header: what it says of the run; its signature is replaced.
        inputs: contents of the header's files.
        assets: lines of :meth:`LockedAsset.to_line`.
        units: lines of :meth:`LockedUnit.to_line`.

    Raises:
        StorageError: if it cannot be written.
    """
    temporary = path.with_name(temporary_name(path.name, str(new_writer())))
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
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
        replace(temporary, path)
    except OSError as error:
        raise StorageError(f"could not write {path}: {error.strerror or error}") from error
    finally:
        remove(temporary, NamedPath())


def _information(name: str) -> zipfile.ZipInfo:
    found = zipfile.ZipInfo(name, _EPOCH)
    found.compress_type = zipfile.ZIP_DEFLATED
    found.external_attr = 0o644 << 16
    return found


def _member(locked: LockedInput) -> str:
    return f"{INPUTS_FOLDER}/{locked.sha256}"


def _input(value: Any) -> LockedInput:
    locked = LockedInput(**value)
    if not all(isinstance(each, str) for each in asdict(locked).values()):
        raise ValueError("a file to read has values of other types")
    if not locked.name or "/" in locked.name or "\0" in locked.name or locked.name in (".", ".."):
        raise ValueError(f"{locked.name!r} is no name of a file")
    _digest(locked.sha256)
    return locked


def _dataset(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(each, (str, type(None))) for each in value.values()):
        raise ValueError("a dataset has values of other types")
    return value


def _digest(value: Any) -> str:
    if not isinstance(value, str) or len(value) != 64 or not _DIGITS.issuperset(value):
        raise ValueError(f"{value!r:.80} is no SHA-256")
    return value
