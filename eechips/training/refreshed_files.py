"""Bring the quality table, splits, statistics and data card of a run up to date after it was extended."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eechips.errors import EechipsError, UsageError
from eechips.manifest.extensions import plan_parts
from eechips.manifest.untrusted_run import INFO_NAME
from eechips.storage.untrusted_files import is_local_path, read_json
from eechips.text.timestamps import parse_timestamp
from eechips.training.cards.croissant import CROISSANT_NAME
from eechips.training.cards.dataset_card import card
from eechips.training.quality import quality_table
from eechips.training.quality.quality_check import check
from eechips.training.quality.statistics_passes import SCHEMA, STATS_NAME, stats
from eechips.training.splits import split_table
from eechips.training.splits.splitting import split


def refresh_files(folder: Path) -> list[str]:
    """Make quality table, splits, statistics and data card of a run again, if it has them, by the options of before.

    Files that were checked are not read again. Chips keep their split; see
    :func:`eechips.training.splits.splitting.split`.

    Returns:
        A sentence about each file that was left as it was.
    """
    remakers = (
        (quality_table.QUALITY_NAME, _check_again),
        (split_table.SPLITS_NAME, _split_again),
        (STATS_NAME, _compute_again),
        (CROISSANT_NAME, _describe_again),
    )
    left: list[str] = []
    for name, make in remakers:
        if (folder / name).is_file():
            try:
                make(folder)
            except EechipsError as error:
                left.append(f"{name} was left as it was: {error}")
    return [*left, *_made_before(folder)]


def _made_before(folder: Path) -> Iterator[str]:
    """Yield a sentence about a catalogue and each pack in the folder that are older than the last extension."""
    parts = plan_parts(_read(folder / INFO_NAME))
    moment = parse_timestamp(parts[-1].planned) if parts else None
    catalog = f"eechips catalog {shlex.quote(str(folder))}"
    for path in (folder / "catalog" / "_schema.json", *sorted(folder.glob("packs/*/shards.json"))):
        if moment is not None and path.is_file() and path.stat().st_mtime < moment.timestamp():
            cure = "remove it, and repeat eechips pack for" if path.name == "shards.json" else f"{catalog} adds"
            yield f"{path.parent.relative_to(folder)} was made before the run was extended: {cure} what is new"


def _check_again(folder: Path) -> None:
    options = quality_table.options(folder)
    roi = options.get("roi")
    if isinstance(roi, str) and is_local_path(roi):  # the folder may be somebody else's
        raise UsageError(f"its region is a file: eechips check {shlex.quote(str(folder))} --roi {shlex.quote(roi)}")
    check(folder, **options, quiet=True)


def _split_again(folder: Path) -> None:
    options = _split_options(split_table.options(folder))
    if not options:
        raise UsageError(f"it has no options of a split: eechips split {shlex.quote(str(folder))}")
    split(folder, **options, quiet=True)


def _compute_again(folder: Path) -> None:
    if _read(folder / STATS_NAME).get("schema") != SCHEMA:
        raise UsageError("eechips stats has not written it")
    stats(folder, quiet=True)


def _describe_again(folder: Path) -> None:
    """Write the data card again, with what the publisher said of the data set."""
    known = _read(folder / CROISSANT_NAME)
    creator = known.get("creator")
    known |= {"title": known.get("name"), "creator": creator.get("name") if isinstance(creator, dict) else None}
    names = [name for name in ("title", "creator", "url", "version") if isinstance(known.get(name), str)]
    card(folder, **{name: known[name] for name in names})


def _split_options(recorded: dict[str, Any]) -> dict[str, Any]:
    """Return options of ``split`` by those that splits.parquet records; empty if another program made it."""
    if not {"by", "ratios", "seed", "stratum"} <= recorded.keys():
        return {}
    split_options: dict[str, Any] = {
        name: recorded[name] for name in ("by", "ratios", "seed", "stratum", "near") if name in recorded
    }
    optional = ["resolution", "date_field", "away_from", "away"]
    if recorded.get("has_own_cuts"):  # others stay
        optional.append("cuts")
    split_options |= {name: recorded[name] for name in optional if recorded.get(name)}
    for name in ("block_size", "buffer", "distance"):
        if (metres := recorded.get(name)) is not None and (name != "distance" or recorded.get("away_from")):
            split_options[name] = f"{float(metres):f}m"
    return split_options


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path, path.parent)
    return content if isinstance(content, dict) else {}
