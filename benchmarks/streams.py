"""Training on a run while it is fetched, beside fetching all and training then: first batch, idle share, kills.

    python benchmarks/streams.py
    python benchmarks/streams.py --count 5000 --kills 5

Two processes train a small network of convolutions with two loader workers each; the service has a quota of 40 in
flight, and answers after a second on average, with a long tail. Both ways read the same number of samples in the same
machine's time, one after the other:

- ``stream``: ``eechips.torch.stream`` for two epochs;
- ``files``: ``eechips run`` to its end, then ``ChipDataset`` with a ``DistributedSampler`` for one epoch;
- ``kills``: the first again in another folder, while all training processes are killed in turn.

Shown are the seconds to the first batch and to the end of the first epoch, from the start of the first process, imports
included; the share of that time in which the training waited; the share in which it waited though the samples were
recorded in the ledger (for loading, and for looks at the ledger); the requests of the second epoch; and how often
a sample was seen. If a sample is missing, or seen twice without a kill, the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from harness import ASKING, HERE, Server, serving

_RANKS, _WORKERS, _SLOTS, _EDGE = 2, 2, 40, 64
_LATENCY = "lognormal:0.9,0.5"
_FIRST_KILL = 0.15  # share of the samples before the first kill; the others follow at equal distances
_LAST_KILL = 0.85


@dataclass(frozen=True)
class Batch:
    """A batch of a training: when it was asked for, there, and done, in seconds since 1970."""

    epoch: int
    asked: float
    got: float
    done: float
    ids: list[str]


# The training processes


def call_of(folder: Path, url: str, count: int) -> partial[Any]:
    """The call that fetches the run."""
    import eechips

    return partial(
        eechips.run, str(HERE / "points.py"), parameters={"count": count, "chip": "constant", "edge": _EDGE},
        endpoint=url, project="bench", method="pixels", executor="threads", out=folder / "run",
    )  # fmt: skip


def train(given: argparse.Namespace) -> None:
    """Train in this process on its share of the samples, and write a line for each batch."""
    import torch
    from torch.utils.data import DataLoader, DistributedSampler

    import eechips.torch

    torch.set_num_threads(1)
    rank, folder = int(os.environ["RANK"]), given.folder
    log, stored = folder / f"batches-{rank}.jsonl", folder / f"state-{rank}.json"
    sampler = None
    if given.train == "stream":
        data: Any = eechips.torch.stream(call_of(folder, given.url, given.count), seed=11, dtype=torch.float32)
        if stored.exists():
            data.load_state_dict(json.loads(stored.read_text()))
    else:
        data = eechips.torch.ChipDataset(folder / "run", dtype=torch.float32)
        sampler = DistributedSampler(data, num_replicas=_RANKS, rank=rank, shuffle=True, seed=11)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, given.width, 3, stride=2), torch.nn.ReLU(),
        torch.nn.Conv2d(given.width, given.width, 3, stride=2), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(given.width, 3),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters())
    loader = DataLoader(data, batch_size=given.batch, num_workers=_WORKERS, sampler=sampler, persistent_workers=True)
    first = data.state_dict()["epoch"] if given.train == "stream" else 0
    with log.open("a") as file:
        for epoch in range(first, given.epochs):
            if given.train == "stream" and epoch > first:
                data.set_epoch(epoch)
            batches = iter(loader)
            while True:
                asked = time.time()
                batch = next(batches, None)
                if batch is None:
                    break
                got = time.time()
                optimizer.zero_grad()
                pixels = batch["image"] / 255
                loss = torch.nn.functional.mse_loss(model(pixels), pixels.mean((2, 3)))
                loss.backward()
                optimizer.step()
                line = {"epoch": epoch, "asked": asked, "got": got, "done": time.time(), "ids": batch["id"]}
                file.write(json.dumps(line) + "\n")
                file.flush()
                if given.train == "stream":
                    data.note(batch["ordinal"])
                    written = stored.with_suffix(".part")
                    written.write_text(json.dumps(data.state_dict()))
                    written.replace(stored)


def start(given: argparse.Namespace, how: str, folder: Path, url: str, epochs: int) -> list[subprocess.Popen[bytes]]:
    """The training processes, each in a session of its own."""
    words = [sys.executable, __file__, "--train", how, "--folder", folder, "--url", url, "--epochs", epochs]
    words += ["--count", given.count, "--batch", given.batch, "--width", given.width]
    found = []
    for rank in range(_RANKS):
        with (folder / f"output-{rank}.txt").open("ab") as output:
            environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(_RANKS)}
            found.append(
                subprocess.Popen(
                    [str(word) for word in words], env=environment, stdout=output, stderr=output, start_new_session=True
                )
            )
    return found


# What they have done


def read_batches(folder: Path) -> list[Batch]:
    """The batches of all processes so far; a kill may have cut the last line of one."""
    found = []
    for rank in range(_RANKS):
        path = folder / f"batches-{rank}.jsonl"
        for line in path.read_text().splitlines() if path.exists() else ():
            if line.endswith("}"):
                found.append(Batch(**json.loads(line)))
    return found


def end(processes: Sequence[subprocess.Popen[bytes]], folder: Path) -> None:
    """Wait for the end of processes.

    Raises:
        RuntimeError: if one fails.
    """
    for rank, process in enumerate(processes):
        if process.wait(3600):
            raise RuntimeError((folder / f"output-{rank}.txt").read_text()[-3000:])


def finished(folder: Path) -> dict[str, float]:
    """When each unit was recorded, in seconds since 1970, by id."""
    import eechips

    units = eechips.open_run(folder / "run").units
    times = (datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() for text in units["finished"])
    return dict(zip(units["id"], times, strict=True))


def asked(server: Server) -> int:
    """Requests for chips so far."""
    requests = server.get("_stats")["requests"]
    return sum(requests.get(kind, 0) for kind in ASKING)


def report(name: str, folder: Path, began: float, ready: dict[str, float] | None) -> None:
    """Print how long the first epoch took, and how much of that the training waited."""
    batches = [batch for batch in read_batches(folder) if batch.epoch == 0]
    first, last = min(each.got for each in batches), max(each.done for each in batches)
    total = _RANKS * (last - began)
    # Up to the first batch of a process, and after its last one, it waits as well.
    busy = sum(each.done - each.got for each in batches)
    print(f"{name}: first batch after {first - began:.1f} s, epoch after {last - began:.1f} s,", end=" ")
    print(f"training {busy / total:.1%}, idle {1 - busy / total:.1%}")
    if ready is None:
        return
    waits = [(each.got - each.asked, each.got - max(each.asked, *map(ready.__getitem__, each.ids))) for each in batches]
    waited, needless = sum(wait for wait, _ in waits), sum(max(0.0, rest) for _, rest in waits)
    print(f"{name}: waited for batches {waited / total:.1%}, of which for recorded samples {needless / total:.1%}")


def check(name: str, folder: Path, epochs: int, count: int, most: int) -> bool:
    """Print how often samples were seen; return whether that is right.

    Args:
        name: name of the way.
        folder: folder of the training.
        epochs: epochs that are whole.
        count: samples of each.
        most: samples that may be seen twice, as kills came between training and storing its place.
    """
    is_right = True
    for epoch in range(epochs):
        seen = Counter(unit for batch in read_batches(folder) if batch.epoch == epoch for unit in batch.ids)
        twice = sum(times - 1 for times in seen.values())
        print(f"{name}: epoch {epoch}: {len(seen):,} samples, {twice} seen again")
        is_right = is_right and len(seen) == count and twice <= most
    return is_right


# The ways


def stream(given: argparse.Namespace, server: Server, folder: Path) -> bool:
    """Two epochs while the run is fetched."""
    began = time.time()
    processes = start(given, "stream", folder, server.url, 2)
    is_first = True
    while any(process.poll() is None for process in processes):
        if is_first and sum(len(each.ids) for each in read_batches(folder) if each.epoch == 0) == given.count:
            is_first, before = False, asked(server)
        time.sleep(0.2)
    end(processes, folder)
    later = asked(server) - before
    report("stream", folder, began, finished(folder))
    print(f"stream: {before:,} requests in epoch 0, {later} in epoch 1")
    return check("stream", folder, 2, given.count, 0) and later == 0


def files(given: argparse.Namespace, server: Server, folder: Path) -> bool:
    """All is fetched first."""
    began = time.time()
    command = [
        sys.executable, "-m", "eechips", "run", HERE / "points.py", "-p", f"count={given.count}", "-p", "chip=constant",
        "-p", f"edge={_EDGE}", "--endpoint", server.url, "--project", "bench", "--method", "pixels", "--executor",
        "threads", "--quiet", "--out", folder / "run",
    ]  # fmt: skip
    subprocess.run([str(word) for word in command], check=True)
    print(f"files: fetched after {time.time() - began:.1f} s")
    end(start(given, "files", folder, server.url, 1), folder)
    report("files", folder, began, None)
    return True


def kills(given: argparse.Namespace, server: Server, folder: Path) -> bool:
    """The training is killed again and again, and started again at once."""
    before = asked(server)
    step = (_LAST_KILL - _FIRST_KILL) / max(1, given.kills - 1)
    for number in range(given.kills):
        processes = start(given, "stream", folder, server.url, 1)
        target = given.count * (_FIRST_KILL + step * number)
        while sum(len(each.ids) for each in read_batches(folder)) < target:
            if all(process.poll() is not None for process in processes):
                end(processes, folder)
            time.sleep(0.05)
        for process in processes:
            process.kill()
            process.wait()
    end(start(given, "stream", folder, server.url, 1), folder)
    sent = asked(server) - before
    print(f"kills: {given.kills} of all processes, {sent:,} requests for {given.count:,} samples")
    return check("kills", folder, 1, given.count, given.kills * _RANKS * given.batch)


def main() -> None:
    """Run the ways that were chosen, and exit with 1 if a sample was missing or seen twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1500, help="samples")
    parser.add_argument("--batch", type=int, default=16, help="samples of a batch")
    parser.add_argument("--width", type=int, default=16, help="channels of the network")
    parser.add_argument("--kills", type=int, default=3, help="kills of all training processes")
    parser.add_argument("--ways", default="stream,files,kills", help="which, separated by commas")
    parser.add_argument("--train", choices=("stream", "files"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--epochs", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train is not None:
        train(given)
        return
    ways = {"stream": stream, "files": files, "kills": kills}
    limits = ("--concurrency", str(_SLOTS), "--latency", _LATENCY)
    is_right = True
    with tempfile.TemporaryDirectory() as parent:
        for name in given.ways.split(","):
            folder = Path(parent) / name
            folder.mkdir()
            with serving("light", *limits) as server:
                is_right = ways[name](given, server, folder) and is_right
    sys.exit(0 if is_right else 1)


if __name__ == "__main__":
    main()
