"""FetchUnits in pipelines of users, of a list and of a stream, and a stream through Pub/Sub."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from eechips.engine.config import RunConfig
from eechips.engine.resumed_options import describe, plan_identity
from eechips.engine.work_items import plan_items
from eechips.errors import ConfigurationError, UsageError
from eechips.recipe import load_recipe
from tests.support.engine_recipes import run_chips
from tests.support.engine_service import Service

if TYPE_CHECKING:
    from eechips.beam import FetchedUnit, FetchUnits

# Apache Beam takes seconds to import, so only the tests that use it do, not every process that collects this file.
if importlib.util.find_spec("apache_beam") is None:
    pytest.skip("Apache Beam is not installed", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
SQUARES = """
import ee
from eechips import Chip, Grid

GRID = Grid("EPSG:32613", (1.0, 0.0, 500000.0, 0.0, -1.0, 4400000.0), 24, 24)

def get_requests(count=3):
    return list(range(1, count + 1))

def get_result(index, number, format="png"):
    return Chip(ee.Image(number), grid=GRID, format=format)
"""
EMULATOR = shutil.which("cloud-pubsub-emulator", path=os.environ.get("PATH", "") + os.pathsep.join(
    ["", "/usr/lib/google-cloud-sdk/platform/pubsub-emulator/bin",
     str(Path.home() / "google-cloud-sdk/platform/pubsub-emulator/bin")]
))  # fmt: skip


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "squares.py"
    path.write_text(SQUARES)
    return path


def fetch(recipe: Path, service: Service, **options: Any) -> FetchUnits:
    from eechips.beam import FetchUnits

    given = {"out": recipe.parent / "out", "endpoint": service.url, "rate": None, "retries": 2, **options}
    return FetchUnits(recipe, **given)


def kept(path: Path) -> Any:
    """Writes every element of a collection into a file of its own, whichever process has it."""
    import apache_beam as beam

    def keep(found: Any) -> None:
        path.mkdir(exist_ok=True)
        (path / f"{time.monotonic_ns()}-{os.getpid()}").write_text(json.dumps(found._asdict()))

    return beam.Map(keep)


def read(path: Path) -> list[FetchedUnit]:
    from eechips.beam import FetchedUnit

    return [FetchedUnit(**json.loads(file.read_text())) for file in sorted(path.iterdir())]


@pytest.mark.slow
def test_a_collection_of_units_becomes_one_of_outcomes(service: Service, recipe: Path, tmp_path: Path) -> None:
    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    service.plan(3, "503")
    service.plan(4, "400")
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = pipeline | beam.Create([1, 2, 3, 4, 2]) | fetch(recipe, service) | kept(tmp_path / "told")
    result = pipeline.run()
    result.wait_until_finish()
    told = read(tmp_path / "told")
    assert sorted(found.unit for found in told) == ["1", "2", "2", "3", "4"]
    assert {found.unit: found.state for found in told} == {
        "1": "done", "2": "done", "3": "done", "4": "failed_permanent",
    }  # fmt: skip
    assert service.count("compute") == 5  # what is there twice is fetched once; one came again
    for found in told:
        if found.state == "done":
            content = Path(str(found.path)).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (found.bytes, found.sha256)
            assert json.loads(found.metadata)["width"] == 24
        else:
            assert (found.path, found.error_class) == (None, "PermanentError")
    counters = {c.key.metric.name: c.result for c in result.metrics().query()["counters"]}
    assert {name: counters[name] for name in ("done", "failed_permanent", "requests")} == {
        "done": 3, "failed_permanent": 1, "requests": 5,
    }  # fmt: skip
    # The same files as a run of the recipe.
    run = run_chips(tmp_path / "run", service.url, parameters={"count": 1}, executor="processes:1")
    assert run.is_complete
    plan = load_recipe(recipe)
    config = RunConfig(out=tmp_path / "plan", endpoint=service.url)
    planned = {item.unit.id: item.unit.name for item in plan_items(plan, config, (), {})}
    assert {found.plan for found in told} == {plan_identity(describe(plan, config))}
    for found in told:
        if found.unit in ("1", "2", "3"):
            assert str(found.path).endswith(f"{planned[found.id]}.png")


@pytest.mark.slow
def test_display_data_and_types_are_declared(service: Service, recipe: Path) -> None:
    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from eechips.beam import FetchedUnit

    transform = fetch(recipe, service, in_flight=7, project="some-project")
    shown = transform.display_data()
    assert (shown["recipe"], shown["in_flight"], shown["project"]) == ("squares", 7, "some-project")
    pipeline = beam.Pipeline(runner=FnApiRunner())
    told = pipeline | beam.Create([1]) | transform
    assert told.element_type is FetchedUnit


def test_credentials_are_not_in_the_graph(recipe: Path, tmp_path: Path) -> None:
    import cloudpickle

    from eechips.beam import FetchUnits

    key = tmp_path / "key.json"
    key.write_text('{"private_key": "5ecre7"}')
    graph = cloudpickle.dumps(FetchUnits(recipe, out=tmp_path, project="p", credentials=key))
    assert b"5ecre7" not in graph
    assert b"key.json" in graph  # where workers have it


def test_wrong_options_are_refused_where_the_pipeline_is_made(
    service: Service, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eechips.beam import FetchUnits
    from eechips.beam.stream import FetchMessages

    monkeypatch.delenv("EECHIPS_PROJECT", raising=False)
    with pytest.raises(UsageError, match="units of a collection have no number"):
        fetch(recipe, service, name="chips/{index:05d}")
    with pytest.raises(UsageError, match="in_flight must be at least 1"):
        fetch(recipe, service, in_flight=0)
    with pytest.raises(UsageError, match="has no parameter 'nothing'"):
        fetch(recipe, service, parameters={"nothing": 1})
    with pytest.raises(ConfigurationError, match="no Google Cloud project"):
        FetchUnits(recipe, out=tmp_path)
    with pytest.raises(UsageError, match="window_seconds must be above 0"):
        FetchMessages(fetch(recipe, service), 0)


@pytest.mark.slow
def test_a_stream_is_answered_in_windows(service: Service, recipe: Path) -> None:
    """Messages of three windows: one comes late, one is delivered twice, some are no units."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.testing.test_stream import TestStream as Stream
    from apache_beam.testing.util import assert_that

    from eechips.beam.broker import is_failure
    from eechips.beam.stream import FetchMessages

    service.plan(4, "400")
    item = next(iter(plan_items(load_recipe(recipe), RunConfig(out=recipe.parent, endpoint=service.url), ("run",), {})))
    stale = json.loads(item.to_json()) | {"identity": "0" * 64}
    stream = (
        Stream(coder=beam.coders.BytesCoder())
        .advance_watermark_to(0)
        .add_elements([b"2", b"4", b"2", b"{", item.to_json().encode()])
        .advance_watermark_to(60)
        .add_elements([beam.window.TimestampedValue(b"3", 65), beam.window.TimestampedValue(b"5", 10)])
        .add_elements([beam.window.TimestampedValue(json.dumps(stale).encode(), 70)])
        .advance_watermark_to_infinity()
    )
    options = PipelineOptions([], streaming=True, allow_unsafe_triggers=True)

    def check(messages: list[Any]) -> None:
        units = [json.loads(message.data) for message in messages if message.attributes["kind"] == "unit"]
        told = sorted((str(unit["unit"]), unit["state"]) for unit in units)
        assert [each for each in told if "identity" not in each[0]] == [
            ("1", "done"), ("2", "done"), ("2", "done"), ("3", "done"), ("4", "failed_permanent"), ("5", "done"),
            ("{", "failed_permanent"),
        ]  # fmt: skip
        (refused,) = (unit for unit in units if "identity" in str(unit["unit"]))
        assert refused["error_class"] == "RunMismatchError"
        assert sum(is_failure(message) for message in messages) == 3
        counts = [
            (message.attributes["start"][11:19], json.loads(message.data))
            for message in messages
            if message.attributes["kind"] == "window"
        ]
        assert ("00:01:00", {"done": 1, "failed_permanent": 1}) in counts
        assert ("00:00:00", {"done": 4, "failed_permanent": 2}) in counts  # with the one that came late

    with beam.Pipeline(runner="BundleBasedDirectRunner", options=options) as pipeline:
        assert_that(pipeline | stream | FetchMessages(fetch(recipe, service), 60.0), check)
    assert len(list((recipe.parent / "out/chips").iterdir())) == 4


@contextlib.contextmanager
def pubsub(folder: Path) -> Iterator[str]:
    """Google's emulator of Pub/Sub; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    log = folder / "emulator.log"
    with log.open("wb") as file:
        words = [str(EMULATOR), "--host=127.0.0.1", f"--port={address.rpartition(':')[2]}"]
        process = subprocess.Popen(words, stdout=file, stderr=file, start_new_session=True)
    try:
        end = time.monotonic() + 60
        while "Server started" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.skipif(EMULATOR is None, reason="Google's Pub/Sub emulator is not installed")
@pytest.mark.skipif(importlib.util.find_spec("google.cloud.pubsub") is None, reason="google-cloud-pubsub is missing")
def test_units_arrive_through_pubsub_and_outcomes_are_published(
    service: Service, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.cloud import pubsub as client

    service.plan(4, "400")
    with pubsub(tmp_path) as address:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)
        with client.PublisherClient() as publisher, client.SubscriberClient() as subscriber:
            topics = {name: publisher.topic_path("some-project", name) for name in ("units", "outcomes", "failures")}
            for name, topic in topics.items():
                publisher.create_topic(name=topic)
                subscriber.create_subscription(name=subscriber.subscription_path("some-project", name), topic=topic)
            for unit in (b"1", b"2", b"2", b"4", b"{"):
                publisher.publish(topics["units"], unit).result(30)
            words = [
                sys.executable, "-m", "eechips.beam", str(recipe), "--out", str(tmp_path / "out"),
                "--input-subscription", subscriber.subscription_path("some-project", "units"), "--window", "5",
                "--output-topic", topics["outcomes"], "--failures-topic", topics["failures"],
                "--endpoint", service.url, "-p", "format=png",
            ]  # fmt: skip
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            with (tmp_path / "log").open("wb") as log:
                process = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
            try:
                told = pull(subscriber, "outcomes", 4, process, tmp_path / "log")
                failed = pull(subscriber, "failures", 2, process, tmp_path / "log")
            finally:
                process.kill()
                process.wait()
    units = [json.loads(message.data) for message in told if message.attributes["kind"] == "unit"]
    assert sorted((unit["unit"], unit["state"]) for unit in units) == [(1, "done"), (2, "done"), (2, "done")]
    for unit in units:
        assert hashlib.sha256(Path(unit["path"]).read_bytes()).hexdigest() == unit["sha256"]
    counts = [json.loads(message.data) for message in told if message.attributes["kind"] == "window"]
    assert sum(count.get("done", 0) for count in counts) == 3
    assert {message.attributes["state"] for message in failed} == {"failed_permanent"}
    assert {json.loads(message.data)["unit"] for message in failed} == {"{", 4}


def pull(subscriber: Any, name: str, count: int, process: subprocess.Popen[bytes], log: Path) -> list[Any]:
    """So many messages of a subscription."""
    from google.api_core.exceptions import DeadlineExceeded

    found: list[Any] = []
    path = subscriber.subscription_path("some-project", name)
    end = time.monotonic() + 90
    while len(found) < count:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, f"{len(found)} of {count}: {log.read_text()}"
        with contextlib.suppress(DeadlineExceeded):
            answer = subscriber.pull(subscription=path, max_messages=10, timeout=5)
            found += [received.message for received in answer.received_messages]
            ids = [received.ack_id for received in answer.received_messages]
            if ids:
                subscriber.acknowledge(subscription=path, ack_ids=ids)
    return found
