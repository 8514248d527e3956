"""Write the shards of a pack one by one, each atomically and read back; resume an interrupted pack, and replace no
other files or packs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eechips.errors import StorageError, UsageError
from eechips.files.abandoned_files import sweep_folder
from eechips.files.hashes import hash_file
from eechips.files.removal import LockedFolder, remove, remove_tree, replace
from eechips.files.temporary_names import SCRATCH_PREFIX, new_writer
from eechips.processes.parallel_map import parallel_map
from eechips.storage import write_file
from eechips.text.progress_bar import progress_bar
from eechips.training.formats import PACK_FORMATS
from eechips.training.packs.shard_index import (
    INDEX_NAME,
    FileContent,
    PackEntry,
    PackIndex,
    Shard,
    ShardFile,
    StoredShard,
    metadata_of,
    read_index,
)
from eechips.training.quality.chip_pixels import ChipPixels, FramePixels, decode_file
from eechips.training.sample import Sample
from eechips.training.sample_reader import Samples

JOURNAL_NAME = "shards.jsonl"
"""Journal of an incomplete pack: a line that identifies it, and a line for each complete shard."""

_TELL_APART = ("format", "seed", "shard_count", "shard_bytes", "selected", "identity")
"""Entries of the index that identify a pack."""

_READERS = 8  # threads that read files: object stores answer slowly


class ShardWriter:
    """Write a pack, resume it, or find it complete.

    Args:
        samples: in the order in which they are packed.
        shards: one after the other, they take up the samples.
        index: index of the pack, but for what is known of shards when they are there.
        folder: folder of the pack; held by this process.
        quiet: no progress.
    """

    def __init__(
        self, samples: Samples, shards: Sequence[Shard], index: PackIndex, folder: Path, *, quiet: bool
    ) -> None:
        self._samples, self._shards, self._index = samples, shards, index
        self._folder, self._quiet = folder, quiet
        self._scratch = folder / f"{SCRATCH_PREFIX}pack"
        self._right = LockedFolder(folder)
        self._journal = folder / JOURNAL_NAME
        self._module = PACK_FORMATS.get(index.format)
        self._names: set[str] = set()  # of files that are the pack's, whatever is in them now

    def run(self) -> PackIndex:
        """Write the missing shards.

        Raises:
            UsageError: if the folder holds something else, or a file is not as the manifest has it.
            StorageError: if a shard cannot be written, or does not read back with every sample.
        """
        known, whole = self._known()
        self._names.update(file.name for stored in known for file in stored.files)
        kept = self._kept(known)
        if whole is not None and len(kept) == len(self._shards) and self._is_there(whole.files):
            remove(self._journal, self._right)  # of a pack that was killed as it was complete
            return whole
        with _failures(self._folder), self._unless_empty(kept):
            self._begin(kept)
            with progress_bar(self._index.samples, "samples", quiet=self._quiet, label="packing", is_kept=False) as bar:
                first = 0
                for shard in self._shards:
                    if shard in kept:
                        bar.update(shard.count)
                    else:
                        kept[shard] = self._make(shard, self._samples[first : first + shard.count], bar)
                    first += shard.count
            files = self._finish()
            index = dataclasses.replace(self._index, shards=tuple(kept[shard] for shard in self._shards), files=files)
            index.write(self._folder)
            remove(self._journal, self._right)
        return index

    @contextlib.contextmanager
    def _unless_empty(self, kept: Mapping[Shard, StoredShard]) -> Iterator[None]:
        """Remove the journal if a pack fails before its first shard: no file is the pack's."""
        try:
            yield
        except Exception:
            if not kept:
                remove(self._journal, self._right)
            raise

    def _known(self) -> tuple[Sequence[StoredShard], PackIndex | None]:
        """Return the shards that were recorded as complete, and the index of the pack if it has one."""
        if (self._folder / INDEX_NAME).exists():
            index = read_index(self._folder)
            self._check_same(_identity(index))
            return index.shards, index
        if self._journal.exists():
            head, *lines = _lines(self._journal) or [_identity(self._index)]
            self._check_same(head)
            journalled = []
            with contextlib.suppress(ValueError, LookupError, TypeError, UsageError):  # damaged from there on
                for line in lines:
                    journalled.append(StoredShard.from_json(line))
            return journalled, None
        names = {shard.group + self._module.SUFFIX for shard in self._shards}
        names |= {shard.stem + self._module.SUFFIX for shard in self._shards}
        there = sorted(name for name in names if (self._folder / name).exists())
        if there:
            raise UsageError(f"{self._folder / there[0]} exists and is not a pack of eechips: choose another `out`")
        return [], None

    def _check_same(self, other: Mapping[str, Any]) -> None:
        differing = [name for name, value in _identity(self._index).items() if other.get(name) != value]
        if not differing:
            return
        words = [_words(name, other.get(name)) for name in differing if name != "identity"]
        what = (
            f"made with {', '.join(words)}" if words else "made of other samples: the run, splits or flags have changed"
        )
        raise UsageError(f"{self._folder} holds a pack that was {what}; remove it, or choose another `out`")

    def _kept(self, known: Sequence[StoredShard]) -> dict[Shard, StoredShard]:
        """Return the shards that are unchanged since they were complete."""
        kept, total = {}, sum(stored.shard.count for stored in known)
        with progress_bar(total, "samples", quiet=self._quiet, label="comparing", is_kept=False) as bar:
            for stored in known:
                if self._is_there(stored.files):
                    kept[stored.shard] = stored
                bar.update(stored.shard.count)
        return kept

    def _is_there(self, files: Iterable[ShardFile]) -> bool:
        """Return whether files are unchanged since they were complete."""
        for file in files:
            path = self._folder / file.name
            if not path.is_file() or path.stat().st_size != file.bytes or hash_file(path) != file.sha256:
                return False
        return True

    def _begin(self, kept: Mapping[Shard, StoredShard]) -> None:
        """Record the complete shards, and that the pack is incomplete."""
        remove_tree(self._scratch, self._right)
        sweep_folder(self._folder, new_writer())
        lines = [_identity(self._index), *(stored.to_json() for stored in kept.values())]
        write_file(self._journal, "".join(json.dumps(line) + "\n" for line in lines).encode())
        remove(self._folder / INDEX_NAME, self._right)

    def _note(self, stored: StoredShard) -> None:
        with self._journal.open("a") as file:
            file.write(json.dumps(stored.to_json()) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _make(self, shard: Shard, samples: Samples, bar: Any) -> StoredShard:
        """Write a shard, read it back, and move it to its name."""

        def read(sample: Sample) -> tuple[Sample, dict[str, FileContent]]:
            return sample, {file.label: FileContent(file.suffix, samples.read(file)) for file in sample.files}

        # A generator that a failed write leaves unfinished would wait for its threads wherever it is collected, as in a
        # call of libhdf5, whose lock one of them may wait for.
        with self._scratching(), contextlib.closing(parallel_map(read, samples, _READERS)) as ahead:
            self._module.write(self._scratch, shard, self._index.layers, self._entries(ahead, bar))
            stored_ids = self._module.ids(self._scratch, shard)
            if stored_ids != samples.ids:
                raise StorageError(
                    f"{shard.stem} reads back with {len(stored_ids):,} samples, or others than the {shard.count:,} that"
                    f" were written: the disk of {self._folder} may be failing"
                )
            stored = StoredShard(shard, self._describe(is_closing=False))
            self._check_free(stored.files)
            self._note(stored)  # before it has its name: what is not noted is somebody else's
            self._place(stored.files)
            return stored

    def _finish(self) -> tuple[ShardFile, ...]:
        if not self._module.CLOSING:
            return ()
        with self._scratching():
            self._module.finish(self._scratch, self._shards, self._index.layers)
            files = self._describe(is_closing=True)
            self._check_free(files)
            self._place(files)
            return files

    def _describe(self, *, is_closing: bool) -> tuple[ShardFile, ...]:
        """Sync the files of the scratch folder: those that list others, or the others."""
        paths = [path for path in self._scratch.rglob("*") if path.is_file()]
        chosen = sorted(path for path in paths if (path.name in self._module.CLOSING) == is_closing)
        stored = []
        for path in sorted(chosen, key=lambda path: -len(path.parts)):  # a group after its arrays
            name = path.relative_to(self._scratch)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            stored.append(ShardFile(name.as_posix(), path.stat().st_size, hash_file(path)))
        return tuple(stored)

    def _check_free(self, files: Iterable[ShardFile]) -> None:
        """Refuse to replace a file that does not belong to the pack."""
        groups = {name.partition("/")[0] for name in self._names if "/" in name}
        for file in files:
            is_own = file.name in self._names or file.name.partition("/")[0] in groups
            if not is_own and os.path.lexists(self._folder / file.name) and not self._is_there([file]):
                raise UsageError(
                    f"{self._folder / file.name} exists and does not belong to this pack: move it away, or choose"
                    " another `out`"
                )

    def _place(self, files: Iterable[ShardFile]) -> None:
        """Move files of the scratch folder to their names."""
        for file in files:
            target = self._folder / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            replace(self._scratch / file.name, target)
            self._names.add(file.name)

    @contextlib.contextmanager
    def _scratching(self) -> Iterator[None]:
        self._scratch.mkdir()
        try:
            yield
        finally:
            remove_tree(self._scratch, self._right)

    def _entries(self, ahead: Iterable[tuple[Sample, dict[str, FileContent]]], bar: Any) -> Iterator[PackEntry]:
        for sample, contents in ahead:
            layers: dict[str, FileContent | ChipPixels | FramePixels] = dict(contents)
            if self._module.IS_DECODED:
                layers = {
                    file.label: decode_file(contents[file.label].data, file.suffix, file.frames)
                    for file in sample.files
                }
            yield PackEntry(sample.id, metadata_of(sample), layers)
            bar.update(1)


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines, up to a truncated or damaged line."""
    values = []
    for line in path.read_bytes().splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            break
        if not isinstance(value, dict):
            break
        values.append(value)
    return values


def _words(name: str, value: Any) -> str:
    """Format an option that identifies a pack."""
    if name == "selected":
        return f"the splits {', '.join(value)}" if value else "all splits"
    return f"{'to' if name == 'format' else name}='{value}'"


def _identity(index: PackIndex) -> dict[str, Any]:
    """Return the entries that identify a pack, as JSON has them."""
    return {name: getattr(index, name) for name in _TELL_APART} | {"selected": list(index.selected)}


@contextlib.contextmanager
def _failures(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError.of_write(f"into {folder}", error) from error
