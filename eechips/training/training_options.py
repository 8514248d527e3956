"""Declare the options of checks, splits and packs, and their defaults, such as the thresholds of flags; refuse options
that need others (``distance`` without ``away_from``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

from eechips.errors import UsageError
from eechips.option_fields import documented, option, option_field
from eechips.training.formats import PACK_FORMATS

WAYS = ("blocks", "h3", "time", "random")
"""Ways to split, beside ``column:NAME``."""
COLUMN = "column:"
"""Before the name of a field whose values are the blocks of a split."""

NEAR = ("refuse", "drop")
"""Treatment of chips of different splits that are too close to each other."""

AWAY = ("drop", "train")
"""Treatment of chips near the footprints of another data set."""

_QUIET = option("Show no progress.", flags=("-q",))


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """Options of ``eechips check``: the thresholds of the flags, and what is checked.

    Raises:
        UsageError: if a value is out of range.
    """

    least_valid: float = option_field(0.5, "Minimum share of valid pixels; fewer: masked.", kind="share")
    most_black: float = option_field(
        0.5, "Maximum share of valid pixels with 0 in all bands; more: black.", kind="share"
    )
    most_saturated: float = option_field(
        0.5, "Maximum share of valid pixels with the greatest value of their type; more: saturated.", kind="share"
    )
    most_clouds: float = option_field(
        0.2,
        "Maximum share of cloud by quality bands in the chip (SCL, QA60, QA_PIXEL, cs, …); more: cloudy.",
        kind="share",
    )
    bits: int | None = option_field(
        4, "Maximum number of differing bits, of 128, in the perceptual hashes of near duplicates.", least=0, most=32
    )
    roi: str | Path | None = option_field(
        None, "Region that must contain the chips.", metavar="W,S,E,N|FILE", default="that of the run"
    )
    ignore: str | Sequence[str] = option_field(
        (), "Flags to ignore, in one layer or in all.", metavar="FLAG[:LAYER],…", kind="names"
    )
    again: bool = option_field(False, "Read all files again, also those that an earlier check has measured.")
    quiet: bool = field(default=False, metadata=_QUIET)

    def __post_init__(self) -> None:
        for name in ("least_valid", "most_black", "most_saturated", "most_clouds"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(f"{name} must be a share from 0 to 1, not {getattr(self, name)}")
        if self.bits is not None and self.bits not in range(33):
            raise UsageError(f"bits must be 0 to 32, of the 128 bits of a chip's hash, not {self.bits}")


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class SplitOptions:
    """Options of ``eechips split``.

    Raises:
        UsageError: if ``near`` is unknown, or an option needs another way to split.
    """

    by: str = option_field(
        "blocks",
        "Unit of the split, whose chips stay together: equal-area squares, H3 cells, days, places, or values of a"
        " field of the units.",
        metavar="|".join((*WAYS, "column:NAME")),
    )
    ratios: str | Sequence[float] | Mapping[str, float] = option_field(
        "0.7,0.15,0.15",
        "Shares of train, validation and test, or of train and test; or with names: a=0.6,b=0.4.",
        metavar="R,R[,R]|NAME=R,…",
    )
    block_size: str = option_field("10km", "With `by` blocks: edge of a square.", metavar="DISTANCE")
    resolution: int = option_field(5, "With `by` h3: resolution of the cells.", least=0, most=15)
    cuts: str | Sequence[str] | None = option_field(
        None, "With `by` time: first days of the later splits.", metavar="DAY[,DAY]", default="by the ratios"
    )
    date_field: str | None = option_field(
        None, "With `by` time: field of the units with the date.", metavar="NAME", default="the dates of the images"
    )
    stratum: str | None = option_field(
        "auto",
        "Field to stratify by: the ratios hold within each value. auto: the class or ecoregion of random points.",
        metavar="auto|none|NAME",
    )
    seed: int = option_field(0, "Seed of the random assignment of blocks.")
    buffer: str | None = option_field(
        None,
        "Minimum distance between chips of different splits.",
        metavar="DISTANCE",
        default="no overlap; with `by` time no check",
    )
    near: str = option_field(
        "refuse",
        "What to do with chips that are too close: refuse the split, or drop those of the larger split.",
        choices=NEAR,
    )
    away_from: str | Path | Sequence[str | Path] = option_field(
        (),
        "Footprints of another data set, such as one for pretraining: a vector file, or the folder of a run. Chips"
        " that overlap them, or are nearer than `distance`, get no split; may be repeated.",
        metavar="FILE|DIR",
        default="none",
        is_multiple=True,
    )
    distance: str = option_field("0m", "With `away_from`: minimum distance to the footprints.", metavar="DISTANCE")
    away: str = option_field(
        "drop", "With `away_from`: leave such chips out, or have their blocks in the training split.", choices=AWAY
    )
    fresh: bool = option_field(False, "Ignore an earlier split; otherwise blocks and cuts stay.")
    quiet: bool = field(default=False, metadata=_QUIET)

    def __post_init__(self) -> None:
        check_numbers(-math.inf, seed=self.seed)
        if self.by not in WAYS and not self.by.startswith(COLUMN):
            raise UsageError(f"by must be {', '.join(WAYS)} or {COLUMN}NAME, not {self.by!r}")
        if self.near not in NEAR:
            raise UsageError(f"near must be {' or '.join(NEAR)}, not {self.near!r}")
        if self.away not in AWAY:
            raise UsageError(f"away must be {' or '.join(AWAY)}, not {self.away!r}")
        for name, default in (("distance", "0m"), ("away", "drop")):
            if not self.away_from and getattr(self, name) != default:
                raise UsageError(f"{name} needs away_from")
        for name in ("cuts", "date_field"):
            if getattr(self, name) is not None and self.by != "time":
                raise UsageError(f"{name} needs by='time'")


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class StatsOptions:
    """Options of ``eechips stats``."""

    out: str | Path | None = option_field(
        None, "File of the statistics.", metavar="FILE", kind="file", default="stats.json in the folder"
    )
    quiet: bool = field(default=False, metadata=_QUIET)


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class PackOptions:
    """Options of ``eechips pack``.

    Raises:
        UsageError: if a shard could hold nothing.
    """

    to: str = field(
        metadata=option(
            "Format of the shards. webdataset, tfrecord and parquet store the files unchanged; zarr and hdf5 store"
            " arrays, so that all samples must have the same layers, sizes and types. geozarr stores a group for each"
            " sample, with coordinates, crs and times.",
            choices=PACK_FORMATS.names,
        )
    )
    out: str | Path | None = option_field(
        None, "Folder of the shards.", metavar="DIR2", kind="folder", default="DIR/packs/FORMAT"
    )
    splits: str | Sequence[str] = option_field(
        (),
        "Only this split of `eechips split`; may be repeated.",
        metavar="NAME",
        default="all",
        is_multiple=True,
        long_flag="--split",
    )
    shard_count: int = option_field(1000, "Maximum number of samples in a shard.", metavar="N", least=1)
    shard_bytes: int = option_field(
        250_000_000,
        "Maximum size of a shard before compression; a larger sample gets a shard of its own.",
        kind="bytes",
        default="250MB",
    )
    seed: int = option_field(0, "Seed of the order of samples.")
    quiet: bool = field(default=False, metadata=_QUIET)

    def __post_init__(self) -> None:
        check_numbers(1, shard_count=self.shard_count, shard_bytes=self.shard_bytes)
        check_numbers(-math.inf, seed=self.seed)


def check_numbers(least: float = 0, /, **values: Any) -> None:
    """Check that numbers are whole, and none is below the least.

    Raises:
        UsageError: with the name of one that is not.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            start = f" from {least}" if math.isfinite(least) else ""
            raise UsageError(f"`{name}` is a whole number{start}, not {value!r}")
