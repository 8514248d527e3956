"""Decide how many samples each shard of a pack gets, and in what order, and write the shards."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.errors import UsageError
from eechips.manifest.folder_lock import lock_folder
from eechips.manifest.run import Run
from eechips.option_fields import filled, takes
from eechips.storage import make_folder, safe_component
from eechips.training.formats import PACK_FORMATS
from eechips.training.packs.pack_schema import PackSchema
from eechips.training.packs.shard_index import PackIndex, Shard
from eechips.training.packs.shard_writer import ShardWriter
from eechips.training.sample_reader import Samples, read_samples
from eechips.training.splits import split_table as splits_of_runs
from eechips.training.training_options import PackOptions

_OF_RUN = ("recipe", "identity", "command", "datasets", "notes")
"""Entries of run.json that the index of a pack records: origin and licence of the data."""


@takes(PackOptions)
def pack(run: Run | str | Path, to: str, **options: Any) -> PackIndex:
    """Write the samples of a run into shards: each sample once, with its files and metadata.

    A shard contains samples of one split, in an order that depends on the seed. A shard gets its name when it is
    complete and was read back; the same call resumes an interrupted one, and does nothing if the pack is complete.
    Samples that :func:`eechips.split` left out are not packed.

    Args:
        run: the run, or its folder.
        options: fields of ``PackOptions``.

    Returns:
        The index of the pack: shards, counts, layers.

    Raises:
        UsageError: if the run has no samples, no such split, or samples without a split; if a file differs from the
            manifest; if samples do not fit into one array; or if ``out`` contains another pack.
        RunLockedError: if another process writes to ``out``.
        StorageError: if a shard cannot be written, or cannot be read back completely.

    Example:
        >>> eechips.pack("outputs/naip", "webdataset", shard_count=500).splits
        {'test': 812, 'train': 3188}
    """
    chosen = filled(PackOptions, {"to": to, **options})
    PACK_FORMATS.get(to)  # an unknown format is refused before the run is read
    samples = read_samples(run)
    folder = pack_folder(samples.run, chosen)
    packed, shards, index = _plan(samples, chosen)
    make_folder(folder)
    with lock_folder(folder):
        return ShardWriter(packed, shards, index, folder, quiet=chosen.quiet).run()


def pack_folder(run: Run, options: PackOptions) -> Path:
    """Return the folder of a pack."""
    return run.path / "packs" / options.to if options.out is None else Path(options.out)


def _plan(samples: Samples, options: PackOptions) -> tuple[Samples, list[Shard], PackIndex]:
    """Return the samples in the order in which they are packed, their shards, and the index without what is written."""
    wanted = (options.splits,) if isinstance(options.splits, str) else tuple(options.splits)
    if wanted:
        samples.of_split(*wanted)  # they must exist
    splits = samples.assigned_splits()
    names = sorted({name for name in splits if name in wanted or not wanted} - {splits_of_runs.NONE})
    _check_names(names)
    order = shuffled_order(samples.ids, options.seed)
    of_each = np.array(splits, dtype=object)[order]
    packed = samples.take(np.concatenate([order[of_each == name] for name in names]) if names else ())
    if not packed:
        raise UsageError(f"{samples.run.path} has no samples to pack")
    module = PACK_FORMATS.get(options.to)
    survey = PackSchema(packed, is_decoded=module.IS_DECODED, quiet=options.quiet)
    weights = survey.weigh(module.weight)
    if module.IS_DECODED:  # samples are alike but for their metadata, and the shards of an array are to be too
        weights = np.full_like(weights, weights.max())
    shards, first = list[Shard](), 0
    for name in names:
        total = splits.count(name)
        counts = shard_sizes(weights[first : first + total], options.shard_count, options.shard_bytes)
        if module.IS_DECODED:
            counts = _alike(total, len(counts))
        shards += _shards(name, counts)
        first += total
    index = PackIndex(
        format=options.to,
        seed=int(options.seed),
        shard_count=int(options.shard_count),
        shard_bytes=int(options.shard_bytes),
        selected=tuple(sorted(wanted)),
        identity=_identity(shards, survey.digests),
        samples=len(packed),
        left_out=dict(sorted(Counter(name for name in splits if name not in names).items())),
        layers=survey.layout,
        fields=survey.fields,
        run={name: samples.run.info.get(name) for name in _OF_RUN},
    )
    return packed, shards, index


def _check_names(splits: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for split in splits:
        other = seen.setdefault(safe_component(split).casefold(), split)
        if other != split:
            raise UsageError(f"the shards of the splits '{other}' and '{split}' would have the same names")


def _alike(total: int, shards: int) -> list[int]:
    """Return equal counts of samples for all shards but the last, which may be smaller."""
    per_shard = -(-total // shards)
    return [min(per_shard, total - first) for first in range(0, total, per_shard)]


def _shards(split: str, counts: Sequence[int]) -> Iterator[Shard]:
    for number, (count, first) in enumerate(zip(counts, accumulate(counts, initial=0), strict=False)):
        yield Shard(split, number, count, first, total=sum(counts), stride=counts[0])


def _identity(shards: Iterable[Shard], digests: Sequence[bytes]) -> str:
    whole = hashlib.sha256()
    first = 0
    for shard in shards:
        whole.update(f"{shard.stem}:{shard.count}".encode())
        whole.update(b"".join(digests[first : first + shard.count]))
        first += shard.count
    return whole.hexdigest()


def shuffled_order(ids: Sequence[str], seed: int) -> npt.NDArray[np.int64]:
    """Return the numbers of samples in an order that looks random and is the same everywhere.

    It sorts by the sha256 of seed and id, so that further samples come between those that were there.
    """
    keys = [hashlib.sha256(f"{seed}:{identifier}".encode()).digest() for identifier in ids]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def shard_sizes(weights: npt.NDArray[np.int64], most_count: int, most_bytes: int) -> list[int]:
    """Return the number of samples of each shard, as equal as the limits allow.

    Args:
        weights: bytes of every sample, in order.
        most_count: samples of a shard.
        most_bytes: bytes of a shard; a sample that has more is alone.

    Returns:
        Counts, all positive; together they are all samples.
    """
    filled = _filled(weights, most_count, most_bytes)
    if not filled:
        return []
    ends = np.linspace(0, len(weights), len(filled) + 1).round().astype(np.int64)
    sums = np.concatenate([[0], np.cumsum(weights)])
    counts = np.diff(ends)
    is_within = counts.max() <= most_count and (sums[ends[1:]] - sums[ends[:-1]]).max() <= most_bytes
    return [int(count) for count in counts] if is_within else filled


def _filled(weights: npt.NDArray[np.int64], most_count: int, most_bytes: int) -> list[int]:
    """Return the numbers of samples of shards that are as full as the limits allow."""
    counts: list[int] = []
    size = most_bytes
    for weight in weights.tolist():
        if not counts or counts[-1] == most_count or size + weight > most_bytes:
            counts.append(0)
            size = 0
        counts[-1] += 1
        size += weight
    return counts
