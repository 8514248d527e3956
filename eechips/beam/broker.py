"""Connect a pipeline to topics of Pub/Sub."""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.io import ReadFromPubSub, WriteToPubSub
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, StandardOptions
from apache_beam.runners.runner import PipelineState

from eechips.beam.stream import FetchMessages
from eechips.beam.transform import FetchUnits
from eechips.errors import ConfigurationError
from eechips.manifest.unit_record import State

_LOOK = 0.5  # seconds between two checks of the pipeline's state
_FAILURES = frozenset(state.value for state in State if state.is_failure)


@dataclass(frozen=True, slots=True)
class Topics:
    """Topics and subscriptions of Pub/Sub.

    Attributes:
        input: topic of the units; None to use the subscription.
        subscription: subscription of a topic of units; None to use the topic, from which only later messages are
            received.
        output: topic of the outcomes.
        failures: topic of the outcomes of failed units; may be the same.
    """

    input: str | None
    subscription: str | None
    output: str
    failures: str


def connected(pipeline: beam.Pipeline, fetch: FetchUnits, topics: Topics, window: float) -> None:
    """Add the steps between the topics to a pipeline.

    Args:
        pipeline: a streaming pipeline.
        fetch: transform that fetches the units.
        topics: topics of Pub/Sub.
        window: length in seconds.
    """
    messages = pipeline | "Take" >> ReadFromPubSub(topics.input, topics.subscription)
    outcomes = messages | "Fetch" >> FetchMessages(fetch, window)
    if topics.failures == topics.output:
        _publish(outcomes, topics.output, "Publish")
        return
    _publish(outcomes | "Good" >> beam.Filter(lambda message: not is_failure(message)), topics.output, "Publish")
    _publish(outcomes | "Failed" >> beam.Filter(is_failure), topics.failures, "Publish failures")


def is_failure(message: PubsubMessage) -> bool:
    """Return whether a message reports a failed unit."""
    return message.attributes.get("state") in _FAILURES


def stream(
    fetch: FetchUnits,
    topics: Topics,
    window: float,
    options: Sequence[str],
    max_minutes: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Run the pipeline, forever or for some minutes.

    Args:
        fetch: transform that fetches the units.
        topics: topics of Pub/Sub.
        window: length in seconds.
        options: options of Beam, as on a command line.
        max_minutes: time limit, after which it is cancelled; None for no limit.
        clock: seconds, monotonic.
        pause: sleeps for a number of seconds.

    Raises:
        ConfigurationError: if the packages for Pub/Sub are missing.
    """
    if importlib.util.find_spec("google.cloud.pubsub") is None:
        raise ConfigurationError("Pub/Sub needs more of Beam: pip install 'apache-beam[gcp]'")
    parsed = PipelineOptions(list(options), streaming=True)
    parsed.view_as(SetupOptions).save_main_session = False
    # DirectRunner would search another runner on the network first.
    is_local = parsed.view_as(StandardOptions).runner in (None, "DirectRunner")
    pipeline = beam.Pipeline(runner="BundleBasedDirectRunner" if is_local else None, options=parsed)
    connected(pipeline, fetch, topics, window)
    result: Any = pipeline.run()
    end = clock() + (math.inf if max_minutes is None else 60.0 * max_minutes)
    try:
        # Not every runner can wait with a time limit.
        while not PipelineState.is_terminal(result.state) and clock() < end:
            pause(_LOOK)
        if PipelineState.is_terminal(result.state):
            result.wait_until_finish()  # raises the error of the pipeline
    finally:
        if not PipelineState.is_terminal(result.state):
            result.cancel()


def _publish(messages: Any, topic: str, label: str) -> None:
    _ = messages | label >> WriteToPubSub(topic, with_attributes=True)
