"""Test a recipe with three units of its plan in a temporary folder, as ``eechips run --check`` does, and forecast the
whole run.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from eechips.client.access.connection import Connection
from eechips.client.access.discovery import DiscoveryFile
from eechips.client.quota.congestion import USUAL
from eechips.engine.config import RunConfig
from eechips.engine.costs.cost_descriptions import Forecast
from eechips.engine.costs.forecast import Machine, Meter, forecast_rest
from eechips.engine.plans.plan import name_template, units_of
from eechips.engine.run import run
from eechips.engine.run_context import RecipeContext
from eechips.errors import UsageError
from eechips.manifest.manifest_columns import ROW, Record
from eechips.manifest.sqlite.ledger_queries import read_files, read_unit_files, sum_totals
from eechips.recipe import Recipe, SupportsInteractiveRun, SupportsWorkerStart, canonical_json, traits_of, unit_value
from eechips.storage import write_file
from eechips.text.formatting import format_bytes, format_count, format_duration

FOLDER = "check"
"""Folder of the kept files, below the run's folder."""

_TRIED = 3
_BATCH = 10_000  # units of the plan in one transaction
_MOST_TEXT = 300  # characters of a unit in the output


@dataclass(frozen=True, slots=True)
class CheckedUnit:
    """A tested unit.

    Attributes:
        unit: as the recipe returned it.
        files: a line for each file, with path, layer and size.
    """

    unit: Any
    record: Record
    files: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """The result as text."""
        text = canonical_json(self.unit)
        text = text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}…"
        record = self.record
        cost = f"{record.seconds or 0:.2f} s, {format_count(record.requests, 'request')}"
        size = "" if record.bytes is None else f", {format_bytes(record.bytes)}"
        lines = [f"unit {record.position:,}  {text}", f"  {record.state.value.replace('_', ' ')}: {cost}{size}"]
        lines += [f"  file: {file}" for file in self.files]
        if not self.files and not record.state.is_failure:
            lines.append("  no file")
        lines += [f"  {fact}" for fact in self._facts]
        if record.error is not None:
            lines.append(f"  {record.error_class}: {record.error}")
        lines += [f"    {line}" for line in _own_frames(record.traceback or "")]
        return lines

    @property
    def _facts(self) -> Iterator[str]:
        record = self.record
        bands = "" if record.bands is None else f": {', '.join(json.loads(record.bands))}"
        if record.rows is not None:
            yield f"table: {format_count(record.rows, 'row')}; columns{bands}"
        elif record.width is not None:
            yield f"pixels: {record.width}x{record.height} of {record.dtype}; bands{bands or ': no names'}"
        if record.valid_fraction is not None:
            yield f"valid: {record.valid_fraction:.1%} of the pixels"
        if record.crs is not None:
            yield f"crs: {record.crs:.60}; transform: {record.transform}"


@dataclass(frozen=True, slots=True)
class RecipeCheck:
    """Result of the test of a recipe.

    Attributes:
        units: number of units in the plan; for a script, of the pools that it has opened so far.
        tried: the first unit, one from the middle, the last.
        forecast: estimate of the whole run from these units; None if all of them failed.
        kept: folder of the files; None if they were removed.
    """

    name: str
    units: int
    is_whole: bool
    tried: tuple[CheckedUnit, ...]
    forecast: Forecast | None
    kept: Path | None = None

    @property
    def failed(self) -> int:
        """Number of tested units that failed."""
        return sum(tried.record.state.is_failure for tried in self.tried)

    def __repr__(self) -> str:
        return "\n".join(self.lines)

    @property
    def lines(self) -> list[str]:
        """The whole result as text."""
        whole = "" if self.is_whole else " so far (it plans as it goes)"
        lines = [f"{self.name}: {format_count(self.units, 'unit')}{whole}; tested: {len(self.tried)}"]
        for tried in self.tried:
            lines += ["", *tried.lines]
        lines.append("")
        if self.forecast is not None:
            lines.append(f"whole run  {_foreseen(self.forecast)}")
        if self.kept is not None:
            lines.append(f"files      kept in {self.kept}")
        lines.append(f"failed     {self.failed} of {len(self.tried)}")
        return lines


def _foreseen(forecast: Forecast) -> str:
    time = f"{format_duration(forecast.seconds)} with {format_count(forecast.slots, 'request')} at once"
    size = "" if forecast.bytes is None else f", {format_bytes(forecast.bytes)}"
    return f"about {format_count(forecast.requests, 'request')}{size}, {time}"


def _own_frames(traceback: str) -> Iterator[str]:
    """Yield the lines of a traceback, without the frames of eechips that call the recipe."""
    ours = f'  File "{Path(__file__).parents[1]}{os.sep}'
    is_ours = False
    has_begun = False
    for line in traceback.rstrip().splitlines():
        if line.startswith("  File "):
            is_ours = not has_begun and line.startswith(ours)
            has_begun = has_begun or not is_ours
        elif not line.startswith("  "):
            is_ours = False
        if not is_ours:
            yield line


def check_recipe(recipe: Recipe, config: RunConfig, *, keep: Path | None = None) -> RecipeCheck:
    """Plan a recipe, fetch three units, and return their results.

    Args:
        config: configuration of its run, with a temporary folder that the caller removes.
        keep: folder of the real run, to keep the files in a folder below it; None to keep no files.

    Raises:
        UsageError: if the plan is empty, or the config requests an estimate, too.
        KeyboardInterrupt: if the user stops the test.
        ConfigurationError, RecipeError, RequestError: as :func:`eechips.engine.run.run`.
    """
    if config.dry_run or config.estimate is not None:
        raise UsageError("`check` takes neither `dry_run` nor `estimate`: it is an estimate itself")
    tried = CheckedRecipe(recipe, config)
    done = run(tried, dataclasses.replace(config, quiet=True, on_empty="keep", name=None))
    if not tried.is_through:
        raise KeyboardInterrupt
    if not tried.tried:
        raise UsageError(f"get_requests of {recipe.name} returned no unit: there is nothing to try")
    kept = None
    if keep is not None:
        kept = keep / FOLDER
        for file in tried.files:
            _keep(done.path, file, kept)
    return RecipeCheck(recipe.name, tried.units, not tried.is_open, tuple(tried.tried), tried.forecast, kept)


class CheckedRecipe:
    """Wrap a recipe so that a run fetches three units: the first, one from the middle, the last.

    The units have the same ids and names as in the real run.

    Attributes:
        is_open: whether the plan may become longer.
        is_through: whether the test is complete; False if the user stopped it.
        files: files of the units, below the run's folder.
    """

    def __init__(self, recipe: Recipe, config: RunConfig) -> None:
        self._recipe, self._config = recipe, config
        self.name, self.identity = f"check-{recipe.name}", recipe.identity
        self.parameters: Mapping[str, Any] = recipe.parameters
        self.datasets: Sequence[str] = recipe.datasets
        traits = traits_of(recipe)
        self.imports, self.is_concurrent = traits.imports, traits.is_concurrent
        self.is_builtin, self.needs_service = traits.is_builtin, traits.needs_service
        self.units, self.is_open, self.is_through = 0, isinstance(recipe, SupportsInteractiveRun), False
        self._is_stopped = False
        self.tried: list[CheckedUnit] = []
        self.files: list[str] = []
        self.forecast: Forecast | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_config": None, "tried": []}

    def get_requests(self) -> list[Any]:
        """Return the plan of the recipe."""
        return list(self._recipe.get_requests())

    def on_worker_start(self, connection: Connection, discovery: DiscoveryFile) -> None:
        """Pass the worker's connection to the recipe."""
        if isinstance(self._recipe, SupportsWorkerStart):
            self._recipe.on_worker_start(connection, discovery)

    def get_result(self, index: int, unit: Any) -> Any:
        """Return the recipe's result of a unit."""
        return self._recipe.get_result(index, unit)

    def run_interactively(self, context: RecipeContext) -> bool:
        """Plan, and fetch three units; for a script, three items of its first pools. Most of the plan remains."""
        settle = partial(self._try, context)
        if isinstance(self._recipe, SupportsInteractiveRun):
            has_finished = self._recipe.run_interactively(dataclasses.replace(context, settle=settle))
            self.is_open = not has_finished and not self._is_stopped
        else:
            units = units_of(self._recipe, name_template(self._recipe, self._config))
            while some := list(islice(units, _BATCH)):
                context.ledger.add(some)
            settle(0, context.ledger.end)
        self.units, self.files = context.ledger.end, [file.name for file in read_files(context.ledger.database)]
        totals = sum_totals(context.ledger.database)
        seconds = [tried.record.seconds or 0.0 for tried in self.tried if not tried.record.state.is_failure]
        if seconds:
            unit_seconds = statistics.median(seconds)  # the first unit is often slow
            usual = dataclasses.replace(totals, seconds=unit_seconds * totals.units)
            self.forecast = forecast_rest(usual, self.units, Meter(), Machine(self._slots), self._config)
        self.is_through = not self._is_stopped
        return False

    def _try(self, context: RecipeContext, first: int, end: int) -> bool:
        """Complete units between two positions; return whether these were all, so that a script can continue."""
        wanted = spread(first, end, _TRIED - len(self.tried))
        for position in wanted:
            if not context.settle(position, position + 1):
                self._is_stopped = True
                return False
        self.tried += _tried(context, wanted)
        return len(wanted) == end - first and len(self.tried) < _TRIED

    @property
    def _slots(self) -> int:
        """Return the concurrent requests; a local Earth Engine is limited by the cores of this machine."""
        config = self._config
        most = int(USUAL) if config.in_flight == "auto" else config.in_flight
        return min(most, os.cpu_count() or 1) if config.is_local else most


def spread(first: int, end: int, count: int) -> list[int]:
    """Return up to ``count`` evenly spaced positions from ``first`` to before ``end``, both ends included."""
    there = end - first
    if there <= count:
        return list(range(first, end))
    if count == 1:
        return [first]
    return [first + round(i * (there - 1) / (count - 1)) for i in range(count)]


def _tried(context: RecipeContext, positions: Sequence[int]) -> Iterator[CheckedUnit]:
    files: dict[int, list[str]] = {}
    for position, _, layer, file, size, *_ in read_unit_files(context.ledger.database):
        words = file if layer is None else f"{file} ({layer})"
        files.setdefault(position, []).append(f"{words}, {format_bytes(size)}")
    for unit, *values in context.ledger.rows(("unit", *ROW)):
        if (record := Record.of_row(values)).position in positions:
            alone = [] if record.file is None else [record.file]
            yield CheckedUnit(unit_value(json.loads(unit)), record, tuple(files.get(record.position, alone)))


def _keep(folder: Path, file: str, kept: Path) -> None:
    target = kept / file
    target.parent.mkdir(parents=True, exist_ok=True)
    write_file(target, (folder / file).read_bytes())
