"""Extend a run by new images, and find images that have a new version in the archive: :func:`update`."""

from __future__ import annotations

import dataclasses
import datetime as dt
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from eechips.commands.command import FetchCommand
from eechips.commands.recorded_service import service_queries
from eechips.commands.retried_runs import as_recorded, recorded_words, require_trust
from eechips.engine.run import run as run_recipe
from eechips.errors import UsageError
from eechips.lockfile.lockfile_writer import archive_versions
from eechips.manifest.extensions import KEPT_CHANGES, PlanUnits, plan_parts
from eechips.manifest.folder_lock import lock_folder
from eechips.manifest.run import Run, open_run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.sqlite.ledger_queries import read_positions_of, read_sources
from eechips.planning.imagery.periods import parse_day
from eechips.recipe import SupportsExtension
from eechips.text.formatting import format_count
from eechips.text.timestamps import parse_timestamp, present

_END = "--end"
_REPEATS = "with a later `end` and `extend=True`"
"""How a program updates its run."""


@dataclass(frozen=True, slots=True)
class RunUpdate:
    """What an update has done.

    Attributes:
        until: the end of its dates now, exclusive, ISO 8601; None if it has none.
        replaced: ids of images that have changed at the source after their results were fetched.
        is_refetched: whether the results of the added units were fetched again.
        kept: results that would be made of other images now, and were kept; a sentence each.
    """

    run: Run
    until: str | None
    added: int
    replaced: tuple[str, ...]
    is_refetched: bool
    kept: tuple[str, ...]
    is_interrupted: bool = False

    @property
    def has_news(self) -> bool:
        """Whether something was added, or has changed at the source."""
        return bool(self.added or self.replaced or self.kept)

    def describe(self) -> str:
        """Return a line about it."""
        run = self.run
        until = "" if self.until is None else f" until {self.until}"
        failed = len(run.failures)
        versions = format_count(len(self.replaced), "image") + " with a new version"
        versions += ", fetched again" if self.is_refetched else ": --refetch fetches them"
        texts = [
            f"{format_count(self.added, 'new unit')}{until}" if self.added else f"nothing new{until}",
            versions if self.replaced else "",
            f"{format_count(len(self.kept), 'composite')} kept that would have other images" if self.kept else "",
            f"{failed:,} failed" if failed else "",
        ]
        return f"{run.path}: {'; '.join(filter(None, texts))}"


def update(
    run: str | Path | Run,
    *,
    until: str | None = None,
    refetch: bool = False,
    trust: bool = False,
    now: Callable[[], dt.datetime] = present,
) -> RunUpdate:
    """Extend a run by what is new in its archive, with the command that made it.

    Images are fetched up to a day. Composites and tables, which are made of several images, end with the day before the
    latest image of the archive, and with a whole period, as they do not change later.

    Args:
        run: the run, or its folder; made by a command that can be extended.
        until: the day, exclusive, YYYY-MM-DD; None for today, UTC.
        refetch: fetch results again whose images have changed at the source since, and composites that an earlier
            update has kept though they would have other images.
        trust: execute the command of run.json even if somebody else wrote it.
        now: the present time, UTC.

    Returns:
        What is new. Units may have failed.

    Raises:
        UsageError: if the run cannot be extended, or a program made it, or the command is somebody else's.
        ConfigurationError: if credentials, project or endpoint do not work.

    Example:
        >>> print(eechips.update("outputs/images-s2").describe())
    """
    opened_run = open_run(run)
    try:
        return _update(opened_run, _day(until, now), refetch=refetch, trust=trust)
    except click.ClickException as error:
        raise UsageError(error.format_message()) from error


def _day(until: str | None, now: Callable[[], dt.datetime]) -> dt.date:
    if until is None:
        return now().date()
    try:
        return parse_day(until)
    except UsageError:
        raise UsageError(f"`until` is a day (YYYY-MM-DD), not {until!r}") from None


def _update(run: Run, until: dt.date, *, refetch: bool, trust: bool) -> RunUpdate:
    words, place = recorded_words(run, repeats=_REPEATS), run.path.resolve()
    with as_recorded(words, run, partial(require_trust, trust=trust), is_extended=True) as again:
        end, replaced = _ask_service(again, place, until)
        if end is not None:
            again.params["end"] = end
            words = with_end(words, end)
        if refetch:
            with lock_folder(place), Ledger(place / LEDGER_NAME) as ledger:
                changed = [change["position"] for change in ledger.meta().get(KEPT_CHANGES) or ()]
                ledger.reopen([*read_positions_of(ledger.database, replaced), *changed])
        before = _count_units(place)
        recipe, config = _make(again, place)
        done = run_recipe(recipe, dataclasses.replace(config, extend=True, command=shlex.join(words)))
        with Ledger(place / LEDGER_NAME, readonly=True) as ledger:
            kept = ledger.meta().get(KEPT_CHANGES) or ()
        return RunUpdate(
            run=run,
            until=again.params.get("end"),
            added=_count_units(place) - before,
            replaced=tuple(replaced),
            is_refetched=refetch,
            kept=tuple(str(change["text"]) for change in kept if change["text"]),
            is_interrupted=done.interrupted,
        )


def _make(again: click.Context, place: Path) -> tuple[Any, Any]:
    """Return the recipe and the config of a recorded command; raise UsageError if it cannot be extended."""
    if not isinstance(again.command, FetchCommand):
        raise UsageError(f"{place} was rebuilt from a lockfile: update the run that was locked")
    recipe, config = again.command.receive(again)
    if not isinstance(recipe, SupportsExtension):
        raise UsageError(
            f"eechips {again.info_name} has no dates that grow: {place} cannot be updated. Fetch what is new into"
            " another folder"
        )
    return recipe, dataclasses.replace(config, quiet=True, dry_run=False, estimate=None)


def _ask_service(again: click.Context, place: Path, until: dt.date) -> tuple[str | None, list[str]]:
    """Return the new end of a run, if there is one, and the images that have changed at the source.

    An image has changed if its version, which is the time of its last change, is later than the first of its results.

    Raises:
        UsageError: see :meth:`eechips.recipe.SupportsExtension.find_end`.
    """
    recipe, config = _make(again, place)
    known = archive_versions(place)
    with Ledger(place / LEDGER_NAME, readonly=True) as ledger, service_queries(None, config) as service:
        fetched = {name: moment for name, moment in read_sources(ledger.database) if name not in known}
        versions = service.versions(fetched)
        replaced = [
            name
            for name, moment in fetched.items()
            if name in versions and moment is not None and versions[name].is_later(_time(moment))
        ]
        before = again.params.get("end")
        if before is None and config.source and recipe.name == "images":
            return None, replaced
        end = recipe.find_end(until, PlanUnits(ledger))
    return (None if end is None or (before or "") >= end.isoformat() else end.isoformat()), replaced


def _time(moment: str) -> dt.datetime:
    parsed = parse_timestamp(moment)
    return dt.datetime.max.replace(tzinfo=dt.timezone.utc) if parsed is None else parsed


def _count_units(place: Path) -> int:
    """Return the number of units that were planned, without those that replace others."""
    with Ledger(place / LEDGER_NAME, readonly=True) as ledger:
        parts = plan_parts(ledger.meta())
        return sum(part.units for part in parts) if parts else ledger.end


def with_end(words: Sequence[str], end: str) -> list[str]:
    """Return the words of a command with another end of its dates, the day after the last."""
    own = words.index("--") if "--" in words else len(words)
    kept_words: list[str] = []
    left = iter(words[:own])
    for word in left:
        if word == _END:
            next(left, None)  # its value
        elif not word.startswith(f"{_END}="):
            kept_words.append(word)
    return [*kept_words[:2], _END, end, *kept_words[2:], *words[own:]]
