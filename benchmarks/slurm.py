"""A SLURM cluster on this machine, with pretended nodes.

    with cluster(folder, nodes=5) as slurm:
        job = slurm.submit(script, "--array=1-8")

Needs ``slurmctld``, ``slurmd`` and ``munged``, and root: ``apt-get install slurmctld slurmd munge``. Nodes are slurmd
processes with names and ports of their own.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "sinfo")
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_CPUS, _MEGABYTES = 2, 8000  # of a pretended node

_CONFIG = """
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=5
SchedulerParameters=batch_sched_delay=0,sched_interval=1
NodeName=DEFAULT CPUs={cpus} RealMemory={megabytes} State=UNKNOWN
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}]
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing_programs() -> str | None:
    """What this machine lacks for a cluster; None if nothing."""
    if os.geteuid() != 0:
        return "SLURM's daemons need root"
    missing = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    return f"{missing[0]} is not installed: apt-get install slurmctld slurmd munge" if missing else None


@dataclass(frozen=True)
class Task:
    """A job that is running, or a task of a job array.

    Attributes:
        job: id, by which it can be cancelled.
        index: index of the task, from 1; 0 for a job that is no array.
        node: where it runs.
    """

    job: str
    index: int
    node: str


@dataclass(frozen=True)
class Cluster:
    """A cluster that is running.

    Attributes:
        config: its configuration file.
    """

    config: Path

    def command(self, *words: str | Path) -> str:
        """Output of a command of SLURM.

        Raises:
            RuntimeError: if it fails.
        """
        environment = {**os.environ, "SLURM_CONF": str(self.config), "PATH": f"{os.environ['PATH']}:{_PATH}"}
        done = subprocess.run([str(w) for w in words], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{words[0]}: {done.stderr or done.stdout}")
        return done.stdout.strip()

    def submit(self, script: Path, *options: str, arguments: Sequence[str] = ()) -> str:
        """Id of a new job."""
        return self.command("sbatch", "--parsable", *options, script, *arguments).partition(";")[0]

    def tasks(self, job: str, state: str = "RUNNING") -> list[Task]:
        """Tasks of a job array in a state."""
        lines = self.command("squeue", "--noheader", "-r", "-j", job, "-t", state, "-o", "%F %K %N").splitlines()
        return [_task(*words) for words in map(str.split, lines) if len(words) == 3]

    def is_running(self, job: str) -> bool:
        """Whether a job has not ended; one that was forgotten has."""
        with suppress(RuntimeError):
            return bool(self.command("squeue", "--noheader", "-j", job))
        return False

    def kill(self, job: str) -> None:
        """Kill the processes of a job or task, and wait for their end; it is not requeued."""
        with suppress(RuntimeError):  # it has just ended
            self.command("scancel", "--signal=KILL", "--full", job)
            self.command("scancel", job)
        while self.is_running(job):
            time.sleep(0.2)

    def drain(self, node: str) -> None:
        """Start no further jobs on a node."""
        self.command("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=maintenance")


def _task(job: str, index: str, node: str) -> Task:
    # The job id of the last task of an array is that of the array: it does not name the task.
    return Task(f"{job}_{index}", int(index), node) if index.isdigit() else Task(job, 0, node)


@contextmanager
def cluster(folder: Path, nodes: int) -> Iterator[Cluster]:
    """A cluster for the duration of the block.

    Args:
        folder: empty, without spaces in its path.
        nodes: pretended, with two processors each.

    Raises:
        RuntimeError: if a daemon does not start.
    """
    host, ports = socket.gethostname().partition(".")[0], _free_ports(nodes + 1)
    (folder / "state").mkdir()
    munge = folder / "munge"
    munge.mkdir(mode=0o700)
    (munge / "key").write_bytes(os.urandom(1024))
    (munge / "key").chmod(0o600)
    config = folder / "slurm.conf"
    config.write_text(
        _CONFIG.format(
            host=host,
            port=ports,
            folder=folder,
            nodes=nodes,
            first=ports + 1,
            last=ports + nodes,
            cpus=_CPUS,
            megabytes=_MEGABYTES,
        )
    )
    paths = {f"--{name}-file": munge / name for name in ("key", "pid", "log", "seed")}
    words = [f"{option}={path}" for option, path in paths.items()]
    pids: list[Path] = []
    try:
        _start(["munged", "--force", f"--socket={munge / 'socket'}", *words], munge / "pid", pids)
        _start(["slurmctld", "-f", config], folder / "slurmctld.pid", pids)
        for number in range(1, nodes + 1):
            _start(["slurmd", "-N", f"n{number}", "-f", config], folder / f"slurmd.n{number}.pid", pids)
        found = Cluster(config)
        end = time.monotonic() + 60
        while found.command("sinfo", "--noheader", "-h", "-t", "idle", "-o", "%D") != str(nodes):
            if time.monotonic() > end:
                raise RuntimeError(found.command("sinfo", "-R", "-l"))
            time.sleep(0.2)
        yield found
    finally:
        for path in reversed(pids):
            _stop(path)


def _start(words: list[str | Path], pid: Path, pids: list[Path]) -> None:
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:{_PATH}"}
    done = subprocess.run([str(w) for w in words], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{words[0]} did not start: {done.stderr or done.stdout}")
    pids.append(pid)


def _stop(path: Path) -> None:
    with suppress(OSError, ValueError):
        pid = int(path.read_text())
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 15
        while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
            time.sleep(0.1)
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGKILL)


def _free_ports(count: int) -> int:
    """The first of some adjoining ports that are free."""
    for first in range(17_000, 30_000, 100):
        sockets = []
        try:
            for port in range(first, first + count):
                each = socket.socket()
                sockets.append(each)
                each.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()
    raise RuntimeError("no adjoining ports are free")
