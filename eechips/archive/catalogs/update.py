"""Add items of any source to a catalogue: lock it, write sorted runs, merge, commit; complete an interrupted commit
(``repair``); refuse another layout or a remote folder.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from eechips.archive.catalogs.catalog import Catalog
from eechips.archive.catalogs.ingestion.sorted_runs import SortedRun, find_latest, write_sorted_run
from eechips.archive.catalogs.options import Mixed
from eechips.archive.catalogs.partitions import commit
from eechips.archive.catalogs.partitions.columns import boxes_of, starts_of, table_of
from eechips.archive.catalogs.partitions.commit import SCHEMA_NAME, Change
from eechips.archive.catalogs.partitions.id_index import IdIndex
from eechips.archive.catalogs.partitions.layout import (
    MISSION,
    Layout,
    assign_cells,
    collection_folder,
    grid_json,
    owner,
)
from eechips.archive.catalogs.partitions.merge_plan import MergePlan, MergeResult
from eechips.archive.catalogs.partitions.partition_writer import Advance, StagedPartition, stage_partitions
from eechips.archive.catalogs.partitions.schema import Partition, Schema
from eechips.errors import StorageError, UsageError
from eechips.files.removal import LockedFolder, remove_empty, remove_tree
from eechips.manifest.folder_lock import LOCK_NAME, lock_folder, remove_lock
from eechips.storage import is_address, local_path, make_folder
from eechips.text.progress_bar import progress_bar

COLLECTION_NAME = "_collection.json"

_STAGED_SCHEMA = "schema.staged"

Described = Callable[[Schema], Sequence[Mapping[str, Any]]]
"""Return the STAC collections of a catalogue after the change."""


def update(
    folder: Path,
    choose: Callable[[Layout | None], Layout],
    batches: Iterable[Sequence[Mapping[str, Any]]],
    described: Described,
    *,
    give_up: bool,
    mixed: Mixed = "keep",
    is_shown: bool,
) -> tuple[Catalog, MergeResult]:
    """Add items to a catalogue atomically.

    Args:
        choose: returns the requested layout, given that of the catalogue, or None for a new one.
        batches: items of one collection each, as many as fit into memory.
        described: returns the changed descriptions of collections.

    Returns:
        The catalogue, and the counts.

    Raises:
        UsageError: if the catalogue has another layout.
        RunLockedError: if another process writes the catalogue.
        StorageError: if a file cannot be written.
    """
    with changing(folder) as change:
        schema = schema_of(folder, choose)
        shards = [
            shard(change.scratch / f"{number:06d}.shard", table_of(batch), schema.layout)
            for number, batch in enumerate(batches)
        ]
        schema, outcome = put(
            folder, schema, shards, change, described, give_up=give_up, mixed=mixed, is_shown=is_shown
        )
    return Catalog(folder, schema), outcome


@contextlib.contextmanager
def changing(folder: Path) -> Iterator[commit.Change]:
    """Lock a catalogue, create it if need be, and complete the interrupted commit of an earlier command.

    The scratch folder of the change is empty at first, and removed at the end, unless the block has left a commit to
    complete. A new catalogue is removed again if the block fails before anything is kept in it.

    Raises:
        RunLockedError: if another process writes the catalogue.
        StorageError: if a file cannot be written, also inside the block.
    """
    is_new = make_folder(folder)
    try:
        with lock_folder(folder):
            commit.finish(folder)
            change = commit.Change(folder)
            remove_tree(change.scratch, LockedFolder(folder))
            change.scratch.mkdir()
            try:
                yield change
            finally:
                if not commit.is_pending(folder):
                    remove_tree(change.scratch, LockedFolder(folder))
                if is_new and [path.name for path in folder.iterdir()] == [LOCK_NAME]:
                    remove_lock(folder)
                    remove_empty(folder)
    except OSError as error:
        raise StorageError(f"could not write the catalogue {folder}: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What a repair has done.

    Attributes:
        is_completed: whether there was an interrupted commit.
        is_indexed: whether the index of ids was incomplete or damaged.
    """

    is_completed: bool
    is_indexed: bool


def repair(folder: Path) -> RepairResult:
    """Complete an interrupted commit of a catalogue; check and complete its index of ids.

    Raises:
        UsageError: if the folder is not a catalogue.
        RunLockedError: if another process writes the catalogue.
        StorageError: if the commit list belongs to another catalogue, or a file cannot be written.
    """
    is_pending = commit.is_pending(folder)
    if not is_pending:
        Schema.load(folder)
    with changing(folder) as change:
        schema = Schema.load(folder)
        index = IdIndex(folder, schema)
        index.check()
        is_indexed = index.stage_update(change, schema)
        if is_indexed:
            change.commit()
    return RepairResult(is_pending, is_indexed)


def folder_of(out: str | Path) -> Path:
    """Return the folder of a catalogue to write.

    Raises:
        UsageError: if it is an object store.
    """
    if is_address(str(out)):
        raise UsageError(
            f"a catalogue is written to a local folder, not to {out}: choose a folder, and copy the catalogue there"
            " afterwards (aws s3 sync, gcloud storage rsync); docs/how-to/catalog.md shows how"
        )
    return local_path(out)


def put(
    folder: Path,
    schema: Schema,
    shards: Sequence[SortedRun],
    change: commit.Change,
    described: Described,
    *,
    give_up: bool,
    mixed: Mixed = "keep",
    is_shown: bool,
) -> tuple[Schema, MergeResult]:
    """Merge sorted runs into a locked catalogue, and commit; arguments as of :func:`update`."""
    outcome = MergeResult()
    index = IdIndex(folder, schema)
    if shards:
        with progress_bar(sum(shard.count for shard in shards), "items merged", quiet=not is_shown) as merging:
            schema, outcome = merge(folder, schema, index, shards, change, merging.update, give_up=give_up, mixed=mixed)
    for number, collection in enumerate(described(schema)):
        content = (json.dumps(collection, indent=1, ensure_ascii=False) + "\n").encode()
        stage(change, f"{number:06d}.collection", collection_path(collection["id"]), content)
    index.stage_update(change, schema)
    stage(change, _STAGED_SCHEMA, SCHEMA_NAME, schema.dumps())
    change.commit()
    return schema, outcome


def shard(file: Path, table: pa.Table, layout: Layout) -> SortedRun:
    """Write rows of one collection as a sorted run."""
    cells = assign_cells(layout.grid, boxes_of(table), table["geometry"], layout.most_cells)
    missions: list[str | None] = [None] * len(table)
    if layout.by == "mission":
        table = _with_missions(table)
        missions = _missions(table).to_pylist()
    paths = layout.paths(missions, table["collection"].to_pylist(), cells, starts_of(table))
    return write_sorted_run(file, table, paths)


def _missions(table: pa.Table) -> pa.ChunkedArray:
    """Return the mission of each item by ``partitions.layout.MISSION``; null if it has none."""
    there = [table[name].cast(pa.string()) for name in MISSION if name in table.column_names and _is_text(table[name])]
    return pc.coalesce(*there) if there else pa.chunked_array([pa.nulls(len(table), pa.string())])


def _with_missions(table: pa.Table) -> pa.Table:
    """Add the missions, in the type that pyarrow gives to values from paths, as for collections."""
    name = MISSION[0]
    if name not in table.column_names or not _is_text(table[name]):
        return table
    return table.set_column(table.column_names.index(name), name, table[name].cast(table["collection"].type))


def _is_text(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_string(column.type) or pa.types.is_dictionary(column.type))


def stage(change: commit.Change, staged: str, path: str, content: bytes) -> None:
    """Add a file to a change."""
    (change.scratch / staged).write_bytes(content)
    change.move(staged, path)


def collection_path(collection: str) -> str:
    """Return the path of a collection's description, below the catalogue."""
    return f"{collection_folder(collection)}/{COLLECTION_NAME}"


def schema_of(folder: Path, choose: Callable[[Layout | None], Layout]) -> Schema:
    """Read the schema of a catalogue, or create that of a new one.

    Raises:
        UsageError: if the catalogue has another layout than requested.
        StorageError: if the schema file cannot be read.
    """
    if (folder / SCHEMA_NAME).exists():
        schema = Schema.load(folder)
        wanted = choose(schema.layout)
        if wanted != schema.layout:
            raise UsageError(
                f"{folder} has another layout: {_describe_layout(schema.layout)}, not {_describe_layout(wanted)}: omit"
                " these options, or choose another folder"
            )
        return schema
    if any(chain(folder.glob("collection=*/**/*.parquet"), folder.glob("mission=*/**/*.parquet"))):
        raise UsageError(f"{folder} has partitions, but no {SCHEMA_NAME}: choose another folder")
    return Schema(choose(None))


def _describe_layout(layout: Layout) -> str:
    grid = grid_json(layout.grid)
    cells = f"{grid['name']} resolution {grid['resolution']}" if "resolution" in grid else grid["name"]
    first = "" if layout.by == "collection" else f"by {layout.by}, "
    return f"{first}{cells}, period {layout.period}, most cells {layout.most_cells}"


def _replace_partitions(
    change: Change, schema: Schema, staged: Mapping[str, StagedPartition]
) -> tuple[dict[str, Partition], dict[str, dict[str, str]]]:
    """Put staged partitions in the place of others, and return partitions and columns of the schema with them."""
    partitions, columns = dict(schema.partitions), {name: dict(types) for name, types in schema.columns.items()}
    for path, new in staged.items():
        if new.staged is None or new.partition is None:
            change.remove(path)
            del partitions[path]
        else:
            change.move(new.staged, path)
            partitions[path] = new.partition
            columns.setdefault(new.partition.collection or "", {}).update(new.columns)
    return partitions, columns


def merge(
    folder: Path,
    schema: Schema,
    index: IdIndex,
    shards: Sequence[SortedRun],
    change: Change,
    advance: Advance,
    *,
    give_up: bool = False,
    mixed: Mixed = "keep",
) -> tuple[Schema, MergeResult]:
    """Merge sorted runs into the scratch folder of a change: nothing happens before the commit.

    Args:
        give_up: remove unreadable partitions with their items, and create them anew from the new items.
        mixed: treatment of values of another kind than most of their column, such as text among numbers: ``keep`` them
            in the column ``properties``, ``cast`` them if possible and else keep them, or ``refuse`` them.

    Returns:
        The schema after the change, and the counts.

    Raises:
        UsageError: if columns are mixed, and ``mixed`` is ``refuse``.
        OSError: if new files cannot be written.
    """
    rows = find_latest(shards)
    owners = {owner(path) for path in rows.paths}
    among = {path for path in index.may_have(rows.keys) if owner(path) in owners}
    stopped: dict[str, str] = {}
    lost: dict[str, str] = {}
    while True:  # some damage shows only when a whole partition is read; its items then stay where they are
        plan = MergePlan(folder, schema, shards, rows, among, stopped, mixed)
        if not (give_up and stopped):
            staged = stage_partitions(plan, change.scratch, advance)
            if staged is not None:
                break
        if give_up:
            lost |= stopped
            there = {path: partition for path, partition in schema.partitions.items() if path not in stopped}
            schema, stopped = replace(schema, partitions=there), {}
    for path in lost.keys() - staged.keys():
        change.remove(path)
    partitions, columns = _replace_partitions(change, schema, staged)
    outcome = replace(
        plan.outcome,
        written=tuple(path for path, staged_partition in staged.items() if staged_partition.staged is not None),
        removed=tuple(path for path, staged_partition in staged.items() if staged_partition.staged is None),
        lost=lost,
        mixed=plan.mixed,
    )
    suspects = (schema.suspects - plan.cleared | stopped.keys()) & partitions.keys()
    return Schema(schema.layout, partitions, columns, suspects), outcome
