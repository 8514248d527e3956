"""Fetch units in a worker: call the recipe, name and stage the files of a unit, all or none, and record its outcome;
repeat it after an internal error.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rasterio.errors import NotGeoreferencedWarning

from eechips.client import retry
from eechips.client.access.connection import Connection, ServiceTarget, connect_worker
from eechips.client.access.discovery import DiscoveryFile
from eechips.client.compute_profiles import ProfileShare
from eechips.client.error_classification import raising_recipe_errors
from eechips.client.exports.export_tasks import export_kind
from eechips.client.fetcher import Fetcher
from eechips.client.http.throttled_requests import throttle_requests_library
from eechips.client.http.transport import Transport, use_transport
from eechips.client.quota.throttle import QuotaClient
from eechips.client.quota.usage import Usage
from eechips.engine.fetch_result import UnitExports, fetch_result, fetched_results
from eechips.engine.joining.shared_fetcher import SharedFetcher, SharedResult
from eechips.engine.outcome import AssignmentProgress, Outcome
from eechips.engine.results.outcome_records import ResultFile, completed, failed, lacks_layer, record_of
from eechips.engine.worker_spec import WorkerSpec
from eechips.errors import InternalError, RecipeError, Stopped, TooLargeError
from eechips.formats import EncodedFile
from eechips.manifest.manifest_columns import Record, State, WorkUnit
from eechips.manifest.reserved_names import result_name
from eechips.processes.warning_filters import ignore_warning
from eechips.recipe import Chip, NoData, Recipe, SupportsWorkerStart, Table, request_window_of, traits_of, unit_value
from eechips.recipe.results import ExistingFile, RecipeFiles, check_layer_names
from eechips.storage import ID_LENGTH, StagedFile, StagingArea, fold_case, safe_component
from eechips.web.redaction import collect_secrets

_LEAST_OF_ENVIRONMENT = 8
"""Characters of an environment variable that is a secret. Switches such as ``NEXT_TOKEN=off`` have fewer."""

_INTERNAL_REPEATS = 2
"""Repeats of a unit after an internal error, at most."""


_REPORT_SECONDS = 0.25
"""Seconds between two reports of progress, or part of a time limit that is shorter than a second."""


class _Reports:
    """Reports of the progress of an assignment, with so many seconds from one to the next, at least."""

    def __init__(self, report: Callable[[], None], interval: float) -> None:
        self._report, self._interval, self._last = report, interval, time.monotonic()

    def note_unit(self) -> None:
        """Report that a unit was worked on, if a report is due."""
        now = time.monotonic()
        if now - self._last > self._interval:
            self._last = now
            self._report()


def start_worker(
    spec: WorkerSpec,
    target: ServiceTarget,
    discovery: DiscoveryFile,
    quota: QuotaClient,
    stage: StagingArea | None = None,
) -> Worker:
    """Make this process a worker, until it is closed: all its requests by ``requests`` are throttled meanwhile.

    Args:
        stage: where results are staged, if that is not their store.
    """
    ignore_warning(NotGeoreferencedWarning)
    connection = connect_worker(target, quota, spec.policy, spec.timeouts, discovery)
    restore = throttle_requests_library(connection.transport)
    return Worker(spec, connection, discovery, stage, restore)


class Worker:
    """Turn units into staged files. Several threads may use it.

    Attributes:
        in_recipe: positions of the units whose ``get_result`` is being executed.

    Args:
        discovery: API description that the client was initialised with.
        stage: where results are staged, if that is not their store.
        restore: what is called at the end: it undoes what was done to the process.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        connection: Connection,
        discovery: DiscoveryFile,
        stage: StagingArea | None = None,
        restore: Callable[[], None] = lambda: None,
    ) -> None:
        self._spec, self._restore = spec, restore
        self._recipe = spec.recipe
        self.in_recipe: set[int] = set()
        self._secrets = _secrets_of(spec.recipe)
        self._store: StagingArea = spec.store if stage is None else stage
        traits = traits_of(spec.recipe)
        if isinstance(spec.recipe, SupportsWorkerStart):
            spec.recipe.on_worker_start(connection, discovery)
        self._transport: Transport = connection.transport
        # Recipes need not be thread-safe: only fetching is concurrent.
        self._is_concurrent = traits.is_concurrent
        self._recipe_lock = contextlib.nullcontext() if self._is_concurrent else threading.Lock()
        # Exceptions of a built-in recipe are internal errors.
        self._recipe_code = contextlib.nullcontext if traits.is_builtin else raising_recipe_errors
        self._fetcher = Fetcher(
            connection,
            spec.method,
            self._recipe_code,
            reads_assets=spec.reads_assets,
            divides_all=spec.export_to is None,
        )
        self._exports = None if spec.export_to is None else UnitExports(spec, connection.transport, self._recipe_code)
        # Other recipes may send requests in get_result.
        self._shares_requests = spec.shares_requests and request_window_of(spec.recipe) is not None
        self._shared = SharedFetcher(self._fetcher, self._transport, logs=spec.logs, secrets=self._secrets)

    def close(self) -> None:
        """Have threads that still execute units send no further request."""
        self._transport.close()
        self._restore()

    def execute(self, assignment: WorkUnit, report: Callable[[AssignmentProgress], None] = lambda _: None) -> Outcome:
        """Fetch the units of an assignment. Errors become part of their outcomes.

        After an internal error, which may be due to lack of memory, a unit is repeated a few times.

        Args:
            report: receives the progress of several units.
        """
        if not self._shares_requests or assignment.attempts > 0 or assignment.exported:
            return self._execute(assignment, None)
        with self._transport.metered() as usage:
            units = [replace(unit, is_profiled=True) if assignment.is_profiled else unit for unit in assignment.units]
            outcomes, worked = self._execute_joined(units, partial(report, AssignmentProgress(assignment.position)))
        is_fetched = not any(outcome.failed_request or outcome.exports for outcome in outcomes)
        is_smooth = usage.requests > 0 and not usage.repeats and is_fetched
        return replace(
            outcomes[0],
            joined=tuple(outcomes[1:]),
            request_seconds=usage.seconds if is_smooth and worked is None else None,
            pixels_that_worked=worked,
        )

    def _execute_joined(
        self, units: Sequence[WorkUnit], report: Callable[[], None]
    ) -> tuple[list[Outcome], int | None]:
        """Fetch units, in shared requests where their chips allow, and finish them one after the other.

        Returns:
            Their outcomes, and the pixels of the largest part of a shared request that was too large, if one was.
        """
        results: dict[WorkUnit, Any] = {}
        spent: dict[int, Usage] = {}
        reports = _Reports(report, _REPORT_SECONDS * min(1.0, self._spec.unit_timeout))
        for unit in units:
            usage = self._transport.metered(logs=self._spec.logs, profiles=unit.is_profiled)
            # The recipe is called again below.
            with usage as spent[unit.position], contextlib.suppress(Exception, SystemExit, Stopped):
                results[unit] = self._result(unit)
            reports.note_unit()
        fetched, pixels_that_worked = self._shared.fetch(results, is_profiled=units[0].is_profiled)
        outcomes = []
        for unit in units:
            reports.note_unit()
            if (shared := fetched.get(unit.position)) is not None:
                shared.usage.add(spent[unit.position])
                shared.profiles += map(ProfileShare, spent[unit.position].profiles or ())
            ended = None if shared is None else shared.outcome
            outcomes.append(ended or self._execute(unit, shared))
        return outcomes, pixels_that_worked

    def _execute(self, assignment: WorkUnit, shared: SharedResult | None) -> Outcome:
        """Fetch a unit, or finish one whose files were fetched in shared requests."""
        began = time.monotonic() if shared is None else shared.began
        outcome = Outcome(assignment.position)  # of a unit that the end of the run stops
        fetch = self._fetch if self._exports is None else partial(self._fetch_or_export, self._exports)
        metered = self._transport.metered(logs=self._spec.logs, profiles=assignment.is_profiled)
        with metered as usage, contextlib.suppress(Stopped):
            if assignment.exported:
                usage.kinds.update(dict.fromkeys(map(export_kind, assignment.exported)))
            for left in range(min(_INTERNAL_REPEATS, self._spec.policy.retries), -1, -1):
                try:
                    attempted = fetch(assignment, shared)
                except (Exception, SystemExit) as error:  # noqa: BLE001 - recorded: the other units continue
                    attempted = failed(assignment, error, self._secrets)
                if not left or attempted.record is None or attempted.record.error_class != InternalError.__name__:
                    outcome = attempted
                    break
                usage.repeats += 1
                self._transport.pause(self._spec.policy.delay)
        seconds = time.monotonic() - began
        if shared is None:
            return completed(outcome, usage, seconds)
        usage.add(shared.usage)
        return completed(outcome, usage, seconds, shared_request=shared.first, shared_profiles=shared.profiles)

    def _result(self, assignment: WorkUnit) -> Any:
        """Call the recipe."""
        unit = unit_value(json.loads(assignment.unit))
        with self._recipe_lock, use_transport(self._transport), self._recipe_code():
            self._transport.check_open()  # the run may have ended while another unit, which was given up, had the lock
            self.in_recipe.add(assignment.position)
            try:
                return self._recipe.get_result(assignment.position, unit)
            finally:
                self.in_recipe.discard(assignment.position)

    def _fetch_or_export(self, exports: UnitExports, assignment: WorkUnit, shared: SharedResult | None) -> Outcome:
        """Fetch a unit, whose results are exported if their request takes too long, or were exported before."""
        shared_result = SharedResult(self._result(assignment), time.monotonic()) if shared is None else shared
        if assignment.exported:
            return self._fetch(assignment, replace(shared_result, files=exports.read(assignment, shared_result.result)))
        try:
            return self._fetch(assignment, shared_result)
        except TooLargeError as error:
            return exports.start(assignment, shared_result.result, error)

    def _fetch(self, assignment: WorkUnit, shared: SharedResult | None) -> Outcome:
        """Call the recipe, fetch its result, and stage its files."""
        position = assignment.position
        result = self._result(assignment) if shared is None else shared.result
        is_exclusive = self._is_exclusive(result)
        files = self._fetch_files(assignment, result, {} if shared is None else shared.files)
        if not files:
            record = Record(position=position, state=State.EMPTY if isinstance(result, NoData) else State.DONE)
            return Outcome(position, record, is_exclusive=is_exclusive)
        if isinstance(result, ExistingFile):
            staged = [StagedFile(result_name(files[0].name), result.temporary, result.size, result.sha256)]
        elif not self._spec.keeps_empty and lacks_layer(files if isinstance(result, Mapping) else files[:1]):
            staged = []
        else:
            staged = self._stage(assignment, files)
        return Outcome(position, record_of(position, result, files, staged), tuple(staged), is_exclusive=is_exclusive)

    def _fetch_files(self, assignment: WorkUnit, result: Any, ready: Mapping[int, EncodedFile]) -> Sequence[ResultFile]:
        """Fetch and encode all files of a unit before the first is written, so that all exist or none."""
        if result is None or isinstance(result, NoData):
            return ()
        if isinstance(result, RecipeFiles):
            return [ResultFile(file.name, EncodedFile(file.data, "", file.metadata), file) for file in result.files]
        if isinstance(result, ExistingFile):
            name = f"{assignment.name}.{result.suffix}" if result.suffix else assignment.name
            return [ResultFile(name, EncodedFile(b"", result.suffix, result.metadata), result)]
        if isinstance(result, Mapping):
            return self._fetch_layers(assignment, result, ready)
        encoded = fetch_result(self._fetcher, result, ready)
        return [
            ResultFile(f"{self._own_name(assignment, result) or assignment.name}.{encoded.suffix}", encoded, result)
        ]

    def _fetch_layers(
        self, assignment: WorkUnit, results: Mapping[str, Any], ready: Mapping[int, EncodedFile]
    ) -> Sequence[ResultFile]:
        if not results:
            raise RecipeError("get_result returned a mapping without a single result")
        check_layer_names({str(layer) for layer in results})
        files = []
        for layer, result in results.items():
            encoded = fetch_result(self._fetcher, result, ready)
            name = self._own_name(assignment, result) or _layer_file(assignment.name, str(layer))
            files.append(ResultFile(f"{name}.{encoded.suffix}", encoded, result, str(layer)))
        if len({fold_case(file.name) for file in files}) < len(files):  # some file systems ignore case
            names = ", ".join(file.name for file in files)
            raise RecipeError(f"two results of a unit have the same name: {names}")
        return files

    def _stage(self, assignment: WorkUnit, files: Sequence[ResultFile]) -> list[StagedFile]:
        """Stage all files of a unit, or none."""
        names = [result_name(file.name) for file in files]
        # Temporary names contain the unit, in case two units share a name.
        token = f"{self._spec.token}-{assignment.id[:ID_LENGTH]}"
        staged: list[StagedFile] = []
        self._transport.check_open()  # else a later run may write to the folder
        try:
            for name, file in zip(names, files, strict=True):
                stage = partial(self._store.stage, name, file.encoded.data, token)
                staged.append(retry.call(stage, self._spec.policy, pause=self._transport.pause))
        except Exception:
            for staged_file in staged:
                self._store.discard(staged_file)
            raise
        return staged

    def _own_name(self, assignment: WorkUnit, result: Any) -> str | None:
        """Return the name that a recipe gave to a result, if any."""
        name = result.name if isinstance(result, (Chip, Table)) else None
        return f"{name}-{assignment.id[:ID_LENGTH]}" if name is not None and self._spec.appends_id else name

    def _is_exclusive(self, result: Any) -> bool:
        """Return whether the recipe has done all the work itself, so that no other unit could be fetched meanwhile."""
        return not self._is_concurrent and next(fetched_results(result), None) is None


def _secrets_of(recipe: Recipe) -> frozenset[str]:
    """Return the secrets of a recipe, whose tokens come from its parameters or from the environment."""
    environment = {
        name: value  # no path, as of PWD, and no word
        for name, value in os.environ.items()
        if len(value) >= _LEAST_OF_ENVIRONMENT and not Path(value).is_absolute() and not value.isalpha()
    }
    return collect_secrets([environment, dict(recipe.parameters)])


def _layer_file(name: str, layer: str) -> str:
    """Return the name of a layer's file without suffix: that of the unit, which may end with the layer's already."""
    ending = f".{safe_component(layer)}"
    return name if name.endswith(ending) else f"{name}{ending}"
