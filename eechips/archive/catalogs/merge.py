"""Merge new rows into a catalogue: the newest version of an id wins, and other partitions stay untouched.

First the items are looked up in the whole catalogue, by the index of its ids: an item whose place or time has changed
leaves its old partition when it enters the new one. Then each affected partition is merged separately, as a stream.
Each new item needs 40 bytes of memory, twice that while they are sorted; each of them that the catalogue has, another
32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from eechips.archive.catalogs.commit import Change
from eechips.archive.catalogs.id_index import IdIndex
from eechips.archive.catalogs.layout import owner
from eechips.archive.catalogs.merge_plan import MergePlan, MergeResult
from eechips.archive.catalogs.options import Mixed
from eechips.archive.catalogs.partition_writer import Advance, stage_partitions
from eechips.archive.catalogs.schema import Schema
from eechips.archive.catalogs.sorted_runs import SortedRun, find_latest


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
        folder: of the catalogue.
        schema: of the catalogue.
        index: of the catalogue.
        shards: sorted runs of new rows.
        change: receives the new files.
        advance: called with numbers of merged rows.
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
    partitions, columns = dict(schema.partitions), {name: dict(types) for name, types in schema.columns.items()}
    for path, made in staged.items():
        if made.staged is None or made.partition is None:
            change.remove(path)
            del partitions[path]
        else:
            change.move(made.staged, path)
            partitions[path] = made.partition
            columns.setdefault(made.partition.collection or "", {}).update(made.columns)
    outcome = replace(
        plan.outcome,
        written=tuple(path for path, made in staged.items() if made.staged is not None),
        removed=tuple(path for path, made in staged.items() if made.staged is None),
        lost=lost,
        mixed=plan.mixed,
    )
    suspects = (schema.suspects - plan.cleared | stopped.keys()) & partitions.keys()
    return Schema(schema.layout, partitions, columns, suspects), outcome
