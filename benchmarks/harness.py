"""What the benchmarks of whole runs share: servers, processes and what they cost, and what a server saw over time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from processes import children, command_line, cpu_of, descendants, fields, parent, pss

if TYPE_CHECKING:
    from typing_extensions import Self

HERE = Path(__file__).resolve().parent
PIXELS = ("thumbnails:getPixels", "image:computePixels", "assets:getPixels")
"""The kinds of request that return a chip."""
ASKING = ("thumbnails:create", "image:computePixels", "assets:getPixels")
"""The kinds of request that begin one."""


@dataclass
class Server:
    """A server that is running.

    Attributes:
        url: its address.
        process: process of it.
        session: to ask it.
    """

    url: str
    process: subprocess.Popen[str]
    session: requests.Session = field(default_factory=requests.Session)

    def get(self, resource: str) -> Any:
        """A resource of the server's own, such as ``_stats``."""
        response = self.session.get(f"{self.url}/{resource}", timeout=60)
        response.raise_for_status()
        return response.json()

    def post(self, resource: str, **values: Any) -> Any:
        """Changes one."""
        response = self.session.post(f"{self.url}/{resource}", json=values, timeout=60)
        response.raise_for_status()
        return response.json()

    def cpu(self) -> float:
        """Seconds of processor time of the server and its processes so far."""
        return sum(cpu_of(pid) for pid in (self.process.pid, *descendants(self.process.pid)))


@contextmanager
def serving(kind: str, *options: str) -> Iterator[Server]:
    """A server for the duration of the block.

    Args:
        kind: ``light`` (service.py) or ``emulator``.
        options: options of ``python -m eechips_local.run_server``.
    """
    program = [str(HERE / "service.py")] if kind == "light" else ["-m", "eechips_local.run_server"]
    # In a session of its own: Ctrl-C in the terminal is for the benchmark. What it says of clients that break
    # connections is of no interest; what keeps it from starting is.
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, *program, "--exit-with-parent", *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
        )  # fmt: skip
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                process.wait()
                errors.seek(0)
                raise RuntimeError(f"the server did not start:\n{errors.read()}")
            server = Server(json.loads(line)["url"], process)
            try:
                yield server
            finally:
                server.session.close()
                process.stdin.close()
                process.wait(30)


# Commands and what they cost


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: exit status; minus the number of the signal that ended it.
        seconds: from its start to its end.
        cpu: seconds of processor time of all its processes.
        orphans: processes that were still there a minute after its end, by what they were started with.
    """

    status: int
    seconds: float
    cpu: float
    orphans: tuple[str, ...] = ()


class Command:
    """A command that is running, in a session of its own. Needs :func:`adopt_orphans`.

    Args:
        arguments: arguments of it.
        log: file for its output.
        environment: variables on top of ours.
    """

    def __init__(self, arguments: Sequence[str | Path], log: Path, environment: dict[str, str] | None = None) -> None:
        self.began = time.monotonic()
        # Our children so far, the servers: whatever comes under us later is the command's.
        self._ours = set(children().get(os.getpid(), []))
        with log.open("a") as output:
            self.process = subprocess.Popen(
                [str(a) for a in arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={**os.environ, **(environment or {})}, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Of its first process."""
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Whether its first process is."""
        state = fields(self.pid)
        return bool(state) and state[0] != "Z"

    def signal(self, number: signal.Signals) -> None:
        """Sends its first process a signal."""
        os.kill(self.pid, number)

    def wait(self, timeout: float = 3600.0, grace: float = 60.0) -> Ended:
        """Waits for its end, and for that of all its processes, which takes a while under load; kills what is left.

        Raises:
            TimeoutError: if it does not end in time; it was killed then.
        """
        deadline = time.monotonic() + timeout
        ended = 0
        while not ended:
            ended, raw, usage = os.wait4(self.pid, os.WNOHANG)
            if not ended and time.monotonic() > deadline:
                self.process.kill()
                os.waitpid(self.pid, 0)
                self._bury(0.0, grace)
                raise TimeoutError(f"the command did not end within {timeout:g} s")
            time.sleep(0 if ended else 0.01)
        seconds = time.monotonic() - self.began
        self.process.returncode = status = os.waitstatus_to_exitcode(raw)
        cpu, orphans = self._bury(usage.ru_utime + usage.ru_stime, grace)
        return Ended(status, seconds, cpu, orphans)

    def _bury(self, cpu: float, grace: float) -> tuple[float, tuple[str, ...]]:
        """Waits for all that the command left behind; what it cost on top, and what did not end by itself."""
        deadline = time.monotonic() + grace
        orphans: dict[int, str] = {}
        while left := self._left():
            if time.monotonic() > deadline and not orphans:
                below = [deeper for pid in left for deeper in descendants(pid)]
                orphans = {pid: command_line(pid) for pid in (*left, *below)}
                for pid in orphans:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            for pid in left:
                ended, _, usage = os.wait4(pid, os.WNOHANG)
                cpu += usage.ru_utime + usage.ru_stime if ended else 0.0
            time.sleep(0.01)
        return cpu, tuple(orphans.values())

    def _left(self) -> set[int]:
        """Our children, the ones waiting to be waited for among them, that were not there before the command."""
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return {pid for pid in pids if parent(pid) == os.getpid()} - self._ours


class Repeated(threading.Thread):
    """Looks at something again and again, in a ``with`` block."""

    def __init__(self, every: float) -> None:
        super().__init__(daemon=True)
        self._every, self._done = every, threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()

    def run(self) -> None:
        while not self._done.wait(self._every):
            self.look()

    def look(self) -> None:
        raise NotImplementedError


class Memory(Repeated):
    """Adds up the proportional set sizes of a command's processes.

    Attributes:
        peak: the greatest sum, in MB.
    """

    def __init__(self, root: int, every: float = 1.0) -> None:
        super().__init__(every)
        self.peak = 0.0
        self._root = root

    def look(self) -> None:
        self.peak = max(self.peak, sum(pss(pid) for pid in (self._root, *descendants(self._root))))


# What a server saw over time


@dataclass(frozen=True)
class Sample:
    """A look at ``/_stats``.

    Attributes:
        time: on the server's clock.
        busy: seconds in flight of all requests together, so far.
        chips: answers with pixels.
        requests: requests of any kind.
        rejected: those that the quota turned away.
        asked: those that ask for a chip: that create a thumbnail, or compute pixels.
    """

    time: float
    busy: float
    chips: int
    requests: int
    rejected: int
    asked: int = 0


def look(server: Server) -> Sample:
    """What a server has seen so far."""
    stats = server.get("_stats")
    return Sample(
        time=stats["time"],
        busy=stats["in_flight"]["busy"],
        chips=sum(stats["answers"].get(kind, {}).get("200", 0) for kind in PIXELS),
        requests=sum(stats["requests"].values()),
        rejected=sum(stats["rejected"].values()),
        asked=sum(stats["requests"].get(kind, 0) for kind in ASKING),
    )


class Watch(Repeated):
    """Looks at a server.

    Attributes:
        samples: what it saw.
    """

    def __init__(self, server: Server, every: float = 0.2) -> None:
        super().__init__(every)
        self.samples = [look(server)]
        self._server = Server(server.url, server.process)  # with a session of this thread's own

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._server.session.close()

    def look(self) -> None:
        self.samples.append(look(self._server))
