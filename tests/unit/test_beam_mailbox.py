"""What goes through a mailbox comes out as it was, once, and in order."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from eechips.client.requests import Doubt
from eechips.client.throttle import Tally
from eechips.client.transport import Exchange
from eechips.engine.executors.executor import Finished, Lost
from eechips.engine.mailbox import Mailbox, Shard
from eechips.engine.outcome import Outcome
from eechips.engine.station import PromptStore
from eechips.errors import ConfigurationError
from eechips.manifest.record import Planned, Record, State
from eechips.recipe import canonical_json
from eechips.staging import new_writer
from eechips.storage import Staged

TOKEN = f"{new_writer()}-0"
TEXT = st.text(max_size=20)
TASKS = st.builds(
    Planned,
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
FILES = st.builds(lambda name, size: Staged(name, name, size, "0" * 64), TEXT, st.integers(0, 10**12))
EXCHANGES = st.builds(
    Exchange, kind=TEXT, status=st.none() | st.integers(100, 599), seconds=st.floats(0, 1e3), bytes=st.integers(0, 99),
    attempt=st.integers(1, 9), ended=TEXT,
)  # fmt: skip


@st.composite
def events(draw: st.DrawFn) -> Finished | Lost:
    task = draw(TASKS)
    if draw(st.booleans()):
        return Lost(task, draw(TEXT), draw(st.none() | st.booleans()))
    files = draw(st.lists(FILES, max_size=3))
    outcome = Outcome(
        task.position,
        draw(RECORDS),
        files[0] if files else None,
        alike=draw(st.none() | TEXT.filter(bool)),
        exchanges=tuple(draw(st.lists(EXCHANGES, max_size=2))),
        further=tuple(files[1:]),
        layers=tuple(draw(st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=2))),
        is_exclusive=draw(st.booleans()),
        doubts=tuple(draw(st.lists(st.builds(Doubt, TEXT, st.lists(st.integers(0, 2**40)).map(tuple)), max_size=2))),
    )
    return Finished(task, outcome)


@settings(max_examples=60, deadline=None)
@given(st.lists(events(), max_size=4))
def test_what_is_told_is_read(told: list[Finished | Lost]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        mailbox = Mailbox(PromptStore(Path(folder)), TOKEN)
        shard = Shard("worker", tuple(told), Tally(5, 1, 99, 2, 4, False), ("host", 7))
        mailbox.tell([3], shard)
        (name,) = mailbox.told()
        assert mailbox.read(name) == shard
        assert mailbox.settled([3]) == {event.task.id for event in told}


def test_what_concerns_every_unit_is_told_as_the_error_that_it_is(tmp_path: Path) -> None:
    mailbox = Mailbox(PromptStore(tmp_path), TOKEN)
    fatal = Outcome(0, None, fatal=ConfigurationError("no credentials"))
    mailbox.tell([0], Shard("worker", (Finished(task(0), fatal),)))
    (event,) = mailbox.read(mailbox.told()[0]).events
    assert isinstance(event, Finished)
    assert type(event.outcome.fatal) is ConfigurationError
    assert str(event.outcome.fatal) == "no credentials"


def task(position: int) -> Planned:
    return Planned(position, f"{position:064x}", '{"kind":"call","value":1}', f"chips/{position}")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 50))
def test_every_unit_is_in_one_lane_and_all_lanes_are_as_long(count: int, slots: int) -> None:
    tasks = [task(position) for position in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        mailbox = Mailbox(PromptStore(Path(folder)), TOKEN)
        lanes = mailbox.deal(tasks, slots)
        dealt = [mailbox.units(lane) for lane in lanes]
    assert len(lanes) == min(count, slots)
    assert sorted((unit for lane in dealt for unit in lane), key=lambda unit: unit.position) == tasks
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    assert {lane[0].position for lane in dealt} == set(range(len(lanes)))  # the first units are begun first


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 1000), min_size=1, max_size=50), st.sets(st.integers(0, 1000), min_size=1, max_size=50))
def test_what_was_told_of_a_lane_is_found_whatever_lanes_it_was_told_with(told: set[int], asked: set[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        mailbox = Mailbox(PromptStore(Path(folder)), TOKEN)
        mailbox.tell(told, Shard("worker"))
        if told & asked:
            assert mailbox.told(asked) == mailbox.told()


def test_a_mailbox_is_not_disturbed_by_another_nor_by_results(tmp_path: Path) -> None:
    one, other = (Mailbox(PromptStore(tmp_path), token) for token in (TOKEN, f"{new_writer()}-1"))
    one.tell([0], Shard("worker"))
    other.tell([0], Shard("worker"))
    result = PromptStore(tmp_path).stage("chips/a.png", b"pixels", "t")
    assert result.temporary == "chips/a.png"
    assert len(one.told()) == len(other.told()) == 1
    one.clear()
    assert (one.told(), len(other.told())) == ([], 1)
    other.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["chips"]
    assert (tmp_path / "chips/a.png").read_bytes() == b"pixels"
