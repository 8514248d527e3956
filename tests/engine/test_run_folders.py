"""The folder of a run when several commands begin there at once, or fail there."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from eechips.commands.verification import verify
from eechips.engine.config import RunConfig
from eechips.engine.run import run
from eechips.errors import RunLockedError, StorageError, UsageError
from eechips.manifest.folder_lock import LOCK_NAME, is_held, lock_folder
from eechips.manifest.run import open_run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger

COUNT, ROUNDS = 5, 12


class Texts:
    """A recipe that asks nobody; it plans when all others have begun, too."""

    name, identity, needs_service, is_concurrent = "texts", "1", False, True
    parameters: Mapping[str, Any] = {}
    datasets = ()

    def __init__(self, others: Barrier | None = None, count: int = 3) -> None:
        self._others, self._count = others, count

    def get_requests(self) -> Iterator[dict[str, int]]:
        """Numbers."""
        if self._others is not None:
            self._others.wait(60)
        if not self._count:
            raise UsageError("there is nothing to do")
        return iter([{"n": n} for n in range(self._count)])

    def get_result(self, index: int, unit: Any) -> Any:
        """A text."""
        return str(unit["n"]).encode()


class Pairs(Texts):
    """A recipe whose units have two files."""

    def get_result(self, index: int, unit: Any) -> Any:
        """Two texts."""
        return {"a": b"a", "b": b"b"}


class Whole(Texts):
    """A recipe that puts its results together."""

    def assemble(self, results: Any) -> None:
        """All texts, one after the other."""
        with results.make("whole.txt") as path:
            path.write_text("".join(settled.path.read_text() for settled in results))


def configured(out: Path) -> RunConfig:
    return RunConfig(out=out, executor="threads", quiet=True, command="eechips run")


def begin(folder: Path, start: Barrier, planning: Barrier, told: Any) -> None:
    """Runs in new folders, each at the same moment as other processes; tells whether it was the one that ran."""
    for number in range(ROUNDS):
        try:
            start.wait(60)
            try:
                run(Texts(planning), configured(folder / str(number)))
                told.put((number, "done"))
            except RunLockedError:
                planning.wait(60)
                told.put((number, "refused"))
        except BaseException as error:
            told.put((number, repr(error)))
            start.abort()
            planning.abort()
            raise


@pytest.mark.slow
def test_one_of_concurrent_commands_uses_a_new_folder_and_the_others_change_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, planning, told = context.Barrier(COUNT), context.Barrier(COUNT), context.Queue()
    processes = [context.Process(target=begin, args=(tmp_path, start, planning, told)) for _ in range(COUNT)]
    for process in processes:
        process.start()
    found = sorted(told.get(timeout=60) for _ in range(COUNT * ROUNDS))
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert found == sorted((n, word) for n in range(ROUNDS) for word in ["done"] + ["refused"] * (COUNT - 1))
    for number in range(ROUNDS):
        assert open_run(tmp_path / str(number)).status(intervals=1).counts == {"done": 3}


def test_a_folder_that_a_failed_run_has_made_is_removed_and_one_that_was_there_stays(tmp_path: Path) -> None:
    made, there = tmp_path / "made", tmp_path / "there"
    there.mkdir()
    (there / "notes.txt").write_text("mine")
    for folder in (made, there):
        with pytest.raises(UsageError, match="there is nothing to do"):
            run(Texts(count=0), configured(folder))
    assert not made.exists()
    assert (there / "notes.txt").read_text() == "mine"


def test_a_lock_whose_file_was_removed_by_its_holder_locks_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    there, opened, removed, told = context.Event(), context.Event(), context.Event(), context.Queue()
    real = os.open

    def late(*args: Any, **options: Any) -> int:
        """The process is put to sleep between opening the lock file and locking it."""
        descriptor = real(*args, **options)
        opened.set()
        assert removed.wait(60)
        return descriptor

    def other() -> None:
        assert there.wait(60)
        os.open = late
        with lock_folder(tmp_path):
            told.put((tmp_path / LOCK_NAME).exists())

    process = context.Process(target=other)
    process.start()  # before: it would share what is open
    with lock_folder(tmp_path):
        there.set()
        assert opened.wait(60)
        (tmp_path / LOCK_NAME).unlink()
    removed.set()
    assert told.get(timeout=60) is True
    process.join(60)
    assert not is_held(tmp_path)


def test_an_existing_file_is_not_replaced_by_a_result(tmp_path: Path) -> None:
    config = dataclasses.replace(configured(tmp_path), name="{n}")
    (tmp_path / "1.txt").write_text("mine")
    (tmp_path / "1.bin").write_text("mine")
    (tmp_path / "notes.bin").write_text("mine")
    first = run(Texts(), config)
    assert first.counts == {"done": 2, "failed_permanent": 1}
    assert "was in the output folder before the run and is not replaced" in first.failures["error"].iloc[0]
    own = {name: (tmp_path / name).read_text() for name in ("1.txt", "1.bin", "notes.bin")}
    assert set(own.values()) == {"mine"}
    (tmp_path / "1.bin").rename(tmp_path / "mine.bin")
    with lock_folder(tmp_path), Ledger(tmp_path / LEDGER_NAME) as ledger:
        ledger.reopen([1])
    again = run(Texts(), config)
    assert again.counts == {"done": 3}
    assert (tmp_path / "1.bin").read_text() == "1"
    (tmp_path / "1.bin").write_text("cut off")
    assert run(Texts(), config).counts == {"done": 3}
    assert (tmp_path / "1.bin").read_text() == "1"
    (tmp_path / "1.bin").unlink()  # a result that is gone is fetched again, in its own place
    assert run(Texts(), config).counts == {"done": 3}
    assert (tmp_path / "1.bin").read_text() == "1"


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_unit_with_a_file_that_cannot_be_has_none(tmp_path: Path, is_folder: bool) -> None:
    config = dataclasses.replace(configured(tmp_path), name="{n}")
    in_the_way = tmp_path / "1.b.bin"
    in_the_way.mkdir() if is_folder else in_the_way.write_text("mine")
    first = run(Pairs(), config)
    assert first.counts == {"done": 2, "failed_permanent": 1}
    assert sorted(path.name for path in tmp_path.glob("*.bin")) == [
        "0.a.bin",
        "0.b.bin",
        "1.b.bin",
        "2.a.bin",
        "2.b.bin",
    ]
    assert not list(tmp_path.glob(".*.bin*"))


def test_an_existing_file_is_not_replaced_by_an_assembled_result(tmp_path: Path) -> None:
    (tmp_path / "whole.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"whole\.txt was in the output folder before the run"):
        run(Whole(), configured(tmp_path))
    assert (tmp_path / "whole.txt").read_text() == "mine"
    (tmp_path / "whole.txt").unlink()
    for _ in range(2):
        run(Whole(), configured(tmp_path))
        assert (tmp_path / "whole.txt").read_text() == "012"
        (tmp_path / "whole.txt").write_text("cut off")


@pytest.mark.parametrize("name", [LEDGER_NAME, LOCK_NAME])
def test_a_finished_run_has_its_files(tmp_path: Path, name: str) -> None:
    run(Texts(), configured(tmp_path / "out"))
    assert (tmp_path / "out" / name).is_file()


class Moved(Texts):
    """A recipe during which the folder of the run is moved, and another run may take its place."""

    def __init__(self, folder: Path, moment: int | str, *, is_replaced: bool) -> None:
        super().__init__(count=40)
        self._folder, self._moment, self._is_replaced = folder, moment, is_replaced
        self.is_moved = threading.Event()

    def get_requests(self) -> Iterator[dict[str, int]]:
        """Numbers."""
        if self._moment == "planning":
            self._move()
            raise UsageError("it cannot plan")
        return super().get_requests()

    def get_result(self, index: int, unit: Any) -> bytes:
        """A text."""
        if unit["n"] == self._moment:
            self._move()
        return super().get_result(index, unit)

    def _move(self) -> None:
        self._folder.rename(self._folder.with_name("moved"))
        while self._is_replaced and not (self._folder / LEDGER_NAME).exists():
            # Between the two names, other units may have made the folder again for their files.
            shutil.rmtree(self._folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                self._folder.with_name("other").rename(self._folder)
        self.is_moved.set()


@pytest.mark.parametrize("is_replaced", [False, True])
@pytest.mark.parametrize("moment", ["planning", 20])
def test_a_run_whose_folder_is_moved_ends_and_is_resumed_at_the_new_place(
    tmp_path: Path, moment: int | str, is_replaced: bool
) -> None:
    folder, moved = tmp_path / "run", tmp_path / "moved"
    run(Texts(), configured(tmp_path / "other"))
    with pytest.raises(StorageError, match=r"was moved, replaced or removed during the run.*its new name as `out`"):
        run(moving := Moved(folder, moment, is_replaced=is_replaced), configured(folder))
    assert moving.is_moved.wait(60)  # the run may end between the two names
    if is_replaced:
        assert open_run(folder).counts == {"done": 3}
        assert verify(folder) == []
    else:
        assert not list(folder.rglob("*.bin"))
    assert run(Texts(count=40), configured(moved)).counts == {"done": 40}
    assert verify(moved) == []
