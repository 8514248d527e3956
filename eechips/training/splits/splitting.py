"""Split the chips of a run into training, validation and test sets that are apart in space or time, and refuse sets
that leak; earlier chips keep theirs.

All chips of a block get the same split (:mod:`eechips.training.splits.split_groups`). Chips of different splits keep a
minimum distance (:mod:`eechips.training.splits.leakage`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from eechips.errors import LeakageError, UsageError
from eechips.geo.ellipsoid import Booleans
from eechips.manifest.added_columns import add_findings
from eechips.manifest.extensions import plan_parts
from eechips.manifest.run import Run
from eechips.option_fields import filled, takes
from eechips.text.formatting import format_count, format_distance, parse_distance
from eechips.text.progress_bar import progress_bar
from eechips.training.quality import quality_table
from eechips.training.sample import Sample
from eechips.training.sample_reader import Samples, read_samples
from eechips.training.splits import split_groups, split_table
from eechips.training.splits.leakage import FootprintMap, Leakage
from eechips.training.splits.split_balance import Ratios, assign
from eechips.training.splits.split_groups import Paths, cuts_of, dates_of, find_near, list_paths, parse_cuts, split_of
from eechips.training.splits.split_table import NONE
from eechips.training.training_options import COLUMN, SplitOptions

if TYPE_CHECKING:
    from eechips.geo.grid import Grid

_KEPT = ("by", "block_size", "resolution", "date_field", "has_own_cuts", "stratum", "seed")
"""Options, besides the ratios, that must be unchanged for blocks, or cuts in time, to keep an earlier split."""


@dataclass(frozen=True, slots=True)
class SplitResult:
    """The splits of a run.

    Attributes:
        splits: id, split, block, home and stratum of every chip, in the order of the plan. ``home`` is the split of the
            block; ``split`` is that or, for what was left out, ``none``.
        ratios: the requested ratios.
        leakage: the leakage between splits; None if it was not checked.
        doubled: number of chips that duplicate one of another split, by an earlier check.
        kept: number of blocks that kept an earlier split.
        near_footprints: number of chips near the footprints of ``away_from``.
    """

    splits: pd.DataFrame
    ratios: Ratios
    options: Mapping[str, Any]
    leakage: Leakage | None
    doubled: int = 0
    kept: int = 0
    near_footprints: int = 0

    def __repr__(self) -> str:
        counts = self.splits["split"].value_counts()
        return f"<eechips split: {', '.join(f'{counts.get(name, 0)} {name}' for name in self.names)}>"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the splits, and ``none`` if chips were left out."""
        return self.ratios.names + ((NONE,) if (self.splits["split"] == NONE).any() else ())

    @property
    def counts(self) -> pd.DataFrame:
        """Chips of every stratum (rows, in order) in every split (columns)."""
        frame = self.splits
        strata = frame["stratum"].map(lambda value: "" if value is None else str(value))
        return pd.crosstab(strata, frame["split"]).reindex(columns=list(self.names), fill_value=0)


@takes(SplitOptions)
def split(run: Run | str | Path, **options: Any) -> SplitResult:
    """Split the chips of a run, and write ``splits.parquet`` beside the manifest.

    Blocks are assigned to splits as a whole, in an order that depends on the seed and their names. A later call with
    the same options keeps the splits of earlier blocks and the earlier cuts in time: new chips move no earlier ones.

    Args:
        run: the run, finished or in progress, or its folder.
        options: fields of ``SplitOptions``.

    Returns:
        The splits, as written.

    Raises:
        UsageError: if the run has no chips, or an option is wrong.
        LeakageError: if chips of different splits are too close; nothing is written then.
        StorageError: if the file cannot be written.

    Example:
        >>> eechips.split("outputs/sample-naip", block_size="20km", buffer="1km", near="drop").counts
    """
    chosen = filled(SplitOptions, options)
    wanted, metres = Ratios.parse(chosen.ratios), _buffer(chosen.buffer, chosen.by)
    recorded = _recorded(chosen, wanted)
    samples = read_samples(run)
    if not len(samples):
        raise UsageError(f"{samples.run.path} has no files to split yet")
    with progress_bar(4, "steps", quiet=chosen.quiet) as bar:
        every = list(samples)
        strata = _strata(samples, every, chosen.stratum)
        bar.update()
        grids = [sample.grids for sample in every]
        where = FootprintMap(samples.ids, grids)
        near = _near_footprints(grids, chosen)
        bar.update()
        kept = 0
        if chosen.by == "time":
            cuts = chosen.cuts or (None if chosen.fresh else _earlier_cuts(samples.run.path, recorded))
            names, homes, recorded["cuts"] = _by_time(every, wanted, cuts, chosen.date_field)
        else:
            names = _blocks(samples, where, chosen)
            known = {} if chosen.fresh else _earlier(samples.run.path, recorded)
            staying = known if known and _has_same_footprints(samples.run.path, chosen) else {}
            home_of = _assign(names, strata, wanted, chosen, known, staying, near)
            homes = [home_of.get(name, NONE) for name in names]
            kept = len(known.keys() & home_of.keys())
            present = set(names)
            if absent := {name: home for name, home in known.items() if name not in present}:
                recorded[split_table.ABSENT] = absent
        bar.update()
        placed, leakage = _without_near(homes, near, wanted, chosen), None
        if metres is not None:
            if chosen.near == "drop":
                placed = where.thinned(placed, wanted, metres, _members(samples, placed, metres, chosen))
            leakage = where.check(placed, metres)
        bar.update()
    if leakage is not None and metres is not None:
        _refuse(leakage, metres, chosen.buffer)
    recorded |= {"buffer": metres, "near": chosen.near}
    frame = _frame(samples.ids, placed, names, homes, strata)
    count = 0 if near is None else int(near.sum())
    if near is not None:
        recorded |= {**_describe_footprints(chosen), "near_footprints": count}
        frame = frame.assign(near_footprints=near)
    split_result = SplitResult(frame, wanted, recorded, leakage, _doubled(samples.run.path, frame), kept, count)
    _refuse_empty(split_result)
    split_table.write(samples.run.path, frame.drop(columns="stratum"), recorded)
    add_findings(samples.run, "split", dict(zip(frame["id"], frame["split"], strict=True)))
    return split_result


def check_splits(
    run: Run | str | Path, *, buffer: str | None = None, away_from: Paths = (), distance: str = "0m"
) -> SplitResult:
    """Check the distance between the splits of a run in ``splits.parquet``, which any program may have written.

    Args:
        run: the run, or its folder.
        buffer: minimum distance, "1km", between chips of different splits; None for that of the split.
        away_from: footprints of another data set, which only chips of the training split may be near.
        distance: minimum distance to these footprints.

    Returns:
        The splits.

    Raises:
        UsageError: if the run was not split.
        LeakageError: if chips of different splits are too close to each other, or to the footprints.
    """
    samples = read_samples(run)
    options = split_table.options(samples.run.path)
    metres = options.get("buffer") if buffer is None else parse_distance("buffer", buffer, may_be_zero=True)
    table = split_table.table(samples.run.path)
    known = dict(table["split"])
    every = [sample for sample in samples if sample.id in known]
    placed = [known[sample.id] for sample in every]
    ids = [sample.id for sample in every]
    grids = [sample.grids for sample in every]
    leakage = FootprintMap(ids, grids).check(placed, metres or 0.0)
    strata = [sample.stratum for sample in every]
    split_shares = table["split"][table["split"] != NONE].value_counts(normalize=True, sort=False)
    shares: dict[str, float] = options.get("ratios") or dict(
        zip(map(str, split_shares.index), split_shares, strict=True)
    )
    ratios = Ratios(tuple(shares), tuple(shares.values()))
    _refuse(leakage, metres or 0.0, "")
    if paths := list_paths(away_from):
        limit = parse_distance("distance", distance, may_be_zero=True)
        _refuse_near(find_near(grids, paths, limit), placed, ratios, limit)
    table = table.reindex(ids)
    frame = _frame(ids, placed, list(table["block"]), list(table["home"]), strata)
    return SplitResult(frame, ratios, options, leakage, _doubled(samples.run.path, frame))


def _near_footprints(grids: Sequence[Sequence[Grid]], options: SplitOptions) -> Booleans | None:
    """Return the chips near the footprints of another data set; None if none was given."""
    paths = list_paths(options.away_from)
    if not paths:
        return None
    return find_near(grids, paths, parse_distance("distance", options.distance, may_be_zero=True))


def _describe_footprints(options: SplitOptions) -> dict[str, Any]:
    """Return what is recorded of the footprints of another data set, which some chips are near."""
    return {
        "away_from": [str(path) for path in list_paths(options.away_from)],
        "distance": parse_distance("distance", options.distance, may_be_zero=True),
        "away": options.away,
    }


def _has_same_footprints(folder: Path, options: SplitOptions) -> bool:
    """Return whether the earlier division was kept away from the same footprints in the same way."""
    return _describe_footprints(options).items() <= split_table.options(folder).items()


def _assign(
    names: Sequence[str],
    strata: Sequence[Hashable],
    ratios: Ratios,
    options: SplitOptions,
    known: Mapping[str, str],
    staying: Mapping[str, str],
    near: Booleans | None,
) -> dict[str, str]:
    """Return the split of each block; blocks of which all chips are left out have none.

    With ``away`` train, blocks with a chip near the footprints are in the training split as a whole: their other chips
    are its neighbours. Blocks that stay keep their split nevertheless: chips near the footprints are left out there.
    """
    if near is None:
        return assign(names, strata, ratios, options.seed, known)
    if options.away == "train":
        pinned = {name: ratios.training for name, is_near in zip(names, near, strict=True) if is_near}
        return assign(names, strata, ratios, options.seed, {**known, **pinned, **staying})
    used = np.flatnonzero(~near).tolist()
    if not used:
        raise UsageError("`away_from`: all chips are near the footprints: use a smaller `distance`")
    return assign([names[i] for i in used], [strata[i] for i in used], ratios, options.seed, known)


def _without_near(homes: Sequence[str], near: Booleans | None, ratios: Ratios, options: SplitOptions) -> list[str]:
    """Leave out chips near the footprints, but for those of the training split if they may be there."""
    if near is None:
        return list(homes)
    allowed = ratios.training if options.away == "train" else None
    return [NONE if far and home != allowed else home for home, far in zip(homes, near, strict=True)]


def _recorded(options: SplitOptions, ratios: Ratios) -> dict[str, Any]:
    """Return the options that decide the splits, as JSON, without cuts and buffer."""
    recorded_options: dict[str, Any] = {"by": options.by, "ratios": dict(zip(ratios.names, ratios.shares, strict=True))}
    if options.by == "blocks":
        recorded_options["block_size"] = parse_distance("block_size", options.block_size)
    if options.by == "h3":
        recorded_options["resolution"] = options.resolution
    if options.date_field is not None:
        recorded_options["date_field"] = options.date_field
    if options.cuts is not None:
        recorded_options["has_own_cuts"] = True  # given by the user, not computed from the ratios
    return {**recorded_options, "stratum": options.stratum or "none", "seed": options.seed}


def _buffer(text: str | None, by: str) -> float | None:
    if text is None:
        return None if by == "time" else 0.0
    return parse_distance("buffer", text, may_be_zero=True)


def _strata(samples: Samples, every: Sequence[Sample], name: str | None) -> list[Hashable]:
    if name in (None, "none"):
        return [None] * len(every)
    if name == "auto":
        return [sample.stratum for sample in every]
    assert name is not None
    return samples.field(name)


def _members(samples: Samples, placed: Sequence[str], metres: float, options: SplitOptions) -> Booleans | None:
    """Return the chips of an extended run that are in a split by the same options, and stay there; None for others."""
    folder = samples.run.path
    if options.fresh or not plan_parts(samples.run.info) or not (folder / split_table.SPLITS_NAME).is_file():
        return None
    before = split_table.options(folder)
    if (before.get("buffer"), before.get("near")) != (metres, options.near):
        return None
    known = dict(split_table.read(folder))
    same = [known.get(identifier) == split != NONE for identifier, split in zip(samples.ids, placed, strict=True)]
    return np.asarray(same, dtype=bool)


def _blocks(samples: Samples, where: FootprintMap, options: SplitOptions) -> list[str]:
    """Return the block of every sample."""
    by = options.by
    if by.startswith(COLUMN):
        values = samples.field(by.removeprefix(COLUMN))
        missing = sum(value is None for value in values)
        if missing:
            verb = "has" if missing == 1 else "have"
            raise UsageError(
                f"by={by!r}: {missing:,} of {format_count(len(values), 'chip')} {verb} no such field: choose one that"
                " all chips have"
            )
        return [str(value) for value in values]
    has_place = where.has_place
    if by == "random":
        names = split_groups.places(where.centres)
        return [name if known else own for name, known, own in zip(names, has_place, samples.ids, strict=True)]
    if not has_place.all():
        raise UsageError(
            f"{int((~has_place).sum()):,} of {len(has_place):,} results have no crs and transform, so that their"
            f" location is unknown: use by='random', by='time' or by='{COLUMN}NAME'"
        )
    if by == "h3":
        return split_groups.hexagons(where.centres, options.resolution)
    return split_groups.squares(where.centres, parse_distance("block_size", options.block_size))


def _by_time(
    every: Sequence[Sample], ratios: Ratios, cuts: str | Sequence[str] | None, field: str | None
) -> tuple[list[str], list[str], list[str]]:
    """Return the days of every sample, its split, and the days at which splits begin."""
    sample_spans = [dates_of(sample, field) for sample in every]
    spans = [span for span in sample_spans if span is not None]
    if len(spans) < len(sample_spans):
        raise UsageError(
            f"by='time': {len(sample_spans) - len(spans):,} of {len(sample_spans):,} chips have no date: name the field"
            " of the units with `date_field`, or repeat the run with provenance"
        )
    chosen = cuts_of(spans, ratios) if cuts is None else parse_cuts(cuts)
    if len(chosen) != len(ratios.names) - 1:
        raise UsageError(
            f"{len(ratios.names)} splits have {len(ratios.names) - 1} cuts between them, not {len(chosen)}"
        )
    names = [first.isoformat() if first == last else f"{first}/{last}" for first, last in spans]
    return names, [split_of(span, chosen, ratios.names) for span in spans], [day.isoformat() for day in chosen]


def _has_same_options(folder: Path, options: Mapping[str, Any]) -> bool:
    """Return whether there is an earlier division with the same options."""
    if not (folder / split_table.SPLITS_NAME).is_file():
        return False
    before = split_table.options(folder)
    if any(before.get(name) != options.get(name) for name in _KEPT):
        return False
    earlier, shares = before.get("ratios", {}), options["ratios"]
    # The last digit of a share differs if the shares of an earlier division are divided by their sum again.
    return earlier.keys() == shares.keys() and all(math.isclose(earlier[name], shares[name]) for name in shares)


def _earlier_cuts(folder: Path, options: Mapping[str, Any]) -> Sequence[str] | None:
    """Return the cuts of an earlier division with the same options, so that later chips do not move earlier ones."""
    return split_table.options(folder).get("cuts") if _has_same_options(folder, options) else None


def _earlier(folder: Path, options: Mapping[str, Any]) -> dict[str, str]:
    """Return the splits of the blocks of an earlier division with the same options.

    It may have had no chips of some of them, as while a run is extended by a dataset.
    """
    if not _has_same_options(folder, options):
        return {}
    table = split_table.table(folder)
    table = table[table["home"] != NONE]
    absent = split_table.options(folder).get(split_table.ABSENT)
    return {**(absent if isinstance(absent, dict) else {}), **dict(zip(table["block"], table["home"], strict=True))}


def _doubled(folder: Path, frame: pd.DataFrame) -> int:
    """Return the number of chips that duplicate one of another split."""
    if not (folder / quality_table.QUALITY_NAME).is_file():
        return 0
    duplicates = quality_table.read(folder)[["id", "duplicate_of"]].dropna()
    placed = dict(zip(frame["id"], frame["split"], strict=True))
    pairs = {(placed.get(one, NONE), placed.get(other, NONE), one) for one, other in duplicates.itertuples(index=False)}
    return sum(first != second and NONE not in (first, second) for first, second, _ in pairs)


def _describe_nearness(count: int, metres: float) -> str:
    """Return the predicate of a number of chips that are too near to others."""
    ending = "s" if count == 1 else ""
    return f"lie{ending} nearer than {format_distance(metres)} to" if metres else f"overlap{ending}"


def _refuse(leakage: Leakage, metres: float, buffer: str | None) -> None:
    if buffer and leakage.unmeasured:
        raise UsageError(
            f"buffer: {leakage.unmeasured:,} results have no crs and transform, so that their location is unknown:"
            " leave `buffer` out"
        )
    if leakage:
        how = _describe_nearness(leakage.chips, metres)
        pairs = tuple((*leak.splits, leak.first, leak.second, leak.metres) for leak in leakage.nearest)
        raise LeakageError(f"{format_count(leakage.chips, 'chip')} {how} chips of another split", pairs=pairs)


def _refuse_near(near: Booleans, placed: Sequence[str], ratios: Ratios, metres: float) -> None:
    """Raise LeakageError if chips near other footprints are in a split that is not for training."""
    near_splits = [split for split, is_near in zip(placed, near, strict=True) if is_near]
    wrong = [split for split in near_splits if split not in (NONE, ratios.training)]
    if wrong:
        chips = f"{format_count(len(wrong), 'chip')} of {', '.join(sorted(set(wrong)))}"
        raise LeakageError(f"{chips} {_describe_nearness(len(wrong), metres)} footprints of the other data set")


def _refuse_empty(division: SplitResult) -> None:
    there = set(division.splits["split"])
    for name in division.ratios.names:
        if name not in there:
            raise UsageError(
                f"no chips are left in {name}: use smaller blocks, other cuts, a smaller `buffer` or `distance`"
            )


def _frame(
    ids: Sequence[str], placed: Sequence[str], names: Sequence[str], homes: Sequence[str], strata: Sequence[Hashable]
) -> pd.DataFrame:
    columns = {"id": ids, "split": placed, "block": names, "home": homes}
    return pd.DataFrame({**columns, "stratum": pd.Series(list(strata), dtype=object)})
