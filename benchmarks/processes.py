"""Processes as Linux's /proc shows them: who is under whom, and what they cost."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, linux/prctl.h
_TICKS = os.sysconf("SC_CLK_TCK")


def fields(pid: int) -> list[str]:
    """The fields of a process's status from the third on; none if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def cpu_of(pid: int) -> float:
    """Seconds of processor time of a process, and of children that it has waited for."""
    found = fields(pid)
    return sum(int(n) for n in found[11:15]) / _TICKS if found else 0.0


def own_cpu_of(pid: int) -> float:
    """Seconds of processor time of a process, without its children."""
    found = fields(pid)
    return sum(int(n) for n in found[11:13]) / _TICKS if found else 0.0


def children() -> dict[int, list[int]]:
    """The children of every process; those that have ended and were not waited for are left out."""
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        about = fields(int(entry.name)) if entry.name.isdigit() else []
        if about and about[0] != "Z":
            found.setdefault(int(about[1]), []).append(int(entry.name))
    return found


def descendants(root: int) -> list[int]:
    """The processes under one."""
    below, found = children(), []
    waiting = [root]
    while waiting:
        here = below.get(waiting.pop(), [])
        found += here
        waiting += here
    return found


def command_line(pid: int) -> str:
    """What a process was started with; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def workers(root: int) -> list[int]:
    """The worker processes under a run: those without children that are no helpers of multiprocessing."""
    below, found = children(), []
    waiting = [(root, 0)]
    while waiting:
        pid, depth = waiting.pop()
        here = below.get(pid, [])
        waiting += [(child, depth + 1) for child in here]
        line = command_line(pid)
        helper = "resource_tracker" in line or ("forkserver" in line and depth == 1)
        if depth and not here and not helper:
            found.append(pid)
    return found


def adopt_orphans() -> None:
    """Makes this process the parent of processes under it whose own parent ends: none is lost from sight."""
    if ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def parent(pid: int) -> int:
    """The parent of a process; 0 if it has ended."""
    about = fields(pid)
    return int(about[1]) if about else 0


def pss(pid: int) -> float:
    """Proportional set size in MB; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0  # it has just ended
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))
