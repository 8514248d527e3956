"""A stream whose files may take a number of bytes: order, bound, later epochs, readers, kills."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eechips
from eechips.engine.config import RunConfig
from eechips.engine.run_features import streamed_units
from eechips.engine.run_features.streamed_units import BoundedUnits
from eechips.errors import RunStoppedError, UsageError
from eechips.manifest.folder_lock import is_held
from eechips.manifest.manifest_columns import Record, State, WorkUnit
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.stream_epoch import (
    PLACES_FOLDER,
    ReaderPlace,
    StreamEpoch,
    count_steps,
    epoch_order,
    forget_epoch,
    note_epoch,
    note_place,
    read_places,
)
from eechips.recipe import canonical_json
from eechips.storage import LocalStore
from eechips.training.streams import stream_reader
from local_tests.support.local_earth_engine import Server
from tests.support.commands import run_command
from tests.support.engine_service import Service
from tests.support.finished_run import layered, pictures, write_run
from tests.support.stream_programs import COUNT, PROGRAM, fetch_of, numbers, order_of, seen, start, wait_for

SIZE = 24 * 24 * 4 + 192
"""Bytes of a file: pixels of three bands and a mask, and the head of the npy format."""

PARAMETERS = {"count": COUNT, "format": "npy"}


def files_of(folder: Path) -> dict[str, int]:
    """The files of the samples of a run, with their sizes; temporary ones are left out."""
    sizes = {}
    for entry in os.scandir(folder / "chips") if (folder / "chips").exists() else ():
        if entry.name.endswith(".npy") and not entry.name.startswith("."):
            try:
                sizes[entry.name] = entry.stat().st_size
            except FileNotFoundError:  # removed meanwhile
                continue
    return sizes


@contextmanager
def watched(folder: Path) -> Iterator[list[int]]:
    """Looks at a folder all the time; yields how many bytes its files had in each look."""
    looks: list[int] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.001):
            looks.append(sum(files_of(folder).values()))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield looks
    finally:
        is_over.set()
        thread.join()


@given(st.data(), st.integers(1, 30), st.integers(1, 4), st.sampled_from([None, 0, 5]))
def test_steps_are_those_of_the_readers(data: st.DataObject, count: int, readers: int, seed: int | None) -> None:
    places = set()
    for reader in range(readers):
        ordinal = reader + readers * data.draw(st.integers(0, count // readers + 1))
        places.add(ReaderPlace(reader, readers, data.draw(st.integers(0, 2)), ordinal))
    expected = np.full(count, np.inf)
    for place in places:  # what a reader reads one after the other
        order = epoch_order(count, seed, place.epoch)[place.ordinal :: readers]
        following = epoch_order(count, seed, place.epoch + 1)[place.reader :: readers]
        for step, unit in enumerate([*order, *following]):
            expected[unit] = min(expected[unit], step)
    np.testing.assert_array_equal(count_steps(count, seed, places), expected)


def test_places_are_those_of_the_latest_number_of_readers(tmp_path: Path) -> None:
    assert read_places(tmp_path) == frozenset()
    early, late = [ReaderPlace(n, 2, 0, n) for n in range(2)], [ReaderPlace(n, 3, 1, 3 + n) for n in range(3)]
    for place in (*early, *late):
        note_place(tmp_path, place)
    folder = tmp_path / PLACES_FOLDER
    for path in folder.iterdir():
        moment = 2 if "of-3" in path.name else 1
        os.utime(path, (moment, moment))
    (folder / "5-of-3.json").write_text('{"epoch": 0, "ordinal": 0}')
    (folder / "0-of-4.json").write_text('{"epoch": -1, "ordinal": 0}')
    (folder / "1-of-4.json").write_text("[[")
    assert read_places(tmp_path) == set(late)
    note_place(tmp_path, ReaderPlace(0, 2, 4, 6))
    assert read_places(tmp_path) == {ReaderPlace(0, 2, 4, 6), early[1]}


def test_the_status_of_a_bounded_stream_tells_its_epoch_in_place_of_a_speed(tmp_path: Path) -> None:
    run = write_run(tmp_path, pictures(9))
    with Ledger(run.path / LEDGER_NAME) as ledger, ledger.transaction():
        ledger.database.execute("UPDATE units SET requests = 1, finished = '2026-01-01T00:00:0' || position || '.000Z'")
    assert run.status().stream is None
    assert run.status().rate is not None
    first = [ReaderPlace(0, 2, 0, 4), ReaderPlace(1, 2, 0, 7)]
    second = [ReaderPlace(0, 2, 1, 2), ReaderPlace(1, 2, 2, 3)]  # the second reader is an epoch ahead
    for places, (epoch, sent) in ((first, (0, 9)), (second, (1, 0))):
        with Ledger(run.path / LEDGER_NAME) as ledger:
            for place in places:
                note_place(run.path, place)
            note_epoch(ledger, places)
            note_epoch(ledger, places)  # counts from the beginning of the epoch
        status = run.status()
        assert status.stream == StreamEpoch(epoch, 5, 9, sent)
        assert (status.rate, status.seconds_left) == (None, None)
        assert _facts(run.path)["epoch"] == f"{epoch}: 5 of 9 samples read, {sent} requests since it began"
        assert "speed" not in _facts(run.path)
    with Ledger(run.path / LEDGER_NAME) as ledger:
        forget_epoch(ledger)  # as a command does that keeps all files
    assert run.status().rate is not None


def _facts(folder: Path) -> dict[str, str]:
    shown = run_command("status", folder, status=0)
    return {line.partition(" ")[0]: line.partition(" ")[2].strip() for line in shown.output.splitlines()}


def test_a_bound_is_refused_where_files_may_not_be_removed(tmp_path: Path, service: Service) -> None:
    with pytest.raises(UsageError, match="a folder that others fetch is only read"):
        eechips.stream(tmp_path, max_disk="1GB")
    fetch = fetch_of(tmp_path, service)
    with pytest.raises(UsageError, match="not those of an object store"):
        eechips.stream(partial(fetch, out="gs://bucket/run"), max_disk="1GB")
    with pytest.raises(UsageError, match="many"):
        eechips.stream(fetch, max_disk="many")
    with pytest.raises(UsageError, match="leave it or `estimate` out"):
        RunConfig(out=tmp_path, estimate=5, max_disk=1000)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_bound_is_refused_for_a_run_with_added_datasets(demo_server: Server, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "total": 2, "roi": "-105.3,39.9,-105.2,40.0", "size": 8, "format": "tif", "endpoint": demo_server.url,
        "executor": "threads", "quiet": True, "out": tmp_path / "out",
    }  # fmt: skip
    eechips.sample("DEM", **options)
    told = "`max_disk` is not for a run with added datasets: leave it out"
    with pytest.raises(UsageError, match=told):  # as the process of a stream calls it
        eechips.sample(["DEM", "NLCD"], extend=True, max_disk=1_000_000, **options)
    assert eechips.sample(["DEM", "NLCD"], **options).is_complete


@pytest.mark.slow
def test_a_stream_reads_the_units_that_its_call_adds(demo_server: Server, tmp_path: Path) -> None:
    options: dict[str, Any] = {"size": 8, "roi": "-105.3,39.9,-105.2,40.0", "format": "npy", "out": tmp_path / "out"}
    options |= {"endpoint": demo_server.url, "executor": "threads", "quiet": True}
    eechips.sample("DEM", total=2, **options)
    with eechips.stream(partial(eechips.sample, "DEM", total=5, extend=True, **options), seed=1) as stream:
        assert len(list(stream)) == 5
    assert len(list(eechips.stream(tmp_path / "out", seed=1))) == 5


@pytest.mark.slow
def test_epochs_are_those_without_a_bound_and_the_disk_stays_below(service: Service, tmp_path: Path) -> None:
    most = 10 * SIZE
    with watched(tmp_path / "out") as looks:
        with eechips.stream(fetch_of(tmp_path, service, parameters=PARAMETERS), seed=5, max_disk=most) as stream:
            for epoch in range(3):
                stream.set_epoch(epoch)
                items = list(stream)  # whose files are removed meanwhile
                assert numbers(items) == order_of(5, epoch)
                for item in items:
                    pixels = item.pixels["image"].values
                    assert pixels[0, 0, 1] == (2 + item.sample.unit["number"] * 13) % 256 or pixels[0, 0, 1] == 0
        run = eechips.open_run(tmp_path / "out")
        assert run.verify() == []
    assert set(files_of(run.path).values()) == {SIZE}
    assert 5 * SIZE < max(looks) <= most
    assert run.counts["done"] == len(files_of(run.path)) <= 10
    assert 2 * COUNT < service.count("compute") < 3 * COUNT + 10  # some samples stay for the next epoch


@pytest.mark.slow
def test_a_data_set_that_fits_is_kept(service: Service, tmp_path: Path) -> None:
    fetch = fetch_of(tmp_path, service, parameters=PARAMETERS)
    with eechips.stream(fetch, seed=5, max_disk=COUNT * SIZE) as stream:
        assert numbers(stream) == order_of(5)
        stream.set_epoch(1)
        assert numbers(stream) == order_of(5, 1)
    assert eechips.open_run(tmp_path / "out").is_complete
    assert service.count("compute") == COUNT


@pytest.mark.slow
def test_failed_units_are_left_out_and_a_bound_below_a_sample_is_told(service: Service, tmp_path: Path) -> None:
    first, second = order_of(5)[:2]
    service.plan(first, "400")
    service.plan(second, "503")  # which may succeed later
    fetch = fetch_of(tmp_path, service, parameters=PARAMETERS, retries=0, retry_delay=0.01)
    with eechips.stream(fetch, seed=5, max_disk=2 * SIZE) as stream:
        assert numbers(stream) == order_of(5)[2:]
        stream.set_epoch(1)
        assert numbers(stream) == [number for number in order_of(5, 1) if number != first]
    small = fetch_of(tmp_path, service, parameters=PARAMETERS, out=tmp_path / "small")
    told = r"`max_disk` of 1\.0 kB is too little for 1 reader: each needs as much as the largest sample, 2\.5 kB"
    # The run may end before the stream is open, or while it is read.
    stopped = pytest.raises((UsageError, RunStoppedError), match=told)
    with stopped, eechips.stream(small, seed=5, max_disk="1kB") as stream:
        numbers(stream)


@pytest.mark.slow
def test_readers_share_the_disk_and_one_that_waits_holds_up_nobody(service: Service, tmp_path: Path) -> None:
    most = 8 * SIZE
    fetch = fetch_of(tmp_path, service, parameters=PARAMETERS)
    with watched(tmp_path / "out") as looks, eechips.stream(fetch, seed=5, max_disk=most) as stream:
        readers = [stream.read(number, 4) for number in range(4)]
        items = [next(reader) for _ in range(3) for reader in readers]
        for reader in readers[::-1]:  # one after the other, while those before wait
            items += reader
    found = {item.ordinal: item.sample.unit["number"] for item in items}
    assert [found[ordinal] for ordinal in range(COUNT)] == order_of(5)
    assert max(looks) <= most


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_killed_training_resumes_within_the_bound(service: Service, tmp_path: Path) -> None:
    service.latency = 0.02
    program = PROGRAM.replace("stream(fetch, seed=5)", f"stream(fetch, seed=5, max_disk={10 * SIZE})")
    program = program.replace('"count": 30', '"count": 30, "format": "npy"')
    with watched(tmp_path / "out") as looks:
        for number in range(2):
            with start(tmp_path, service, program) as training:
                wait_for(training, tmp_path, 10 * (number + 1))
                training.kill()
            while is_held(tmp_path / "out"):  # the process that fetched ends with it
                threading.Event().wait(0.01)
        with start(tmp_path, service, program) as training:
            output, _ = training.communicate()
            assert training.returncode == 0, output
    found = seen(tmp_path)
    assert list(dict.fromkeys(found)) == order_of(5)
    assert len(found) - COUNT <= 2  # a sample whose training was done, but not stored yet
    assert max(looks) <= 10 * SIZE
    assert eechips.open_run(tmp_path / "out").verify() == []


def test_units_that_are_larger_than_any_before_make_room_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed_units, "_PAUSE", 0.0)
    sizes = [10] * 5 + [300] * 15
    control: Any = SimpleNamespace(throttle=SimpleNamespace(is_stopped=False), grow=lambda count: None)
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        planned = [WorkUnit(n, f"{n:064x}", canonical_json({"kind": "call", "value": n}), str(n)) for n in range(20)]
        ledger.store_plan({}, planned)
        units = BoundedUnits(ledger, LocalStore(tmp_path), tmp_path, seed=None, most=1000)
        units.start(control)
        submitted = units.divert(iter(planned))
        most = fetched = 0
        while (unit := next(submitted)) is not None:
            together = [unit, *iter(lambda: next(submitted), None)]  # until one has to wait
            assert len(together) <= max(1, fetched)  # so little is known of the sizes
            fetched += len(together)
            for unit in together:
                data = b"x" * sizes[unit.position]
                (tmp_path / unit.name).write_bytes(data)
                digest = hashlib.sha256(data).hexdigest()
                record = Record(
                    position=unit.position, state=State.DONE, file=unit.name, bytes=len(data), sha256=digest
                )
                ledger.record([record])
                units.settle([record])
                kept = [path for path in tmp_path.iterdir() if path.name.isdigit()]
                most = max(most, sum(path.stat().st_size for path in kept))
        assert 600 < most <= 1000
        assert sorted(int(path.name) for path in kept) == list(range(len(kept)))  # which are read first


def test_a_unit_that_is_planned_again_while_a_reader_looks_is_no_lost_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that fetches may release units between two queries of a reader."""
    run = write_run(tmp_path, layered(5))
    read, writers = stream_reader.read_some_samples, []

    def release(positions: Sequence[int]) -> None:
        with Ledger(run.path / LEDGER_NAME) as ledger:
            ledger.reopen(positions)

    def read_late(ledger: Ledger, positions: Sequence[int], *arguments: Any) -> Any:
        if not writers:
            writers.append(threading.Thread(target=release, args=(positions[:1],)))
            writers[0].start()
            writers[0].join(1.0)  # it may have to wait until the reader has ended its queries
        return read(ledger, positions, *arguments)

    monkeypatch.setattr(stream_reader, "read_some_samples", read_late)
    ordinals = [item.ordinal for item in eechips.stream(run, seed=1)]
    writers[0].join()
    assert ordinals == list(range(5))
