"""Read and write quality.parquet: the statistics and flags of every file of a run, and the journal from which an
interrupted check resumes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet

from eechips.errors import StorageError, UsageError
from eechips.files.abandoned_files import is_abandoned_path
from eechips.files.removal import NamedPath, remove
from eechips.files.temporary_names import Writer, is_temporary, new_writer, temporary_name, writer_of
from eechips.storage import resolve_inside, write_file
from eechips.storage.untrusted_files import open_parquet, parse_json, read_parquet, translate_read_errors
from eechips.training.quality.chip_statistics import ChipStatistics

if TYPE_CHECKING:
    import pandas as pd

QUALITY_NAME = "quality.parquet"

_VERSION = 1
"""Version of the statistics: files measured by another version are read again."""

_METADATA = b"eechips.check"
_JOURNAL_NAME = f"{QUALITY_NAME}.journal"
_open: set[str] = set()  # names of the journals of checks that are running in this process
_writers: set[Writer] = set()  # of all journals of this process
_TEXTS = ("id", "layer", "file", "sha256", "duplicate_of", "pixels", "dhash")
_INTEGERS = ("bytes", "width", "height", "kinds")
_COLUMNS = ("id", "layer", "file", "bytes", "sha256", "flags", "duplicate_of")


def read(folder: str | Path) -> pd.DataFrame:
    """Read quality.parquet: a row for each file with pixels, in the order of the plan.

    Returns:
        Columns id (of the unit), layer (None where a unit has one file), file, bytes, sha256 (of the content that was
        read), flags (list of names), duplicate_of (id of the unit with the same pixels), and a column for each field of
        :class:`~eechips.training.quality.chip_statistics.ChipStatistics`.

    Raises:
        UsageError: if the run was not checked.
    """
    path = _path(folder)
    with translate_read_errors(path):
        frame: pd.DataFrame = read_parquet(path).to_pandas()
        lacking = [name for name in _COLUMNS if name not in frame.columns]
        if lacking:
            raise ValueError(f"it has no column {lacking[0]}")
        frame["flags"] = [list(names) for names in frame["flags"]]
        return frame


def flags(folder: str | Path) -> dict[str, list[str]]:
    """Read the sorted flags of the files of every checked unit, by its id.

    Raises:
        UsageError: if the run was not checked.
    """
    frame = read(folder)
    flags_of: dict[str, set[str]] = {}
    for identifier, names in zip(frame["id"], frame["flags"], strict=True):
        flags_of.setdefault(identifier, set()).update(names)
    return {identifier: sorted(names) for identifier, names in flags_of.items()}


def options(folder: str | Path) -> dict[str, Any]:
    """Read the options of the check.

    Raises:
        UsageError: if the run was not checked.
    """
    return dict(_metadata(folder)["options"])


def measured(folder: str | Path) -> dict[tuple[str, str], tuple[float, ChipStatistics]]:
    """Read the statistics of earlier checks, interrupted ones included, by file and sha256 of its content.

    Each has the time at which its check began: what has changed since may have other content.
    """
    statistics = {}
    if (Path(folder) / QUALITY_NAME).is_file() and _metadata(folder)["version"] == _VERSION:
        names = [field.name for field in fields(ChipStatistics)]
        started = _path(folder).stat().st_mtime
        for row in read_parquet(_path(folder), ("file", "sha256", *names)).to_pylist():
            if row["pixels"] is not None:
                values = ChipStatistics(**{name: row[name] for name in names})
                statistics[row["file"], row["sha256"]] = started, values
    for path, line in _noted(Path(folder)):
        try:
            version, started, file, digest, values = parse_json(line)
        except (ValueError, TypeError):  # it was cut off
            continue
        if version == _VERSION:
            with translate_read_errors(path):
                statistics[file, digest] = float(started), ChipStatistics(**values)
    return statistics


def _journals(folder: Path) -> list[Path]:
    """Return the journals of running and interrupted checks."""
    paths = sorted(folder.glob(f".{_JOURNAL_NAME}.*"))
    return [path for path in paths if is_temporary(path.name) and path.is_file()]


def _noted(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield the lines of all journals with their paths; another check may be removing one."""
    for path in _journals(folder):
        with contextlib.suppress(FileNotFoundError):
            for line in resolve_inside(path, folder).read_bytes().splitlines():
                yield path, line


class Journal:
    """The statistics of files, appended while a check runs, so that an interrupted check resumes.

    Use it in a ``with`` block; it is removed when the block ends, with those of interrupted checks. Several checks may
    run at once: each has a journal of its own.

    Raises:
        StorageError: if it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._writer = new_writer()
        self._path = folder / temporary_name(_JOURNAL_NAME, str(self._writer))
        _open.add(self._path.name)
        _writers.add(self._writer)
        with self._writing():
            self._file = self._path.open("a")
            self.started = self._path.stat().st_ctime

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._writing():
                self._file.close()
        finally:
            _open.discard(self._path.name)
        if kind is None:
            for path in _journals(self._path.parent):
                is_own = writer_of(path.name) in _writers and path.name not in _open
                if is_own or is_abandoned_path(path, self._writer):
                    remove(path, NamedPath())

    def add(self, file: str, sha256: str, measures: ChipStatistics) -> None:
        """Record the statistics of a file."""
        with self._writing():
            self._file.write(json.dumps([_VERSION, self.started, file, sha256, asdict(measures)]) + "\n")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Raise errors of writing as those of the table, whose name users know."""
        try:
            yield
        except OSError as error:
            raise StorageError.of_write(self._path.with_name(QUALITY_NAME), error) from error


def write(folder: Path, frame: pd.DataFrame, options: Mapping[str, Any], started: float) -> Path:
    """Write quality.parquet atomically. The same check writes the same bytes.

    Args:
        frame: see :func:`read`.
        options: options of the check.
        started: when the check began, see :attr:`Journal.started`; it becomes the time of the file.

    Raises:
        StorageError: if it cannot be written.
    """
    measures = [field.name for field in fields(ChipStatistics)]
    types = dict.fromkeys(measures, pa.float64()) | dict.fromkeys(_TEXTS, pa.string())
    types |= dict.fromkeys(_INTEGERS, pa.int64()) | {"is_constant": pa.bool_(), "flags": pa.list_(pa.string())}
    schema = pa.schema([(name, types[name]) for name in (*_COLUMNS, *measures)])
    content = json.dumps({"version": _VERSION, "options": dict(options)}).encode()
    columns = [pa.array(frame[name].tolist(), type=types[name], from_pandas=True) for name in schema.names]
    table = pa.table(columns, schema=schema).replace_schema_metadata({_METADATA: content})
    buffer = pa.BufferOutputStream()
    pyarrow.parquet.write_table(table, buffer, compression="zstd")
    path = folder / QUALITY_NAME
    write_file(path, buffer.getvalue().to_pybytes())
    os.utime(path, (started, started))
    return path


def _metadata(folder: str | Path) -> dict[str, Any]:
    path = _path(folder)
    with open_parquet(path) as file:
        metadata: dict[str, Any] = parse_json((file.schema_arrow.metadata or {})[_METADATA])
        if not isinstance(metadata, dict) or not isinstance(metadata["options"], dict) or "version" not in metadata:
            raise ValueError("its metadata are not those of a check")
    return metadata


def _path(folder: str | Path) -> Path:
    path = Path(folder) / QUALITY_NAME
    if not path.is_file():
        raise UsageError(f"{folder} was not checked yet: eechips check {shlex.quote(str(folder))}")
    return path
