"""Fetch units that arrive as messages of an unbounded stream, and report their outcomes as messages."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.transforms import window
from apache_beam.transforms.ptransform import PTransform
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, AfterWatermark

from eechips.beam.fetched_unit import FetchedUnit
from eechips.beam.transform import FetchUnits
from eechips.engine.work_items import WorkItem
from eechips.errors import RunMismatchError, UsageError
from eechips.manifest.unit_record import State
from eechips.recipe import to_unit, unit_id, unit_value
from eechips.text.timestamps import utc_now

_INVALID = "refused"
_LATENESS = 7 * 86400  # seconds; as long as Pub/Sub retains a message


class FetchMessages(PTransform[Any, Any]):
    """Turn messages with units into messages with their outcomes.

    A message is the JSON of a unit, or a line of ``eechips plan``. The output consists of ``PubsubMessage``:

    - for each unit a message whose data are the JSON of :class:`~eechips.beam.fetched_unit.FetchedUnit`, with the
      attributes ``kind`` (``unit``), ``id`` and ``state``; for a message without a unit of this recipe, a failed one;
    - for each window, when it ends, a message whose data count its units by state, with the attributes ``kind``
      (``window``), ``start`` and ``end``; again, with all units so far, after a late message.

    Args:
        fetch: the transform that fetches them.
        window_seconds: length of a window.

    Raises:
        UsageError: if the length is not above 0.
    """

    def __init__(self, fetch: FetchUnits, window_seconds: float = 60.0) -> None:
        super().__init__()
        if not window_seconds > 0:
            raise UsageError(f"window_seconds must be above 0, not {window_seconds:g}")
        self._fetch, self._seconds = fetch, window_seconds

    def expand(self, messages: PCollection[bytes]) -> PCollection[PubsubMessage]:
        """Read the messages, fetch the units, report and count the outcomes."""
        windows = beam.WindowInto(
            window.FixedWindows(self._seconds),
            trigger=AfterWatermark(late=AfterCount(1)),
            accumulation_mode=AccumulationMode.ACCUMULATING,
            allowed_lateness=_LATENESS,
        )
        read = (
            messages
            | "Windows" >> windows
            | "Read" >> beam.FlatMap(read_message, self._fetch.recipe.identity).with_outputs(_INVALID, main="units")
        )
        outcomes = (read["units"] | self._fetch, read[_INVALID]) | beam.Flatten()
        reports = outcomes | "Report" >> beam.Map(message_of).with_output_types(PubsubMessage)
        counted = (
            outcomes
            | "States" >> beam.Map(_state).with_output_types(str)
            | "Count" >> beam.CombineGlobally(_Count()).without_defaults()
            | "Sum up" >> beam.Map(_summary).with_output_types(PubsubMessage)
        )  # fmt: skip
        output_messages: PCollection[PubsubMessage] = (reports, counted) | "All" >> beam.Flatten()
        return output_messages


def read_message(message: bytes, identity: str) -> Iterator[Any]:
    """Yield the unit of a message, or the outcome of a message without a valid unit.

    Args:
        message: its data.
        identity: identity of the recipe.
    """
    try:
        yield _unit(message, identity)
    except (ValueError, UsageError) as error:
        text = json.dumps(message.decode(errors="replace"), ensure_ascii=False)
        reason = str(error) if isinstance(error, UsageError) else f"a message must be a unit as JSON ({error})"
        permanent = State.FAILED_PERMANENT.value
        kind = type(error).__name__ if isinstance(error, UsageError) else UsageError.__name__
        failed = FetchedUnit("", text, permanent, error_class=kind, error=reason, attempts=0, finished=utc_now())
        yield TaggedOutput(_INVALID, failed)


def _unit(message: bytes, identity: str) -> Any:
    value = json.loads(message)
    if not (isinstance(value, dict) and {"job", "identity", "unit"} <= value.keys()):
        unit_id(to_unit(value), identity)  # rejects NaN, which JSON lacks
        return value
    item = WorkItem.from_json(message.decode())
    if item.identity != identity:
        raise RunMismatchError(f"unit {item.unit.id[:16]} was planned by another version of the recipe: plan again")
    return unit_value(json.loads(item.unit.unit))


def message_of(fetched_unit: FetchedUnit) -> PubsubMessage:
    """Return the message that reports an outcome."""
    content = {name: value for name, value in fetched_unit._asdict().items() if value is not None}
    for name in ("unit", "metadata", "layers"):
        content[name] = json.loads(content[name])
    data = json.dumps(content, ensure_ascii=False).encode()
    return PubsubMessage(data, {"kind": "unit", "id": fetched_unit.id, "state": fetched_unit.state})


def _state(fetched_unit: FetchedUnit) -> str:
    return fetched_unit.state


def _summary(counts: dict[str, int], between: Any = beam.DoFn.WindowParam) -> PubsubMessage:
    start, end = between.start.to_rfc3339(), between.end.to_rfc3339()
    return PubsubMessage(json.dumps(counts).encode(), {"kind": "window", "start": start, "end": end})


class _Count(beam.CombineFn):
    """Count values."""

    def create_accumulator(self) -> dict[str, int]:
        """Return an empty count."""
        return {}

    def add_input(self, counts: dict[str, int], value: str) -> dict[str, int]:
        """Add a value."""
        return {**counts, value: counts.get(value, 0) + 1}

    def merge_accumulators(self, several: Iterable[dict[str, int]]) -> dict[str, int]:
        """Add counts."""
        return dict(sum((Counter(counts) for counts in several), Counter()))

    def extract_output(self, counts: dict[str, int]) -> dict[str, int]:
        """Return the counts, sorted by name."""
        return dict(sorted(counts.items()))
