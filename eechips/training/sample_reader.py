"""Read the samples of a run, without those marked as bad: the files, split and metadata of each unit; compare files
with their checksums.

Checks, splits, packs and cards use this reader. It holds a run's rows as Arrow tables, some 100 MB for 100,000 chips,
so that processes that are forked share them and those that are spawned get them quickly.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eechips.errors import UsageError
from eechips.manifest.exclusions import marked_ids, read_marks
from eechips.manifest.extensions import first_layer, name_file, read_completions
from eechips.manifest.manifest_columns import FILE_COLUMNS, LISTS, State, decode_columns
from eechips.manifest.run import Run, open_run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.sqlite.ledger_queries import FilesAhead, read_unit_files
from eechips.storage import Store
from eechips.text.formatting import format_count
from eechips.training.quality import quality_table
from eechips.training.sample import ONLY, Sample, SampleFile, array_of, fields_of, label_of
from eechips.training.splits import split_table

SampleRow = tuple[tuple[Any, ...], list[tuple[Any, ...]]]
"""Values of a unit, and values of each of its files: see ``UNIT_VALUES`` and ``FILE_VALUES``."""

UNIT_VALUES = ("position", "id", "unit", "state", "valid_fraction", "sources", "dates", "finished")
FILE_VALUES = ("layer", "file", "bytes", "sha256", "metadata")


def name_files(rows: Iterable[SampleRow], ledger: Ledger) -> Iterator[SampleRow]:
    """Yield samples whose files have the name of their dataset, also files of the time when it was the only one."""
    name = first_layer(ledger.meta())
    for unit, files in rows:
        yield unit, files if name is None else [_named(file, name) for file in files]


def _named(file: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    layer, *own, metadata = file
    named, metadata = name_file(layer, metadata, name)
    return named, *own, metadata


def complete(row: SampleRow, further: Iterable[SampleRow]) -> SampleRow:
    """Return a sample with the files of further units: as one unit with all of them has it."""
    unit, files = dict(zip(UNIT_VALUES, row[0], strict=True)), list(row[1])
    for values, more in further:
        other = dict(zip(UNIT_VALUES, values, strict=True))
        files += more
        unit |= {
            "state": other["state"] if other["state"] == State.EMPTY else unit["state"],
            "valid_fraction": _least(unit, other),
            "sources": _union(unit["sources"], other["sources"]),
            "dates": _union(unit["dates"], other["dates"]),
            "finished": max(filter(None, (unit["finished"], other["finished"])), default=None),
        }
    return tuple(unit.values()), files


def _least(*units: Mapping[str, Any]) -> float | None:
    fractions = [unit["valid_fraction"] for unit in units if unit["valid_fraction"] is not None]
    return min(fractions, default=None)


def _union(*lists: str | None) -> str | None:
    values = dict.fromkeys(value for text in lists if text for value in json.loads(text))
    return json.dumps(list(values)) if values else None


_log = logging.getLogger(__name__)

_BATCH = 1000  # samples that are made at a time
_UNITS = ("position", "lower(hex(id))", "unit", "state", "valid_fraction", "sources", "dates", "finished")
_OWN = FILE_VALUES[1:4]
_POSITIONS = 500  # units that are looked up at a time
_WITHOUT: Mapping[str, Any] = {"bands": None, "transform": None, "sources": (), "dates": ()}


class Samples(Sequence[Sample]):
    """The units of a run that have files and are not marked as bad, in the order of the plan."""

    def __init__(self, run: Run, units: Any, files: Any, starts: npt.NDArray[np.int64]) -> None:
        self.run = run
        self._units, self._files, self._starts = units, files, starts  # sample i has files starts[i] to starts[i + 1]

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Samples: ...
    def __getitem__(self, index: int | slice) -> Sample | Samples:
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"there are {len(self)} samples: none has the number {index}")
        return next(self._made(range(index % len(self), index % len(self) + 1)))

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[Sample]:
        for start in range(0, len(self), _BATCH):
            yield from self._made(range(start, min(start + _BATCH, len(self))))

    def take(self, indices: Iterable[int]) -> Samples:
        """Select samples, in the given order."""
        chosen = np.fromiter(indices, dtype=np.int64)
        counts = self._starts[chosen + 1] - self._starts[chosen]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        files = np.repeat(self._starts[chosen] - starts[:-1], counts) + np.arange(starts[-1])
        return Samples(self.run, self._units.take(chosen), self._files.take(files), starts)

    def of_split(self, *names: str) -> Samples:
        """Select the samples of some splits.

        Raises:
            UsageError: if the run was not split, or has no such split.
        """
        splits = self.splits
        split_table.check_names(self.run.path, splits, *names)
        return self.take(number for number, name in enumerate(splits) if name in names)

    @property
    def ids(self) -> list[str]:
        """The id of every sample."""
        return list(self._units["id"].to_pylist())

    @property
    def splits(self) -> list[str | None]:
        """The split of every sample: see :attr:`Sample.split`."""
        return list(self._units["split"].to_pylist())

    def assigned_splits(self) -> list[str]:
        """Return the split of every sample; ``all`` for each if the run was not split.

        Raises:
            UsageError: if some samples have no split, as they came after the run was split.
        """
        splits = self.splits
        missing = splits.count(None)
        if missing == len(splits):
            return [split_table.WHOLE] * len(splits)
        if missing:
            raise UsageError(
                f"{missing:,} of {format_count(len(splits), 'sample')} came after the run was split:"
                f" eechips split {shlex.quote(str(self.run.path))}"
            )
        return [name for name in splits if name is not None]

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers of the samples in order of appearance; one empty name if each sample has one file."""
        return tuple(dict.fromkeys(self._files["layer"].to_pylist()))

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the layers: see :attr:`SampleFile.label`."""
        names = zip(self._files["layer"].to_pylist(), self._files["file"].to_pylist(), strict=True)
        return tuple(dict.fromkeys(label_of(layer, name) for layer, name in names))

    @property
    def arrays(self) -> tuple[str, ...]:
        """The names of the arrays of the samples, in order of appearance: see :attr:`SampleFile.array`."""
        names = ("layer", "file", "metadata")
        columns = (self._files[name].to_pylist() for name in names)
        array_names: dict[str, str] = {}
        for layer, file, metadata in zip(*columns, strict=True):
            label = label_of(layer, file)
            if label not in array_names:
                array_names[label] = array_of(label, json.loads(metadata).get("series"))
        return tuple(dict.fromkeys(array_names.values()))

    def field(self, name: str) -> list[Any]:
        """Return a field of every sample's unit, see :attr:`Sample.fields`; None where a unit has no such field.

        Raises:
            UsageError: if none has it; the message lists what there is.
        """
        sample_fields = [fields_of(json.loads(text)) for text in self._units["unit"].to_pylist()]
        if sample_fields and not any(name in fields for fields in sample_fields):
            there = ", ".join(dict.fromkeys(key for fields in sample_fields for key in fields))
            layer = ", which is a layer of pixels" if name in self.arrays else ""
            raise UsageError(f"no sample has a field '{name}'{layer}; there are: {there or 'none'}")
        return [fields.get(name) for fields in sample_fields]

    @cached_property
    def store(self) -> Store:
        """The store of the files."""
        return self.run.store

    def read(self, file: SampleFile) -> bytes:
        """Read a file and compare it with its recorded checksum. Safe to call from threads.

        Raises:
            UsageError: if it is missing, cannot be read, or has changed.
        """
        return read_recorded(self.run, self.store, file.name, file.sha256)

    def _made(self, numbers: range) -> Iterator[Sample]:
        first, end = self._starts[numbers.start], self._starts[numbers.stop]
        files = [_file(row) for row in self._files.slice(first, end - first).to_pylist()]
        rows = self._units.slice(numbers.start, len(numbers)).to_pylist()
        for number, row in zip(numbers, rows, strict=True):
            own = files[self._starts[number] - first : self._starts[number + 1] - first]
            yield _sample(row, own)


def read_samples(run: Run | str | Path) -> Samples:
    """Return the samples of a run, finished or not.

    Returns:
        Every unit that has files and is not marked as bad, in the order of the plan. Units that failed, are not
        fetched yet, or whose empty file was dropped have none.

    Raises:
        UsageError: if the folder holds no run.
    """
    run = open_run(run)
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        units, files, starts = _tables(_rows(ledger, None, read_completions(ledger)))
        marks = read_marks(ledger)
    if marks:
        _log.warning("%s of %s marked as bad and left out", format_count(len(marks), "unit"), run.path)
    return Samples(run, _with_findings(run.path, units), files, starts)


def read_some_samples(
    ledger: Ledger, positions: Sequence[int], completions: Mapping[int, Sequence[int]]
) -> dict[int, Sample]:
    """Return samples of a run that may be under way, by position, without their splits and flags.

    Args:
        positions: positions of units, a few hundred at most, without those that complete others; units without files,
            or marked as bad, are left out.
        completions: see :func:`~eechips.manifest.extensions.read_completions`.
    """
    findings = {"split": None, "flags": None}
    return {
        unit[0]: _sample(
            {**dict(zip(UNIT_VALUES, unit, strict=True)), **findings},
            [_file(dict(zip(FILE_VALUES, row, strict=True))) for row in files],
        )
        for unit, files in _rows(ledger, positions, completions)
    }


def read_recorded(run: Run, store: Store, name: str, sha256: str | None) -> bytes:
    """Read a file of a run and compare it with its recorded checksum, if it has one. Safe to call from threads.

    Raises:
        UsageError: if it is missing, cannot be read, or has changed.
    """
    try:
        data = store.read(name)
    except OSError as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise UsageError(
            f"{name} {reason}: eechips verify {shlex.quote(str(run.path))} lists missing and damaged files"
        ) from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise UsageError(
            f"{name} has changed since it was fetched: eechips verify {shlex.quote(str(run.path))} lists such files"
        )
    return data


def values_of(values: Iterable[Any]) -> tuple[Any, ...]:
    """Return the distinct values of a field in their order, numbers before texts, without None."""
    return tuple(sorted({v for v in values if v is not None}, key=lambda value: (isinstance(value, str), value)))


def _rows(
    ledger: Ledger, positions: Sequence[int] | None, completions: Mapping[int, Sequence[int]]
) -> Iterator[SampleRow]:
    """Yield a row for every sample that is not marked as bad, and rows for its files; of some units, or of all."""
    if not completions:
        yield from _unit_rows(ledger, positions)
        return
    chosen = completions if positions is None else [position for position in positions if position in completions]
    sample_of = {further: position for position in chosen for further in completions[position]}
    needed = sorted(sample_of)
    added: dict[int, list[SampleRow]] = {position: [] for position in chosen}
    for start in range(0, len(needed), _POSITIONS):
        for row in _unit_rows(ledger, needed[start : start + _POSITIONS]):
            added[sample_of[row[0][0]]].append(row)
    left = 0
    for row in name_files(_unit_rows(ledger, positions), ledger):
        position = row[0][0]
        own = added.get(position, [])
        if len(own) < len(completions.get(position, ())):
            left += 1
        elif position not in sample_of:
            yield complete(row, own)
    if left and positions is None:
        _log.warning("%s left out, which lack the files of an added dataset", format_count(left, "sample"))


def _unit_rows(ledger: Ledger, positions: Sequence[int] | None) -> Iterator[SampleRow]:
    """Yield a row for every unit with files that is not marked as bad, and rows for its files; of some, or of all."""
    bad = marked_ids(ledger)
    unit_rows = read_unit_files(ledger.database, positions)
    rows = ((row, row[2] or (ONLY if '"frames"' in row[-1] else None)) for row in unit_rows)
    layers = FilesAhead((row[0], layer, *row[3:]) for row, layer in rows if layer is not None)
    further = FilesAhead(_further(ledger))
    for row in ledger.rows((*_UNITS, *_OWN, *FILE_COLUMNS), positions):
        unit, (file, size, digest, *metadata) = row[: len(_UNITS)], row[len(_UNITS) :]
        if file is None or not State(unit[3]).has_result or unit[1] in bad:
            continue
        own = [(ONLY, file, size, digest, _metadata(metadata))]
        several, others = ([row[1:] for row in files.of(unit[0])] for files in (layers, further))
        yield unit, several or own + others


def _further(ledger: Ledger) -> Iterator[tuple[Any, ...]]:
    """Yield the files that a script's unit has beyond its first, by number from 2: scripts give files no layers."""
    rows = ledger.database.execute("SELECT position, file, bytes, sha256 FROM further_files ORDER BY position, file")
    for _, own in groupby(rows, key=itemgetter(0)):
        for number, (position, *file) in enumerate(own, start=2):
            yield position, str(number), *file, "{}"


def _metadata(values: Sequence[Any]) -> str:
    return json.dumps(decode_columns(zip(FILE_COLUMNS, values, strict=True)))


def _tables(rows: Iterator[SampleRow]) -> tuple[Any, Any, npt.NDArray[np.int64]]:
    texts, number = pa.large_string(), pa.int64()  # large: of all samples together
    types = (number, texts, texts, texts, pa.float64(), texts, texts, texts)
    of_file = (pa.dictionary(pa.int32(), pa.string()), texts, number, texts, texts)
    unit_schema = pa.schema(list(zip(UNIT_VALUES, types, strict=True)))
    file_schema = pa.schema(list(zip(FILE_VALUES, of_file, strict=True)))
    units, files, counts = [unit_schema.empty_table()], [file_schema.empty_table()], [0]
    while block := list(islice(rows, _BATCH * 10)):
        units.append(_table([unit for unit, _ in block], unit_schema))
        files.append(_table([file for _, own in block for file in own], file_schema))
        counts += [len(own) for _, own in block]
    whole = (pa.concat_tables(parts).unify_dictionaries().combine_chunks() for parts in (units, files))
    return *whole, np.cumsum(counts, dtype=np.int64)


def _table(rows: list[tuple[Any, ...]], schema: Any) -> Any:
    columns = zip(*rows, strict=True)
    return pa.table(
        [pa.array(column, type=field.type) for field, column in zip(schema, columns, strict=True)], schema=schema
    )


def _with_findings(folder: Path, units: Any) -> Any:
    """Return the units with their splits and flags, if the run was split or checked."""
    ids = units["id"].to_pylist()
    split = dict(split_table.read(folder)) if (folder / split_table.SPLITS_NAME).is_file() else {}
    flags = quality_table.flags(folder) if (folder / quality_table.QUALITY_NAME).is_file() else {}
    units = units.append_column("split", pa.array([split.get(i) for i in ids], type=pa.string()))
    return units.append_column("flags", pa.array([flags.get(i) for i in ids], type=pa.list_(pa.string())))


def _sample(row: Mapping[str, Any], files: Iterable[SampleFile]) -> Sample:
    return Sample(
        id=row["id"],
        position=row["position"],
        unit=json.loads(row["unit"]),
        state=row["state"],
        valid_fraction=row["valid_fraction"],
        sources=_texts(row["sources"]),
        dates=_texts(row["dates"]),
        split=row["split"],
        flags=None if row["flags"] is None else tuple(row["flags"]),
        files=tuple(files),
        finished=row["finished"],
    )


def _file(row: Mapping[str, Any]) -> SampleFile:
    metadata = json.loads(row["metadata"])
    for name in LISTS:
        metadata[name] = tuple(metadata[name]) if metadata.get(name) is not None else _WITHOUT[name]
    frames = metadata.get("frames") or ()
    metadata["frames"] = tuple(
        {**frame, **{n: tuple(frame.get(n) or ()) for n in ("sources", "dates")}} for frame in frames
    )
    return SampleFile(row["layer"], row["file"], row["bytes"], row["sha256"], **metadata)


def _texts(text: str | None) -> tuple[str, ...]:
    return tuple(json.loads(text)) if text else ()
