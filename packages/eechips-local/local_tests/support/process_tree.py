"""The processes of a run, as Linux's /proc shows them."""

from __future__ import annotations

import os
from pathlib import Path


def _fields(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def children(pid: int) -> list[int]:
    """The children of a process that have not ended."""
    every = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    found = ((each, _fields(each)) for each in every)
    return [each for each, about in found if about and int(about[1]) == pid and about[0] != "Z"]


def descendants(pid: int) -> list[int]:
    """The children of a process, and theirs, that have not ended."""
    return [each for child in children(pid) for each in (child, *descendants(child))]


def is_running(pid: int) -> bool:
    """Return whether a process has not ended."""
    about = _fields(pid)
    return bool(about) and about[0] != "Z"


def processor_seconds(pid: int) -> float:
    """The processor time of a process: `utime` and `stime` of https://man7.org/linux/man-pages/man5/proc.5.html."""
    return sum(map(int, _fields(pid)[11:13])) / os.sysconf("SC_CLK_TCK")


def command_line(pid: int) -> str:
    """The command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def named(pid: int, word: str) -> list[int]:
    """The children of a process whose command lines contain a word."""
    return [each for each in children(pid) if word in command_line(each)]


def kinds(pid: int) -> dict[str, list[int]]:
    """The processes of a run by their kind.

    Args:
        pid: process id of the command.
    """
    servers, found = named(pid, "eechips_local.run_server"), {}
    for place, root in [("", pid), *(("server's ", server) for server in servers)]:
        forks = named(root, "multiprocessing.forkserver")
        found[f"{place}resource tracker"] = named(root, "multiprocessing.resource_tracker")
        found[f"{place}fork server"] = forks
        found[f"{place}workers"] = [worker for fork in forks for worker in children(fork)]
    return {**found, "server": servers}


def pipeline_kinds(pid: int) -> dict[str, list[int]]:
    """The processes of a run with Beam's own runner by their kind.

    Args:
        pid: process id of the command.
    """
    runners = named(pid, "eechips.engine.executors.beam_pipeline")
    shells = [shell for runner in runners for shell in named(runner, "sdk_worker_main")]
    return {"runner": runners, "shells": shells, "workers": [each for shell in shells for each in children(shell)]}
