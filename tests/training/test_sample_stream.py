"""A run that is read while another process fetches it: order, shares, states."""

from __future__ import annotations

import json
import logging
import multiprocessing
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import eechips
from eechips.errors import UsageError
from eechips.manifest.exclusions import mark_units
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.training.sample_reader import read_samples, read_some_samples
from eechips.training.splits import split_table
from eechips.training.streams.sample_stream import SampleStream
from local_tests.support.captured_log import CapturedLog
from tests.support.engine_service import Service, picture
from tests.support.finished_run import layered, pictures, write_run
from tests.support.programs import run_program
from tests.support.stream_programs import COUNT, fetch_of, numbers, order_of


@pytest.mark.slow
def test_two_epochs_have_all_samples_and_the_second_sends_no_request(service: Service, tmp_path: Path) -> None:
    service.latency = 0.02
    mask = np.ones((24, 24), dtype="uint8")
    mask[0] = 0
    with eechips.stream(fetch_of(tmp_path, service), seed=5) as stream:
        first = []
        for item in stream:
            [number] = numbers([item])
            expected = picture(number, 24, 24) * (mask if number % 7 == 0 else 1)
            np.testing.assert_array_equal(item.pixels["image"].values, expected)
            first.append(number)
            assert item.ordinal == len(first) - 1
        sent = len(service.requests)
        stream.set_epoch(1)
        second = numbers(stream)
    assert (first, second) == (order_of(5), order_of(5, 1))
    assert sorted(first) == list(range(1, COUNT + 1))
    assert service.count("compute") == COUNT
    assert len(service.requests) == sent


@pytest.mark.slow
def test_a_run_whose_results_are_all_there_is_finished(service: Service, tmp_path: Path) -> None:
    """As after a kill before its end: the stream read all, and stopped the run before it had written its manifest."""
    fetch = fetch_of(tmp_path, service, 3)
    fetch()
    (tmp_path / "out/manifest.parquet").unlink()
    service.latency = 0.3
    with eechips.stream(fetch) as stream:
        assert numbers(stream) == order_of(0, count=3)
    assert (tmp_path / "out/manifest.parquet").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # of newer Pythons
def test_a_stream_that_a_fork_closes_goes_on(service: Service, tmp_path: Path) -> None:
    service.latency = 0.05
    with eechips.stream(fetch_of(tmp_path, service, 6), seed=5) as stream:
        fork = multiprocessing.get_context("fork").Process(target=stream.close)
        fork.start()
        fork.join(60)
        assert fork.exitcode == 0
        assert numbers(stream) == order_of(5, count=6)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_failed_units_are_left_out_at_once_and_fetched_by_the_next_run(
    service: Service, tmp_path: Path, caplog: CapturedLog
) -> None:
    first, second = order_of(5)[:2]
    service.plan(first, "400")
    service.plan(second, "503")
    fetch = fetch_of(tmp_path, service, retries=0, retry_delay=0.01)
    with eechips.stream(fetch, seed=5) as stream, caplog.at_level(logging.WARNING):
        assert numbers(stream) == order_of(5)[2:]
    assert f"2 units of reader 1 of 1 failed, and were left out of epoch 0: eechips failures {tmp_path}" in caplog.text
    with eechips.stream(fetch, seed=5) as stream:
        assert numbers(stream) == order_of(5)[1:]


def test_calls_that_another_process_cannot_make_are_refused(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = fetch_of(tmp_path, service)
    with pytest.raises(UsageError, match="needs a folder: partial"):
        eechips.stream(partial(fetch, out=None))
    with pytest.raises(UsageError, match="take keep or skip"):
        eechips.stream(partial(fetch, on_empty="redraw"))
    with pytest.raises(UsageError, match="needs a local folder"):
        eechips.stream(partial(fetch, out="s3://bucket/folder"))
    with pytest.raises(UsageError, match=r"cannot receive its arguments: .*<lambda>"):
        eechips.stream(partial(fetch, confirm=lambda forecast: True))
    with pytest.raises(UsageError, match=r"functools\.partial"):
        eechips.stream(fetch.func)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="call it with `extend=True` before, and stream its folder"):
        eechips.stream(partial(eechips.sample, "DEM", extend=True, out=tmp_path), rank=1, world_size=2)
    with pytest.raises(UsageError, match="there is no rank 2: 2 processes have the ranks 0 to 1"):
        eechips.stream(tmp_path, rank=2, world_size=2)
    with pytest.raises(UsageError, match="`seed` is a whole number from 0, not -1"):
        eechips.stream(tmp_path, seed=-1)
    with monkeypatch.context() as patch:
        patch.setenv("RANK", "first")
        with pytest.raises(UsageError, match="`RANK` is a whole number from 0, not 'first'"):
            eechips.stream(tmp_path)
    with pytest.raises(UsageError, match="`ordinal` is a whole number from 0, not -5"):  # it read samples twice
        eechips.stream(tmp_path).load_state_dict({"epoch": 0, "reader": 0, "readers": 1, "ordinal": -5})
    own = type("own", (), {})
    own.__module__ = "__main__"
    with pytest.raises(UsageError, match="define it in a module"):
        eechips.stream(partial(own, out=tmp_path / "out"))
    assert service.requests == []


@pytest.mark.parametrize("make", [layered, pictures])
def test_some_samples_are_those_of_all(tmp_path: Path, make: Callable[[int], Any]) -> None:
    run = write_run(tmp_path, make(12))
    every = {sample.position: sample for sample in read_samples(run)}
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        for chosen in ([7], [11, 0, 3], sorted(every), [99]):
            assert read_some_samples(ledger, chosen, {}) == {p: every[p] for p in chosen if p in every}


@pytest.mark.slow
@pytest.mark.parametrize("readers", [1, 2, 3, 5])
def test_readers_share_an_epoch_and_go_on_where_they_were(tmp_path: Path, readers: int) -> None:
    run = write_run(tmp_path, pictures(13))
    ordinals: list[int] = []
    for rank in range(readers):
        stream = eechips.stream(run, seed=2, rank=rank, world_size=readers)
        stream.set_epoch(4)
        every = [item.ordinal for item in stream]
        assert every == list(range(rank, 13, readers))
        ordinals += every
        for count in range(len(every) + 1):
            stream.set_epoch(4)
            reader = iter(stream)
            before = [next(reader).ordinal for _ in range(count)]
            state = json.loads(json.dumps(stream.state_dict()))
            other = SampleStream(run, seed=2, rank=rank, world_size=readers)
            other.load_state_dict(state)
            assert other.state_dict() == state
            assert before + [item.ordinal for item in other] == every
    assert sorted(ordinals) == list(range(13))
    other.set_epoch(6)
    assert other.state_dict() == {**state, "epoch": 6, "ordinal": readers - 1, "plan": None}  # not read yet
    another = eechips.stream(run, seed=3, rank=readers - 1, world_size=readers)
    another.load_state_dict(state)
    with pytest.raises(UsageError, match="seed 2 there, 3 here"):
        iter(another)


def test_units_that_are_marked_as_bad_are_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path, pictures(40))  # more than are looked up at a time
    ids = run.units["id"].tolist()
    mark_units(run.path, [*ids[:2], ids[39]], is_bad=True)
    assert {item.sample.id for item in eechips.stream(run)} == set(ids[2:39])
    mark_units(run.path, ids, is_bad=True)
    assert list(eechips.stream(run)) == []


def test_a_state_does_not_go_on_in_another_plan(tmp_path: Path) -> None:
    first, other = (write_run(tmp_path / str(count), pictures(count)) for count in (9, 12))
    begun = eechips.stream(first)
    next(iter(begun))
    again, extended = eechips.stream(first), eechips.stream(other)
    for each in (again, extended):
        each.load_state_dict(json.loads(json.dumps(begun.state_dict())))
    assert len(list(again)) == 8
    with pytest.raises(UsageError, match=r"does not belong to the plan of .*before it was extended"):
        next(iter(extended))


@pytest.mark.parametrize("readers", [2, 3])
def test_readers_of_an_epoch_read_one_plan_if_the_run_is_extended_as_they_begin(tmp_path: Path, readers: int) -> None:
    run = write_run(tmp_path, pictures(9))
    streams = [eechips.stream(run, seed=2, rank=rank, world_size=readers) for rank in range(readers)]
    parts = [iter(stream) for stream in streams]
    next(parts[0])
    state = streams[0].state_dict()
    write_run(tmp_path, pictures(14))
    rest = [item.ordinal for part in parts for item in part]
    assert sorted([0, *rest]) == list(range(9))
    assert [stream.state_dict()["plan"] for stream in streams] == [state["plan"]] * readers
    resumed = eechips.stream(run, seed=2, rank=0, world_size=readers)
    resumed.load_state_dict(state)
    assert [item.ordinal for item in resumed] == list(range(readers, 9, readers))
    for epoch in (1, 0):  # that of another epoch, and the first one again
        for stream in streams:
            stream.set_epoch(epoch)
        assert sorted(item.ordinal for stream in streams for item in stream) == list(range(14))


def test_a_split_is_a_part_of_the_order(tmp_path: Path) -> None:
    run = write_run(tmp_path, pictures(12))
    with pytest.raises(UsageError, match="has no splits yet: eechips split"):
        eechips.stream(run, split="train")
    ids = run.units["id"].tolist()
    names = ["train", "val", "none", "train"] * 2 + ["train", None, "val", "train"]
    split_table.write(run.path, pd.DataFrame({"id": ids, "split": names, "block": ids}).dropna(), {})
    whole = [item.sample.id for item in eechips.stream(run, seed=3)]
    wanted = [sample for sample in whole if names[ids.index(sample)] == "train"]
    parts = [list(eechips.stream(run, seed=3, split="train", rank=rank, world_size=2)) for rank in (0, 1)]
    assert [item.ordinal for part in parts for item in part] == [0, 2, 4, 1, 3, 5]
    assert [item.sample.id for pair in zip(*parts, strict=True) for item in pair] == wanted
    with pytest.raises(UsageError, match="unknown split 'test'; known are train, val"):
        eechips.stream(run, split="test")
    with pytest.raises(UsageError, match="`max_disk` removes files"):
        eechips.stream(partial(eechips.sample, "DEM", out=run.path), split="train", max_disk="1GB")
    begun = eechips.stream(run, seed=3, split="train")
    next(iter(begun))
    other = eechips.stream(run, seed=3, split="val")
    other.load_state_dict(begun.state_dict())
    with pytest.raises(UsageError, match="split train there, val here"):
        iter(other)
    split_table.write(run.path, pd.DataFrame({"id": ids, "split": "train", "block": ids}), {})
    again = eechips.stream(run, seed=3, split="train")
    again.load_state_dict(begun.state_dict())
    with pytest.raises(UsageError, match="extended or split again"):
        next(iter(again))


def test_a_split_has_the_units_that_replace_empty_ones(tmp_path: Path) -> None:
    units = pictures(6)
    run = write_run(tmp_path, [*units[:2], (units[2][0], None), *units[3:]])
    with Ledger(run.path / LEDGER_NAME) as ledger, ledger.transaction():
        ledger.database.execute("UPDATE units SET replaces = 2 WHERE position = 5")
    ids = [sample.id for sample in read_samples(run)]
    assert len(ids) == 5
    names = ["train", "val", "val", "val", "train"]
    split_table.write(run.path, pd.DataFrame({"id": ids, "split": names, "block": ids}), {})
    assert {item.sample.id for item in eechips.stream(run, split="train")} == {ids[0], ids[4]}


def test_numbers_of_numpy_are_those_of_python(tmp_path: Path) -> None:
    run = write_run(tmp_path, pictures(6))
    stream = eechips.stream(run, seed=np.int64(3), rank=np.int64(1), world_size=np.int64(2))  # type: ignore[arg-type]
    stream.set_epoch(np.int64(1))  # type: ignore[arg-type]
    assert [item.ordinal for item in stream] == [1, 3, 5]
    assert json.loads(json.dumps(stream.state_dict()))["epoch"] == 1


def test_a_reader_alone_shares_no_plan(tmp_path: Path, caplog: CapturedLog) -> None:
    run = write_run(tmp_path, pictures(4))
    (tmp_path / ".eechips-readers").write_text("as if the folder could not be written")
    for world_size, warnings in ((1, 0), (2, 1)):
        stream = eechips.stream(run, rank=0, world_size=world_size)
        assert len([*stream.read(is_shared=True)]) == 4 // world_size
        assert caplog.text.count("cannot share their plan") == warnings


@pytest.mark.slow
def test_a_stream_needs_no_pytorch() -> None:
    program = "import sys; sys.modules['torch'] = None; import eechips; print(eechips.stream.__name__)"
    done = run_program(sys.executable, "-c", program, status=0)
    assert done.stdout == "stream\n"
