"""Messages of a Beam queue arrive unchanged, once, and in order."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eechips.client.quota.permits import UsageDelta
from eechips.client.quota.usage import RequestLog
from eechips.engine.outcome import Finished, Lost, Outcome
from eechips.engine.queues.beam_queue import BeamQueue, OutcomeBatch
from eechips.engine.results.result_stores import ImmediateStore
from eechips.errors import ConfigurationError, StorageError
from eechips.files.temporary_names import new_writer
from eechips.manifest.manifest_columns import Record, State, UnitFile, WorkUnit
from eechips.recipe import canonical_json
from eechips.storage import StagedFile

TOKEN = f"{new_writer()}-0"
TEXT = st.text(max_size=20)
ASSIGNMENTS = st.builds(
    WorkUnit,
    position=st.integers(0, 10**9),
    id=st.text("0123456789abcdef", min_size=64, max_size=64),
    unit=st.dictionaries(TEXT, TEXT | st.integers() | st.none()).map(lambda value: canonical_json({"value": value})),
    name=TEXT,
    attempts=st.integers(0, 9),
    replaces=st.none() | st.integers(0, 99),
)
RECORDS = st.builds(
    Record,
    position=st.integers(0, 10**9),
    state=st.sampled_from(State),
    attempts=st.integers(1, 9),
    requests=st.integers(0, 9),
    error=st.none() | TEXT,
    valid_fraction=st.none() | st.floats(0, 1),
    bands=st.none() | st.just('["R", "G"]'),
    seconds=st.none() | st.floats(0, 1e6),
)
NAMES = st.text("abc äß-_", min_size=1, max_size=20).map(lambda text: f"chips/{text}")
FILES = st.builds(lambda name, size: StagedFile(name, name, size, "0" * 64), NAMES, st.integers(0, 10**12))
REQUEST_LOGS = st.builds(
    RequestLog, kind=TEXT, status=st.none() | st.integers(100, 599), seconds=st.floats(0, 1e3),
    bytes=st.integers(0, 99), attempt=st.integers(1, 9), ended=TEXT,
)  # fmt: skip


@st.composite
def events(draw: st.DrawFn) -> Finished | Lost:
    assignment = draw(ASSIGNMENTS)
    if draw(st.booleans()):
        return Lost(assignment, draw(TEXT), draw(st.none() | st.booleans()))
    staged = draw(st.lists(FILES, max_size=3, unique_by=attrgetter("name")))
    described = [file for file in staged if draw(st.booleans())]
    files = tuple(UnitFile(file.name, file.size, file.sha256, draw(TEXT), draw(TEXT)) for file in described)
    outcome = Outcome(
        assignment.position,
        replace(draw(RECORDS), position=assignment.position, files=files),
        tuple(staged),
        recipe_failure=draw(st.none() | TEXT.filter(bool)),
        request_logs=tuple(draw(st.lists(REQUEST_LOGS, max_size=2))),
        is_exclusive=draw(st.booleans()),
    )
    return Finished(assignment, outcome)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(events(), max_size=4))
def test_batches_are_read_as_they_were_written(told: list[Finished | Lost]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        queue = BeamQueue(ImmediateStore(Path(folder)), TOKEN)
        batch = OutcomeBatch("worker", tuple(told), UsageDelta(5, 1, 99, 2, 4, False))
        queue.write_batch([3], batch)
        (name,) = queue.batch_names()
        assert queue.read_batch(name) == batch
        assert queue.completed_ids([3]) == {event.assignment.id for event in told}


def test_fatal_errors_keep_their_class(tmp_path: Path) -> None:
    queue = BeamQueue(ImmediateStore(tmp_path), TOKEN)
    fatal = Outcome(0, None, fatal=ConfigurationError("no credentials"))
    queue.write_batch([0], OutcomeBatch("worker", (Finished(assignment(0), fatal),)))
    (event,) = queue.read_batch(queue.batch_names()[0]).events
    assert isinstance(event, Finished)
    assert type(event.outcome.fatal) is ConfigurationError
    assert str(event.outcome.fatal) == "no credentials"


DAMAGES: dict[str, Callable[[list[dict[str, Any]]], object]] = {
    "no unit": lambda lines: lines[1].pop("assignment"),
    "another unit": lambda lines: lines[1]["assignment"].update(unit=float("nan")),
    "a state": lambda lines: lines[1]["record"].update(state="gone"),
    "a value": lambda lines: lines[1]["record"].update(seconds={"a": 1}),
    "a text for a number": lambda lines: lines[1]["record"].update(width="7"),
    "a list": lambda lines: lines[1]["record"].update(bands="[1]"),
    "a field": lambda lines: lines[1]["record"].update(shell="x"),
    "files": lambda lines: lines[1].update(files=[["a"]]),
    "an error": lambda lines: lines[1].update(fatal=["errno", "x"]),
    "an error of Python": lambda lines: lines[1].update(fatal=["__class__", "x"]),
    "a name that leads out": lambda lines: lines[1].update(files=[["../../.ssh/config", 1, "0"]]),
    "a file of the run": lambda lines: lines[1].update(files=[["manifest.sqlite", 1, "0"]]),
    "the file of another unit": lambda lines: lines[1]["record"].update(file="b", bytes=1, sha256="0"),
    "the outcome of another unit": lambda lines: lines[1]["record"].update(position=1),
    "usage": lambda lines: lines[0].update(usage={"a": 1}),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_batch_is_named(kind: str, tmp_path: Path) -> None:
    queue = BeamQueue(ImmediateStore(tmp_path), TOKEN)
    outcome = Outcome(0, Record(position=0, state=State.DONE), (StagedFile("a", "a", 1, "0"),))
    queue.write_batch([0], OutcomeBatch("worker", (Finished(assignment(0), outcome),)))
    (name,) = queue.batch_names()
    path = tmp_path / "beam" / TOKEN / name
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    DAMAGES[kind](lines)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with pytest.raises(StorageError, match=rf"beam/{TOKEN}/{name} is damaged .*remove it"):
        queue.read_batch(name)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StorageError, match="is damaged"):
        queue.read_batch(name)
    path.write_text("[" * 100_000)
    with pytest.raises(StorageError, match="is damaged"):
        queue.read_batch(name)
    path.with_name("outcomes-notes.jsonl").write_text("mine")
    assert queue.batch_names() == [name]


def assignment(position: int) -> WorkUnit:
    return WorkUnit(position, f"{position:064x}", '{"kind":"call","value":1}', f"chips/{position}")


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 50))
def test_every_unit_is_in_one_of_equal_partitions(count: int, slots: int) -> None:
    assignments = [assignment(position) for position in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        queue = BeamQueue(ImmediateStore(Path(folder)), TOKEN)
        partitions = queue.write_partitions(assignments, slots)
        dealt = [queue.read_units(partition) for partition in partitions]
    assert len(partitions) == min(count, slots)
    assert sorted((unit for partition in dealt for unit in partition), key=lambda unit: unit.position) == assignments
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    assert {partition[0].position for partition in dealt} == set(
        range(len(partitions))
    )  # the first units are begun first


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 1000), min_size=1, max_size=50), st.sets(st.integers(0, 1000), min_size=1, max_size=50))
def test_batches_are_found_by_any_of_their_partitions(told: set[int], asked: set[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        queue = BeamQueue(ImmediateStore(Path(folder)), TOKEN)
        queue.write_batch(told, OutcomeBatch("worker"))
        if told & asked:
            assert queue.batch_names(asked) == queue.batch_names()


def test_a_queue_is_independent_of_other_queues_and_results(tmp_path: Path) -> None:
    one, other = (BeamQueue(ImmediateStore(tmp_path), token) for token in (TOKEN, f"{new_writer()}-1"))
    one.write_batch([0], OutcomeBatch("worker"))
    other.write_batch([0], OutcomeBatch("worker"))
    result = ImmediateStore(tmp_path).stage("chips/a.png", b"pixels", "t")
    assert result.temporary == "chips/a.png"
    assert len(one.batch_names()) == len(other.batch_names()) == 1
    one.clear()
    assert (one.batch_names(), len(other.batch_names())) == ([], 1)
    other.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["chips"]
    assert (tmp_path / "chips/a.png").read_bytes() == b"pixels"
