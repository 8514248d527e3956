"""Fetch the units of a collection in your own Beam pipeline: the transform ``FetchUnits``, from JSON values to
outcomes, which it defines and counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Optional

import apache_beam as beam
from apache_beam.coders.row_coder import RowCoder
from apache_beam.coders.typecoders import registry
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import PCollection
from apache_beam.transforms.ptransform import PTransform
from apache_beam.transforms.util import ReshufflePerKey
from apache_beam.typehints import KV
from apache_beam.utils.windowed_value import WindowedValue

from eechips.client.access.connection import NO_SERVICE
from eechips.engine.config import RunConfig
from eechips.engine.executors.beam_pipeline import WorkerFn
from eechips.engine.outcome import Finished, Lost
from eechips.engine.plans.changed_options import describe, plan_identity
from eechips.engine.plans.plan import name_template
from eechips.engine.results.result_stores import ImmediateStore
from eechips.engine.service.session import target_of, worker_spec_of
from eechips.engine.worker_spec import WorkerSpec
from eechips.errors import UsageError, WorkerLostError
from eechips.files.temporary_names import new_writer
from eechips.manifest.manifest_columns import FILE_COLUMNS, State, WorkUnit, decode_columns
from eechips.manifest.reserved_names import result_name
from eechips.recipe import Recipe, canonical_json, load_recipe, to_unit, traits_of, unit_id
from eechips.storage import NameTemplate, ObjectStore, is_address
from eechips.text.timestamps import utc_now


# Beam makes a schema of it, and supports Optional, but not `str | None`.
class FetchedUnit(NamedTuple):
    """The outcome of a unit.

    Attributes:
        id: id of the unit: SHA-256 of the unit and the recipe.
        unit: the input value, as JSON.
        state: ``done``; ``empty``, without a valid pixel; ``failed_transient``, which can be retried;
            ``failed_permanent``.
        path: path of the file, or its address; None if there is none.
        bytes: its size.
        sha256: SHA-256 digest of its content, hexadecimal.
        metadata: metadata of the file, as JSON: :data:`~eechips.manifest.manifest_columns.FILE_COLUMNS`, without
            missing values.
        layers: JSON list of files, for a unit that has several: path, bytes, sha256.
        error_class: name of the class in ``eechips.errors``, if it failed.
        error: message of the error, if it failed.
        attempts: number of tries.
        requests: sent for it, including retries.
        seconds: from the start of the unit to its file.
        finished: time, ISO 8601, UTC.
        plan: identity of what the unit belongs to: SHA-256 of the recipe, with its code and parameters, and the source.
    """

    id: str
    unit: str
    state: str
    path: Optional[str] = None  # noqa: UP045
    bytes: Optional[int] = None  # noqa: UP045
    sha256: Optional[str] = None  # noqa: UP045
    metadata: str = "{}"
    layers: str = "[]"
    error_class: Optional[str] = None  # noqa: UP045
    error: Optional[str] = None  # noqa: UP045
    attempts: int = 1
    requests: int = 0
    seconds: float = 0.0
    finished: str = ""
    plan: str = ""


registry.register_coder(FetchedUnit, RowCoder)


def fetched_unit_of(event: Finished | Lost, unit: Any, place: str, plan: str) -> FetchedUnit:
    """Return the element for an outcome."""
    if isinstance(event, Lost):
        kind = WorkerLostError.__name__
        return _failed(event.assignment.id, unit, State.FAILED_TRANSIENT, kind, event.reason, plan)
    record = event.outcome.record
    assert record is not None
    metadata = decode_columns((name, getattr(record, name)) for name in FILE_COLUMNS)
    files = event.outcome.staged
    layers = [{"path": f"{place}/{file.name}", "bytes": file.size, "sha256": file.sha256} for file in files]
    return FetchedUnit(
        id=event.assignment.id,
        unit=json.dumps(unit, ensure_ascii=False),
        state=record.state.value,
        path=None if record.file is None else f"{place}/{record.file}",
        bytes=record.bytes,
        sha256=record.sha256,
        metadata=json.dumps(metadata),
        layers=json.dumps(layers if len(layers) > 1 else []),
        error_class=record.error_class,
        error=record.error,
        attempts=record.attempts,
        requests=record.requests,
        seconds=record.seconds or 0.0,
        finished=record.finished or "",
        plan=plan,
    )


def _failed(identifier: str, unit: Any, state: State, kind: str, reason: str, plan: str) -> FetchedUnit:
    """Return the element for a unit without a record."""
    text, now = json.dumps(unit, ensure_ascii=False), utc_now()
    return FetchedUnit(identifier, text, state.value, error_class=kind, error=reason, finished=now, plan=plan)


_USUAL_SLOTS = 40
_NAMESPACE = "eechips"


class FetchUnits(PTransform[Any, Any]):
    """Fetch units: turn a collection of JSON values into one of :class:`~eechips.beam.transform.FetchedUnit`.

    A value is an element of what ``get_requests`` of the recipe returns. Every unit has one element in the output, in
    its own window, whether it was fetched or failed. Only errors that concern all units, such as invalid credentials,
    fail the pipeline. The result has its final name before its element is emitted. Ids are the same as in a run of the
    recipe. So are names, but names of a collection cannot be compared with each other: unless the template has
    ``{id}``, the beginning of the id is appended to each name, including those that ``get_result`` sets. Fetching is
    idempotent: a duplicate unit writes the same file again.

    The units are keyed into as many partitions as there are slots. A worker owns the slots of the partitions that it
    processes: all workers together never have more than ``in_flight`` requests in flight. A worker processes all
    partitions of a bundle concurrently.

    The graph contains no credentials: workers find the credentials of their machine, or read ``credentials`` there.

    Counters, in the namespace ``eechips``: a counter for each state, ``requests`` and ``bytes``, and a distribution
    ``milliseconds``, the duration of units.

    Args:
        recipe: file of a recipe, or a recipe. The ``index`` that its ``get_result`` receives has no meaning.
        out: folder that all workers share, or URL of an object store.
        parameters: for a file: values of the parameters of ``get_result``.
        project: Google Cloud project whose quota is used; None for ``EECHIPS_PROJECT``.
        endpoint: base URL of the service; None for Earth Engine's high-volume endpoint.
        credentials: key file of a service account, on the workers' machines.
        send_credentials: send credentials to endpoints other than Google's hosts with https, too.
        in_flight: maximum requests in flight of all workers together.
        rate: maximum requests a second of all workers together; ``auto`` for Earth Engine's limit, None for no limit.
        retries: retries of one request after transient failures.
        method: method of requests for pixels: ``pixels`` (one request) or ``url`` (two); ``auto`` is ``pixels``, and
            ``getPixels`` for chips of a stored image where the files are the same.
        name: template of the results' names; it cannot use ``{index}``.
        on_empty: ``keep`` files without a valid pixel, or ``skip`` them.
        unit_timeout: time limit of a unit in seconds, after which it fails.

    Raises:
        UsageError: if an option is wrong, or the file is not a recipe.
        ConfigurationError: if there is no project.
    """

    def __init__(
        self,
        recipe: str | Path | Recipe,
        *,
        out: str | Path,
        parameters: Mapping[str, Any] | None = None,
        project: str | None = None,
        endpoint: str | None = None,
        credentials: str | Path | None = None,
        send_credentials: bool = False,
        in_flight: int = _USUAL_SLOTS,
        rate: float | Literal["auto"] | None = "auto",
        retries: int = 10,
        method: Literal["auto", "url", "pixels"] = "auto",
        name: str | None = None,
        on_empty: Literal["keep", "skip"] = "keep",
        unit_timeout: float = 1800.0,
    ) -> None:
        super().__init__()
        self.recipe = _recipe(recipe, parameters or {})
        config = RunConfig(
            out=Path(out),
            endpoint=endpoint,
            project=project,
            send_credentials=send_credentials,
            in_flight=in_flight,
            rate=rate,
            retries=retries,
            method=method,
            name=name,
            on_empty=on_empty,
            unit_timeout=unit_timeout,
        )
        self._slots, self._place = in_flight, str(out).rstrip("/")
        self._template = _template(self.recipe, config)
        per_second = config.requests_per_second
        self._plan = plan_identity(describe(self.recipe, config))
        is_remote = is_address(str(out))
        if not is_remote:
            self._place = str(Path(out).absolute())
        self._rate = None if per_second is None else per_second / in_flight
        store = ObjectStore(self._place) if is_remote else ImmediateStore(Path(self._place))
        self._spec = _worker_spec(self.recipe, config, store, None if credentials is None else Path(credentials))

    def expand(self, units: PCollection[Any]) -> PCollection[FetchedUnit]:
        """Key the units into partitions, and fetch them."""
        keyed = beam.Map(_partition_of, self.recipe.identity, self._slots).with_output_types(KV[int, str])
        fetch = _FetchBundle(self._spec, self._rate, self._template, self._place, self._plan)
        fetched_units: PCollection[FetchedUnit] = (
            units
            | "Partitions" >> keyed
            | "Spread" >> ReshufflePerKey()
            | "Fetch" >> beam.ParDo(fetch).with_output_types(FetchedUnit)
        )
        return fetched_units

    def display_data(self) -> dict[str, Any]:
        """Return the data that runners display."""
        spec = self._spec
        shown = {
            "recipe": self.recipe.name,
            "identity": self.recipe.identity,
            "out": self._place,
            "endpoint": spec.target.endpoint,
            "project": spec.target.project,
            "in_flight": self._slots,
        }
        return {**super().display_data(), **shown}


class _FetchBundle(WorkerFn):
    """Fetch the units of a bundle concurrently, once all are known."""

    def __init__(self, spec: WorkerSpec, rate: float | None, template: NameTemplate, place: str, plan: str) -> None:
        super().__init__(spec, rate)
        self._identity, self._names, self._place, self._plan = spec.recipe.identity, template, place, plan

    def start_bundle(self) -> None:
        """Begin a bundle."""
        self._partitions: set[int] = set()
        self._places: dict[str, list[tuple[Any, Any]]] = {}
        self._values: dict[str, Any] = {}
        self._nameless: dict[str, str] = {}

    def process(
        self, element: tuple[int, str], timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> None:
        """Add a unit to the bundle; a duplicate is fetched once."""
        partition, text = element
        value = json.loads(text)
        identifier = unit_id(to_unit(value), self._identity)
        self._partitions.add(partition)
        self._values[identifier] = value
        self._places.setdefault(identifier, []).append((timestamp, window))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Fetch the units.

        Raises:
            EechipsError: if no unit can be fetched.
        """
        events: list[Finished | Lost] = []
        self._worker.process(len(self._partitions), self._assignments(), events.append)
        for event in events:
            if isinstance(event, Finished) and event.outcome.fatal is not None:
                raise event.outcome.fatal
            yield from self._emit(fetched_unit_of(event, self._values[event.assignment.id], self._place, self._plan))
        for identifier, reason in self._nameless.items():
            value, kind = self._values[identifier], UsageError.__name__
            yield from self._emit(_failed(identifier, value, State.FAILED_PERMANENT, kind, reason, self._plan))

    def _emit(self, fetched_unit: FetchedUnit) -> Iterator[WindowedValue]:
        """Count the outcome of a unit, and yield it in the windows of its elements."""
        _count(fetched_unit)
        for timestamp, window in self._places[fetched_unit.id]:
            yield WindowedValue(fetched_unit, timestamp, (window,))

    def _assignments(self) -> Iterator[WorkUnit]:
        """Yield the units that have a name; the reasons of the others go to ``self._nameless``."""
        for identifier, value in self._values.items():
            unit = to_unit(value)
            try:
                name = result_name(self._names.render_unique(unit, identifier, 0))
            except UsageError as error:
                self._nameless[identifier] = str(error)
                continue
            yield WorkUnit(self._worker.next_position(), identifier, canonical_json(unit), name)


def _count(fetched_unit: FetchedUnit) -> None:
    Metrics.counter(_NAMESPACE, fetched_unit.state).inc()
    Metrics.counter(_NAMESPACE, "requests").inc(fetched_unit.requests)
    Metrics.counter(_NAMESPACE, "bytes").inc(fetched_unit.bytes or 0)
    Metrics.distribution(_NAMESPACE, "milliseconds").update(round(1000 * fetched_unit.seconds))


def _partition_of(value: Any, identity: str, slots: int) -> tuple[int, str]:
    """Return the partition of a unit, and the unit as JSON."""
    return int(unit_id(to_unit(value), identity)[:8], 16) % slots, canonical_json(value)


def _recipe(recipe: str | Path | Recipe, parameters: Mapping[str, Any]) -> Recipe:
    if not isinstance(recipe, (str, Path)):
        if parameters:
            raise UsageError("parameters are for a recipe in a file: this one has its own")
        return recipe
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()}
    return load_recipe(recipe, texts)


def _template(recipe: Recipe, config: RunConfig) -> NameTemplate:
    template = name_template(recipe, config)
    if "{index" in template.text:
        raise UsageError(f"the name template '{template.text}' asks for 'index': units of a collection have no number")
    return template


def _worker_spec(
    recipe: Recipe, config: RunConfig, store: ObjectStore | ImmediateStore, key_file: Path | None
) -> WorkerSpec:
    target = target_of(config, config.service, None) if traits_of(recipe).needs_service else NO_SERVICE
    return worker_spec_of(recipe, config, store, str(new_writer()), target, key_file=key_file, appends_id=True)
