"""Store results: names that cannot leave the output folder, and files that are written atomically.

A file is staged by the worker (written under a temporary name in its final folder, flushed to the disk) and
committed by the parent (renamed), so that one process alone decides what a name means. Object stores are in
:mod:`eechips.objects`.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import re
import stat
import string
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import IO, Any, Protocol

from eechips.errors import StorageError, UsageError
from eechips.removal import NamedPath, TemporaryName, remove, replace, sweep_folder
from eechips.staging import Writer, is_abandoned, new_writer, temporary_name

ID_LENGTH = 16
"""Hexadecimal digits of an id in a file name: 64 bits, so two of a million names agree once in 4e7 plans."""

_BLOCK = 1 << 20  # bytes that are hashed at a time
_MAX_COMPONENT = 120  # bytes; file systems allow 255, and prefixes, suffixes and ids are still to come
_WHOLE_INDEX = re.compile(r"0?[0-9]{0,2}[dx]?")  # format specifications that keep numbers apart
_DELIMITERS = tuple("_-=@(),")
_GIVEN = ("id", "index", "kind")  # fields of a name that every unit has
_WINDOWS_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file that is complete on the disk but not yet under its name.

    Attributes:
        name: final path below the root, with forward slashes.
        temporary: present path below the root.
        size: bytes.
        sha256: of the content, hexadecimal.
        data: the content itself, if who staged it cannot write to the folder.
    """

    name: str
    temporary: str
    size: int
    sha256: str
    data: bytes | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # What a dataclass with slots does by itself looks its fields up again for every unit, on both sides.
        return type(self), tuple(getattr(self, name) for name in self.__slots__)


class StagingArea(Protocol):
    """Place in which a worker stages results until the parent commits them. Picklable."""

    def stage(self, name: str, data: bytes, token: str) -> StagedFile:
        """Take a result; see :meth:`LocalStore.stage`."""

    def discard(self, staged: StagedFile) -> None:
        """Remove what will not be committed."""


class Store(StagingArea, Protocol):
    """Store of results: a local folder, or an object store."""

    @property
    def is_overwritten(self) -> bool:
        """Return whether staging a result replaces what has its name."""

    def commit(self, staged: StagedFile) -> None:
        """Give a staged result its name."""

    def flush(self) -> None:
        """Write everything that is pending."""

    def sweep(self, asking: Writer, *, own: bool = False) -> int:
        """Remove abandoned temporary files; see :func:`eechips.staging.is_abandoned`. Returns how many."""

    def sizes(self, folders: Iterable[str]) -> Iterator[tuple[str, int]]:
        """Name and sizes in bytes of what is in the given folders, and perhaps elsewhere."""

    def size(self, name: str) -> int | None:
        """Return the size of a result in bytes; None if there is none."""

    def read(self, name: str) -> bytes:
        """Return the content of a result; FileNotFoundError if there is none."""

    def sha256(self, name: str) -> str:
        """Return sha256 of a result, hexadecimal, read piece by piece; FileNotFoundError if there is none."""


_MISNAMED = (errno.EISDIR, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.EILSEQ)
"""What is wrong with the name of a file, and not with its folder or the disk: a folder has it, or it is too long."""


class LocalStore:
    """A folder of results on a local disk.

    Attributes:
        root: the folder.
    """

    is_overwritten = False

    def __init__(self, root: Path) -> None:
        self.root = root
        self._prefix = f"{root}/"  # texts, not paths: they are put together several times for every result
        self._inner: set[str] = set()  # folders that were seen to lie inside the root

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.root,)

    def path(self, name: str) -> Path:
        """Return the path of a name, for writing or removing.

        Raises:
            UsageError: if the name is absolute, or leads out of the root, by itself or through a link.
        """
        return Path(self._inside(name))

    def file(self, name: str) -> Path:
        """Return the path of a file that is to be read, which need not exist.

        Raises:
            UsageError: if it lies outside the root, or is no regular file (a pipe would never end).
        """
        return resolve_inside(self._inside(name), self.root)

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: if there is none.
            UsageError: as :meth:`file`.
        """
        return self.file(name).read_bytes()

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes; None if there is none."""
        path = self.path(name)
        return path.stat().st_size if path.is_file() else None

    def sha256(self, name: str) -> str:
        """Return sha256 of a file, hexadecimal, read piece by piece.

        Raises:
            FileNotFoundError: if there is none.
            UsageError: as :meth:`file`.
        """
        return hash_file(self.file(name))

    def _inside(self, name: str) -> str:
        folder = check_name(name).rpartition("/")[0]
        if folder and folder not in self._inner:  # once a folder, not once a file
            if not is_inside(self._prefix + folder, self.root):
                raise UsageError(
                    f"'{name}' lies outside {self.root}: {folder} is a link that leads out of it. Link the whole output"
                    " folder instead"
                )
            self._inner.add(folder)
        return self._prefix + name

    def stage(self, name: str, data: bytes, token: str) -> StagedFile:
        """Write a file under a temporary name in its final folder.

        It is in the system's hands then, whatever becomes of this process; :meth:`flush` puts it on the disk.

        Args:
            name: final path below the root.
            data: the content.
            token: of the writer; see :func:`eechips.staging.temporary_name`.

        Raises:
            StorageError: if it cannot be written; nothing is left behind.
            UsageError: if the file system has no such names, a folder has the name, or a file that of the folder.
        """
        temporary = temporary_name(name, token)
        path = self._inside(temporary)
        try:
            try:
                _write(path, data)
            except FileNotFoundError:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                _write(path, data)
        except OSError as error:
            with contextlib.suppress(OSError):  # the folder may be what is wrong
                remove(Path(path), TemporaryName())
            raise self._failed(self.root / name, error) from error
        return StagedFile(
            name=name,
            temporary=temporary,
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )

    def commit(self, staged: StagedFile) -> None:
        """Give a staged file its name, replacing what is there; atomic.

        Raises:
            StorageError: if the file system refuses.
            UsageError: as :meth:`stage`.
        """
        if staged.data is not None:
            staged = self.stage(staged.name, staged.data, str(new_writer()))
        try:
            try:
                replace(self._inside(staged.temporary), self._inside(staged.name))
            except FileNotFoundError:  # not staged where it is to be
                self.path(staged.name).parent.mkdir(parents=True, exist_ok=True)
                replace(self._inside(staged.temporary), self._inside(staged.name))
        except OSError as error:
            raise self._failed(self.root / staged.name, error) from error

    def flush(self) -> None:
        """Flush the file system once for all files; flushing each takes milliseconds."""
        os.sync()

    def discard(self, staged: StagedFile) -> None:
        """Remove a staged file that will not be committed."""
        if staged.data is None:
            remove(self.path(staged.temporary), TemporaryName())

    def sizes(self, folders: Iterable[str]) -> Iterator[tuple[str, int]]:
        """Name and sizes in bytes of the files directly in the given folders; one listing per folder.

        Files that other processes rename or remove meanwhile are left out.
        """
        for folder in folders:
            directory = self.root if folder in ("", ".") else self.path(f"{folder}/_").parent
            if not directory.is_dir():
                continue
            prefix = f"{folder}/" if folder not in ("", ".") else ""
            with os.scandir(directory) as entries:
                for entry in entries:
                    try:
                        size = entry.stat().st_size if entry.is_file() else None
                    except FileNotFoundError:
                        continue
                    if size is not None:
                        yield prefix + entry.name, size

    def sweep(self, asking: Writer, *, own: bool = False) -> int:
        """Remove abandoned temporary files and scratch folders; see :func:`eechips.removal.sweep_folder`."""
        return sweep_folder(self.root, asking, own=own)

    def _file_above(self, path: Path) -> Path | None:
        """Return the file below the root that a path takes for a folder."""
        above = (folder for folder in path.parents if folder != self.root and folder.is_relative_to(self.root))
        return next((folder for folder in above if folder.is_file()), None)

    def _failed(self, path: Path, error: OSError) -> StorageError | UsageError:
        if error.errno in _MISNAMED:
            return UsageError(f"no file can have the name {path}: {error.strerror or error}; choose another one")
        if error.errno in (errno.ENOTDIR, errno.EEXIST) and (file := self._file_above(path)) is not None:
            return UsageError(
                f"no file can have the name {path}: {file} is a file. Choose another name, or move"
                " the file away and run eechips retry"
            )
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StorageError(f"the disk is full: could not write {path}")
        return StorageError(f"could not write {path}: {error.strerror or error}")


class RemoteStore:
    """Proxy of a store on another machine: staged data are sent there and written there."""

    def stage(self, name: str, data: bytes, token: str) -> StagedFile:
        """Stage a result in memory, as :meth:`LocalStore.stage` does on disk."""
        return StagedFile(name, temporary_name(name, token), len(data), hashlib.sha256(data).hexdigest(), data)

    def discard(self, staged: StagedFile) -> None:
        """There is nothing to remove."""


def check_name(name: str) -> str:
    """Return the name itself.

    Raises:
        UsageError: if it is absolute or leads out of where results go, on this system.
    """
    parts = name.replace(os.sep, "/").split("/")
    has_drive = os.sep == "\\" and ("\\" in name or ":" in name)
    if not name or name.startswith("/") or ".." in parts or "\0" in name or has_drive:
        raise UsageError(f"{name!r} is no name for a result: it must stay inside the output folder")
    return name


def is_inside(path: str | Path, root: Path) -> bool:
    """Return whether a path lies in a folder once all links are followed; it need not exist."""
    real = os.path.realpath(root)
    found = os.path.realpath(path)
    return found == real or found.startswith(real.rstrip("/") + "/")


def resolve_inside(path: str | Path, root: Path) -> Path:
    """Resolve the path of a file in a folder that another user may have made.

    Args:
        path: of the file, which need not exist; the folder that it is in lies inside ``root``.
        root: that no link may lead out of.

    Raises:
        UsageError: if a link leads out of the root, or it is no regular file, such as a pipe or a device.
    """
    path = Path(path)
    with contextlib.suppress(OSError):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            if not is_inside(path, root):
                raise UsageError(f"{path} is a link that leads out of {root}: it is not followed")
            mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise UsageError(f"{path} is no regular file: it is not read")
    return path


def make_folder(path: Path) -> bool:
    """Make the output folder.

    Returns:
        Whether it was made by this call: of several processes that begin at once, one has made it.

    Raises:
        StorageError: if that is impossible.
    """
    try:
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            path.mkdir(exist_ok=True)  # refuses a file
            return False
        return True
    except OSError as error:
        raise StorageError(f"cannot use {path} as output folder: {error.strerror or error}") from error


def hash_file(path: Path) -> str:
    """Return sha256 of a file, hexadecimal, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def open_atomic(path: Path, *, keeps: bool = False) -> Iterator[IO[str]]:
    """A text file that gets its name when the block ends. What is no regular file, such as a pipe, is written as it is.

    Args:
        path: of the file; one that is there is replaced, also behind a link.
        keeps: whether it gets its name as well if the block raises; otherwise nothing is left then.

    Raises:
        StorageError: if it cannot be written.
    """
    is_replaced = (path.is_file() or not path.exists()) and Path("/dev") not in path.parents
    target, writer = Path(os.path.realpath(path)), new_writer()
    temporary = target.with_name(temporary_name(target.name, str(writer))) if is_replaced else path
    with _named(path):
        for left in target.parent.glob(f".{glob.escape(target.name)}.*"):
            if is_abandoned(left.name, writer):
                remove(left, NamedPath())
        file = temporary.open("w", encoding="utf-8")
    is_wanted = keeps
    try:
        with file:
            yield file
        is_wanted = True
    finally:
        with _named(path):
            if is_replaced and is_wanted:
                replace(temporary, target)
            elif is_replaced:
                remove(temporary, NamedPath())


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"could not write {path}: {error.strerror or error}") from error


def write_file(path: Path, data: bytes) -> None:
    """Write a whole file or nothing: temporary name, rename.

    Raises:
        StorageError: if it cannot be written.
    """
    store = LocalStore(path.parent)
    store.commit(store.stage(path.name, data, str(new_writer())))


def _write(path: str, data: bytes) -> None:
    with FileIO(path, "wb") as file:
        left = memoryview(data)
        while left:  # without a buffer a write may be a part
            left = left[file.write(left) or 0 :]


def safe_component(value: Any) -> str:
    """Return one component of a path, made of any value.

    Letters and digits of any script, and ``. _ - + = @ ( ) ,``, stay; the rest becomes ``_``. The result is
    never empty, hidden, reserved by an operating system, or longer than 120 bytes.
    """
    text = unicodedata.normalize("NFC", str(value)).strip()
    text = "".join(c if c.isalnum() or c in "._-+=@()," else "_" for c in text).strip(".")
    encoded = text.encode()
    if len(encoded) > _MAX_COMPONENT:
        digest = hashlib.sha256(encoded).hexdigest()[:ID_LENGTH]
        text = encoded[: _MAX_COMPONENT - 1 - ID_LENGTH].decode(errors="ignore") + "-" + digest
    if not text or _WINDOWS_RESERVED.match(text):
        text += "_"
    return text


class NameTemplate:
    """Names of results, made from units: ``{eco_name}/{id}``.

    The fields are the unit's own keys and those of its ``properties``, and ``id`` (the first 16 digits of
    the unit's id), ``index`` (its place in the plan) and ``kind``. Format specifications work
    (``{index:06d}``). Slashes of the template make folders; slashes of values do not.

    Args:
        text: the template.
        prefers_values: whether a unit's own value called ``id``, ``index`` or ``kind``, such as a column of the user's
            file, stands for that field. In a template that a user has written it does.

    Attributes:
        text: the template.
        is_unique: whether the template alone keeps names apart.

    Raises:
        UsageError: if the template is malformed or leads out of the output folder.
    """

    def __init__(self, text: str, *, prefers_values: bool = False) -> None:
        self.text, self.prefers_values = text, prefers_values
        try:
            self._parts = [list(string.Formatter().parse(part)) for part in text.strip("/").split("/")]
        except ValueError as error:
            raise UsageError(f"the name template '{text}' is malformed: {error}") from None
        fields = [f for part in self._parts for _, f, _, _ in part if f is not None]
        if any(not re.fullmatch(r"[\w .:-]+", f) for f in fields):
            raise UsageError(f"the name template '{text}' is malformed: fields are plain names, as in {{id}}")
        if text.startswith("/") or any(part.strip() in ("", ".", "..") for part in text.strip("/").split("/")):
            raise UsageError(f"the name template '{text}' must be a path below the output folder")
        self._fields = frozenset(fields)
        self.is_unique = any(_keeps_apart(part) for part in self._parts) and not prefers_values

    @property
    def fields(self) -> frozenset[str]:
        """Name of the fields that it asks for."""
        return self._fields

    def is_unique_for(self, unit: Mapping[str, Any]) -> bool:
        """Return whether the name of this unit cannot be another's, whatever other units hold."""
        if not self.prefers_values:
            return self.is_unique
        own = self._fields & {"id", "index"} & unit_fields(unit).keys()
        return not own and any(_keeps_apart(part) for part in self._parts)

    def render(self, unit: Mapping[str, Any], identifier: str, index: int) -> str:
        """Return the name of a unit's result, without suffix.

        Args:
            unit: the unit.
            identifier: its id.
            index: its place in the plan.

        Raises:
            UsageError: if the unit has no such field; the message lists what there is.
        """
        values = name_fields(unit, identifier, index)
        if self.prefers_values:
            values |= {name: value for name, value in unit_fields(unit).items() if name in _GIVEN and value != ""}
        return "/".join(safe_component(self._render_part(part, values)) for part in self._parts)

    def _render_part(
        self, part: list[tuple[str, str | None, str | None, str | None]], values: Mapping[str, Any]
    ) -> str:
        text = ""
        for literal, name, specification, _ in part:
            text += literal
            if name is None:
                continue
            if name not in values:
                there = ", ".join(values)
                raise UsageError(f"the name template '{self.text}' asks for '{name}'; a unit has: {there}")
            try:
                text += format(values[name], specification or "")
            except (TypeError, ValueError) as error:
                raise UsageError(f"the name template '{self.text}' cannot write '{name}': {error}") from None
        return text


def fold_case(name: str) -> str:
    """Return a form of a name that is the same for all names which some file system takes for one.

    Such file systems do not distinguish upper from lower case, or composed from decomposed letters (APFS, HFS+, NTFS,
    exFAT). This is the canonical caseless matching of the Unicode standard (3.13, D145).
    """
    text = unicodedata.normalize("NFD", name).casefold()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text))


def _keeps_apart(part: Sequence[tuple[str, str | None, str | None, str | None]]) -> bool:
    """Return whether a component of a name template is another one for every unit.

    The whole ``id`` keeps names apart wherever it stands, as all ids have the same length. ``index`` does where it can
    be read back: at the beginning or the end of the component, apart from other fields by a delimiter.
    """
    for number, (literal, name, specification, _) in enumerate(part):
        if name == "id" and not specification:
            return True
        if name != "index" or not _WHOLE_INDEX.fullmatch(specification or ""):
            continue
        after, following = next(((text, field) for text, field, _, _ in part[number + 1 :]), ("", None))
        is_first, is_last = number == 0, following is None
        if (is_first and (is_last or after[:1] in _DELIMITERS)) or (is_last and literal[-1:] in _DELIMITERS):
            return True
    return False


def name_fields(unit: Mapping[str, Any], identifier: str, index: int) -> dict[str, Any]:
    """Return the fields that a name template can use: scalars of the unit, of its properties, id, index, kind."""
    own = unit_fields(unit)
    return {**own, "id": identifier[:ID_LENGTH], "index": index, "kind": unit.get("kind", "call")}


def unit_fields(unit: Mapping[str, Any]) -> dict[str, Any]:
    """Return the texts, numbers and truth values of a unit and of its properties."""
    value = unit.get("value")
    layers: list[Mapping[str, Any]] = [unit]
    for layer in (
        value,
        unit.get("properties"),
        value.get("properties") if isinstance(value, Mapping) else None,
    ):
        if isinstance(layer, Mapping):
            layers.append(layer)
    return {k: v for layer in layers for k, v in layer.items() if isinstance(v, (str, int, float))}
