"""A network trains on a run while that is fetched: workers, processes, epochs, kills."""

from __future__ import annotations

import json
import subprocess
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import eechips
from eechips.errors import RunStoppedError, UsageError
from eechips.manifest.folder_lock import is_held
from eechips.training.splits import split_table
from local_tests.support.local_earth_engine import wait_until
from tests.support.engine_service import Service, picture
from tests.support.finished_run import layered, write_run
from tests.support.stream_programs import COUNT, fetch_of, start

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader  # noqa: E402

import eechips.torch  # noqa: E402
from eechips.torch import ChipDataset  # noqa: E402

pytestmark = [
    pytest.mark.slow,  # PyTorch, which takes seconds to import, is in the extra of CI alone
    # PyTorch's workers are forks of a process with threads, which newer Pythons warn of.
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]

PROGRAM = """
import json, os, sys
from functools import partial
from pathlib import Path
from torch.utils.data import DataLoader
import eechips, eechips.torch

folder, url = Path(sys.argv[1]), sys.argv[2]
fetch = partial(
    eechips.run, str(folder / "recipe.py"), parameters={"count": 30}, endpoint=url, project="test", rate=None,
    in_flight=2, executor="threads", method="pixels", out=folder / "out",
)
chips = eechips.torch.stream(fetch, seed=5, label="number")
rank = chips.stream.rank
state = folder / f"state-{rank}.json"
if state.exists():
    chips.load_state_dict(json.loads(state.read_text()))
for batch in DataLoader(chips, batch_size=2, num_workers=2):
    with (folder / f"seen-{rank}").open("a") as file:
        file.writelines(f"{chips.classes[label]}\\n" for label in batch["label"].tolist())
    chips.note(batch["ordinal"])
    written = state.with_suffix(".part")
    written.write_text(json.dumps(chips.state_dict()))
    os.replace(written, state)
"""


def seen(folder: Path, rank: int = 0) -> list[int]:
    """What a training has seen so far."""
    path = folder / f"seen-{rank}"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def order_of(seed: int, epoch: int = 0) -> list[int]:
    """The numbers of the units in the order of an epoch, as documented: numpy's permutation."""
    return (1 + np.random.default_rng([seed, epoch]).permutation(COUNT)).tolist()


def batches_of(order: list[int], workers: int = 2, size: int = 2) -> list[list[int]]:
    """The batches of a DataLoader whose workers read every so-many-th sample: one of each worker in turn."""
    parts = [order[worker::workers] for worker in range(workers)]
    each = [[part[n : n + size] for n in range(0, len(part), size)] for part in parts]
    return [part[n] for n in range(max(map(len, each))) for part in each if n < len(part)]


def test_two_workers_train_while_the_run_is_fetched(service: Service, tmp_path: Path) -> None:
    service.latency = 0.02
    with eechips.torch.stream(fetch_of(tmp_path, service), seed=5, label="number", dtype=torch.float32) as chips:
        assert chips.classes == tuple(range(1, COUNT + 1))
        loader = DataLoader(chips, batch_size=2, num_workers=2, persistent_workers=True)
        found = []
        for batch in loader:
            assert batch["image"].shape == (len(batch["ordinal"]), 3, 24, 24)
            found.append([chips.classes[label] for label in batch["label"].tolist()])
            for number, pixels, valid in zip(found[-1], batch["image"], batch["image_valid"], strict=True):
                expected = picture(number, 24, 24)
                np.testing.assert_array_equal(pixels.numpy(), expected * valid.numpy())
                assert valid.float().mean() == (1 if number % 7 else 23 / 24)
        assert found == batches_of(order_of(5))
        sent = len(service.requests)
        for epoch in (1, 2):
            chips.set_epoch(epoch)
            found = [[chips.classes[label] for label in batch["label"].tolist()] for batch in loader]
            assert found == batches_of(order_of(5, epoch))
    assert len(service.requests) == sent
    assert service.count("compute") == COUNT


@pytest.mark.slow
def test_workers_share_a_bounded_disk(service: Service, tmp_path: Path) -> None:
    fetch = fetch_of(tmp_path, service, parameters={"count": COUNT, "format": "npy"})
    with eechips.torch.stream(fetch, seed=5, label="number", max_disk="25kB") as chips:  # 10 of 30 samples
        loader = DataLoader(chips, batch_size=2, num_workers=2, persistent_workers=True)
        for epoch in range(3):
            chips.set_epoch(epoch)
            found = [[chips.classes[label] for label in batch["label"].tolist()] for batch in loader]
            assert found == batches_of(order_of(5, epoch))
    assert eechips.open_run(tmp_path / "out").counts["done"] < COUNT < service.count("compute")


def test_items_are_those_of_a_dataset_by_index(tmp_path: Path) -> None:
    run = write_run(tmp_path, layered(9))
    options: dict[str, Any] = {"layers": ["S2", "DEM"], "label": "class", "fill": 7}
    chips = ChipDataset(run, **options)
    by_id = {item["id"]: item for item in chips}
    items = list(eechips.torch.stream(run, seed=1, **options))
    assert [item.pop("ordinal") for item in items] == list(range(9))
    assert {item["id"] for item in items} == set(by_id)
    for item in items:
        other = by_id[item["id"]]
        assert list(item) == list(other)
        for name, value in item.items():
            same = torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
            assert same, name
    assert next(iter(eechips.torch.stream(run, transform=lambda item: item["id"]))) in by_id
    with pytest.raises(UsageError, match="no unit has a field 'colour'; there are: class, number, zone"):
        eechips.torch.stream(run, label="colour")
    with pytest.raises(UsageError, match="there is no layer 'S1'"):
        next(iter(eechips.torch.stream(run, layers=["S1"])))


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("done", [0, 1, 3, 4])
def test_an_epoch_goes_on_after_any_batch(tmp_path: Path, workers: int, done: int) -> None:
    run = write_run(tmp_path, layered(17))

    def train(chips: Any, most: int) -> list[int]:
        ordinals = []
        for number, batch in enumerate(DataLoader(chips, batch_size=2, num_workers=workers)):
            if number == most:
                break
            ordinals += batch["ordinal"].tolist()
            chips.note(batch["ordinal"])
        return ordinals

    chips = eechips.torch.stream(run, rank=1, world_size=2)
    chips.set_epoch(3)
    whole = train(chips, 99)
    chips.set_epoch(3)
    before = train(chips, done)
    state = json.loads(json.dumps(chips.state_dict()))
    resumed = eechips.torch.stream(run, rank=1, world_size=2)
    resumed.load_state_dict(state)
    middle = train(resumed, 1)
    last = eechips.torch.stream(run, rank=1, world_size=2)
    last.load_state_dict(json.loads(json.dumps(resumed.state_dict())))
    assert sorted(before + middle + train(last, 99)) == sorted(whole)
    assert len(whole) == len(set(whole)) == 8


def test_another_number_of_workers_cannot_go_on(tmp_path: Path) -> None:
    run = write_run(tmp_path, layered(9))
    chips = eechips.torch.stream(run)
    chips.note(next(iter(DataLoader(chips, batch_size=2, num_workers=2)))["ordinal"])
    resumed = eechips.torch.stream(run)
    resumed.load_state_dict(chips.state_dict())
    with pytest.raises(UsageError, match=r"was begun with 2 workers, .*: num_workers=2 continues it, not 1"):
        iter(resumed)
    with pytest.raises(UsageError, match="seed 0 there, 1 here"):
        eechips.torch.stream(run, seed=1).load_state_dict(chips.state_dict())
    for wrong in ({"ordinals": None}, {"ordinals": [-1]}, {"workers": 1.5}):
        with pytest.raises(UsageError):
            chips.load_state_dict({**chips.state_dict(), **wrong})
    with pytest.raises(UsageError, match="`epoch` is a whole number from 0, not -1"):
        chips.set_epoch(-1)
    resumed.set_epoch(1)  # has no such state
    assert len(list(resumed)) == 9
    extended = eechips.torch.stream(write_run(tmp_path / "extended", layered(12)))
    extended.load_state_dict(chips.state_dict())
    assert extended.state_dict() == chips.state_dict()  # still that of the other plan
    with pytest.raises(UsageError, match="does not belong to the plan of"):
        list(DataLoader(extended, batch_size=2, num_workers=2))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_state_is_of_the_plan_that_was_read(tmp_path: Path, workers: int) -> None:
    run = write_run(tmp_path, layered(9))
    chips = eechips.torch.stream(run)
    batches = iter(DataLoader(chips, batch_size=2, num_workers=workers))
    first = next(batches)["ordinal"]
    chips.note(first)
    write_run(tmp_path, layered(12))
    resumed = eechips.torch.stream(run)
    resumed.load_state_dict(chips.state_dict())
    rest = [batch["ordinal"].tolist() for batch in DataLoader(resumed, batch_size=2, num_workers=workers)]
    assert sorted(sum(rest, first.tolist())) == list(range(9))


def test_processes_with_labels_read_one_plan(tmp_path: Path) -> None:
    run = write_run(tmp_path, layered(9))
    parts, ordinals = [], []
    for rank in range(2):
        chips = eechips.torch.stream(run, label="number", rank=rank, world_size=2)
        parts.append(iter(DataLoader(chips, batch_size=None)))
        ordinals += [next(parts[0])["ordinal"]]
    write_run(tmp_path, layered(12))
    assert sorted([*ordinals, *(item["ordinal"] for part in parts for item in part)]) == list(range(9))


def test_workers_read_a_split(tmp_path: Path) -> None:
    run = write_run(tmp_path, layered(12))
    ids = run.units["id"].tolist()
    split_table.write(run.path, pd.DataFrame({"id": ids, "split": ["train", "val"] * 6, "block": ids}), {})
    chips = eechips.torch.stream(run, split="val", label="number")
    batches = list(DataLoader(chips, batch_size=2, num_workers=2))
    assert sorted(chips.classes[label] for batch in batches for label in batch["label"].tolist()) == [*range(1, 12, 2)]
    assert sorted(number for batch in batches for number in batch["ordinal"].tolist()) == list(range(6))


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")  # what torchdata 0.11 calls
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stateful_loader_goes_on_after_any_batch(tmp_path: Path, workers: int) -> None:
    loaders = pytest.importorskip("torchdata.stateful_dataloader")
    run = write_run(tmp_path, layered(17))

    def loader() -> Any:
        return loaders.StatefulDataLoader(eechips.torch.stream(run), batch_size=2, num_workers=workers)

    whole = [batch["ordinal"].tolist() for batch in loader()]
    for done in (1, 4):
        first = loader()
        batches = iter(first)
        before = [next(batches)["ordinal"].tolist() for _ in range(done)]
        second = loader()
        second.load_state_dict(first.state_dict())
        assert before + [batch["ordinal"].tolist() for batch in second] == whole


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")  # what torchdata 0.11 calls
def test_a_stateful_loader_goes_on_with_a_bounded_disk(service: Service, tmp_path: Path) -> None:
    loaders = pytest.importorskip("torchdata.stateful_dataloader")
    fetch = fetch_of(tmp_path, service, parameters={"count": COUNT, "format": "npy"})
    found, state = [], None
    for epoch, batches in ((0, 9), (0, COUNT), (1, COUNT)):  # in a program of its own each
        with eechips.torch.stream(fetch, seed=5, label="number", max_disk="25kB") as chips:  # 10 of 30 samples
            chips.set_epoch(epoch)
            loader = loaders.StatefulDataLoader(chips, batch_size=2, num_workers=2, snapshot_every_n_steps=3)
            if state is not None and epoch == 0:
                loader.load_state_dict(state)
            found += [[chips.classes[label] for label in batch["label"].tolist()] for batch in islice(loader, batches)]
            state = loader.state_dict()
    assert found == batches_of(order_of(5, 0)) + batches_of(order_of(5, 1))


@pytest.mark.exhaustive
def test_a_run_that_stops_ends_the_training_with_its_reason(service: Service, tmp_path: Path) -> None:
    service.latency = 0.02
    for number in order_of(5)[10:]:
        service.plan(number, "403")
    with eechips.torch.stream(fetch_of(tmp_path, service), seed=5) as chips:
        loader = DataLoader(chips, batch_size=2, num_workers=2)
        with pytest.raises(RunStoppedError, match=r"has stopped before .* ConfigurationError: .*not registered"):
            list(loader)


@pytest.mark.exhaustive
@pytest.mark.timeout(900)  # two processes import PyTorch three times: 160 s where each core has eight others to run
def test_killed_processes_resume_run_and_epoch(service: Service, tmp_path: Path) -> None:
    service.latency = 0.2
    kills = 2
    for number in range(kills):
        ranks = [start(tmp_path, service, PROGRAM, RANK=str(rank), WORLD_SIZE="2") for rank in (0, 1)]
        try:
            wait_for(ranks, tmp_path, 8 * (number + 1))
        finally:
            for each in ranks:
                each.kill()
                each.communicate()
        wait_until(lambda: not is_held(tmp_path / "out"))  # the process that fetched has ended with rank 0
    ranks = [start(tmp_path, service, PROGRAM, RANK=str(rank), WORLD_SIZE="2") for rank in (0, 1)]
    for each in ranks:
        output, _ = each.communicate(timeout=120)
        assert each.returncode == 0, output
    for rank in range(2):
        parts = [order_of(5)[reader::4] for reader in (2 * rank, 2 * rank + 1)]
        found = seen(tmp_path, rank)
        assert sorted(set(found)) == sorted(parts[0] + parts[1])
        assert len(found) <= COUNT // 2 + 2 * kills  # a batch that was seen, and not stored yet, is seen again
    run = eechips.open_run(tmp_path / "out")
    assert run.counts == {"done": COUNT}
    assert run.verify() == []
    assert service.count("compute") <= COUNT + 2 * kills  # those in flight


def wait_for(ranks: list[subprocess.Popen[str]], folder: Path, count: int) -> None:
    """Waits until processes have seen so many samples together."""
    wait_until(
        lambda: len(seen(folder, 0)) + len(seen(folder, 1)) >= count or any(each.poll() is not None for each in ranks)
    )
    for each in ranks:
        assert each.poll() is None, each.communicate()
