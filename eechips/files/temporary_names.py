"""Name temporary files after the process that writes them, and tell whether that process still runs; word the error of
a file system without locks.

The name of every temporary file and scratch folder has its writer: the run, the machine and boot, the process, and a
random number. :mod:`eechips.files.abandoned_files` decides whether such a file may be removed.

The start time distinguishes a process from a later one with the same number. Boot id, host name and process namespace
distinguish machines, and containers that share a folder and have equal process numbers.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import functools
import hashlib
import os
import re
import secrets
import socket
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

NO_RUN = "0" * 8
"""Replaces the run of a writer without a run."""

RUN_FILES = (".eechips.lock", "manifest.sqlite")
"""Files that mark the folder of a run, a catalogue or a pack: a sweep of a folder above does not enter it."""

SCRATCH_PREFIX = ".scratch-"
"""Prefix of scratch folders. Scratch folders with a fixed name belong to the holder of the parent folder's lock."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = "/proc/self/ns/pid"
_LONGEST_NAME = 255  # bytes of a file name
_TOKEN = re.compile(
    r"(?P<run>[0-9a-f]{8})-(?P<place>[0-9a-f]{12})-(?P<pid>[0-9]{1,10})-(?P<started>[0-9]{1,20})-(?P<number>[0-9a-f]{8})"
)
_TAIL = re.compile(_TOKEN.pattern + r"(?:-[0-9A-Za-z]+)?-(?P<written>[0-9a-f]{1,12})")


@dataclass(frozen=True, slots=True)
class Writer:
    """A writer of temporary files. Its text is the token in their names.

    Attributes:
        run: 8 hexadecimal digits that identify the run, or :data:`NO_RUN`.
        place: digest of the machine, its boot and its namespace of processes.
        pid: number of the process that commits or removes the files.
        started: start time of that process, in the kernel's unit; 0 if unknown.
        number: 8 random hexadecimal digits: a process may execute several runs.
    """

    run: str
    place: str
    pid: int
    started: int
    number: str

    def __str__(self) -> str:
        return f"{self.run}-{self.place}-{self.pid}-{self.started}-{self.number}"

    @classmethod
    def parse(cls, token: str) -> Writer:
        """Parse a token; raise ValueError if it is not the token of a writer."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise ValueError(f"no token of a writer: {token!r}")
        return cls(match["run"], match["place"], int(match["pid"]), int(match["started"]), match["number"])


def new_writer(run: str | None = None) -> Writer:
    """Make a writer of this process; ``run`` identifies the run whose lock is held, if there is one."""
    digest = NO_RUN if run is None else hashlib.sha256(run.encode(errors="surrogateescape")).hexdigest()[: len(NO_RUN)]
    place = _place() or secrets.token_hex(6)
    return Writer(digest, place, os.getpid(), _started(os.getpid()) or 0, secrets.token_hex(4))


def is_running(writer: Writer) -> bool | None:
    """Return whether the process of a writer is running; None if it is not visible from here."""
    if writer.place != _place():
        return None
    try:
        os.kill(writer.pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # running, as another user
        pass
    started = _started(writer.pid)
    if started is None or writer.started == 0:
        return None  # a process has this number, perhaps another one
    return started == writer.started


def temporary_name(name: str, token: str) -> str:
    """Return the temporary name of an incomplete file, in the same folder.

    Args:
        name: the final name; it may have folders.
        token: text of a :class:`Writer`, optionally with ``-`` and a suffix of letters and digits.
    """
    folder, slash, last = name.rpartition("/")
    tail = f".{token}-{_now():x}.part"
    room = _LONGEST_NAME - 1 - len(tail.encode())
    if len(last.encode()) > room:
        digest = hashlib.sha256(last.encode()).hexdigest()[:16]
        last = last.encode()[: room - len(digest) - 1].decode(errors="ignore") + "-" + digest
    return f"{folder}{slash}.{last}{tail}"


def scratch_name(writer: Writer | None = None) -> str:
    """Return a new name of a scratch folder of a writer, or of this process."""
    token = replace(new_writer() if writer is None else writer, number=secrets.token_hex(4))
    return f"{SCRATCH_PREFIX}{token}-{_now():x}"


def _now() -> int:
    """Return the seconds since 1970, before which a wrong clock may be: names have no sign."""
    return max(0, int(time.time()))


def is_temporary(name: str) -> bool:
    """Return whether a name, without folders, is that of a temporary file or a scratch folder."""
    return name.startswith(SCRATCH_PREFIX) or writer_and_time_of(name) is not None


def writer_of(name: str) -> Writer | None:
    """Parse the writer of a temporary file or scratch folder, and its start time; None for other names."""
    parsed = writer_and_time_of(name)
    return None if parsed is None else parsed[0]


def is_numbered_token(name: str) -> bool:
    """Return whether a name is the token of a writer with a number, as of folders of a Beam queue."""
    token, _, number = name.rpartition("-")
    return number.isdecimal() and _TOKEN.fullmatch(token) is not None


def writer_and_time_of(name: str) -> tuple[Writer, float] | None:
    """Parse the writer of a temporary file or scratch folder, and its start time; None for other names."""
    if name.startswith(SCRATCH_PREFIX):
        tail = name[len(SCRATCH_PREFIX) :]
    elif name.startswith(".") and name.endswith(".part"):
        tail = name[: -len(".part")].rpartition(".")[2]
    else:
        return None
    match = _TAIL.fullmatch(tail)
    if match is None:
        return None
    writer = Writer(match["run"], match["place"], int(match["pid"]), int(match["started"]), match["number"])
    return writer, float(int(match["written"], 16))


def boot_id() -> str | None:
    """Return the id of the machine's current boot; None if the system has none.

    Linux has ``/proc/sys/kernel/random/boot_id`` (random(4)), macOS the sysctl ``kern.bootsessionuuid``
    (bsd/kern/kern_sysctl.c of XNU).
    """
    with contextlib.suppress(OSError):
        return _BOOT_ID.read_text(encoding="ascii").strip()
    return _sysctl("kern.bootsessionuuid") if sys.platform == "darwin" else None


def _sysctl(name: str) -> str | None:
    """Return a text from ``sysctl`` of macOS or a BSD; None without one."""
    library = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    if not hasattr(library, "sysctlbyname"):
        return None
    size = ctypes.c_size_t(256)
    buffer = ctypes.create_string_buffer(size.value)
    if library.sysctlbyname(name.encode(), buffer, ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
        return None
    return buffer.value.decode(errors="replace") or None


@functools.cache
def _place() -> str | None:
    """Return a digest of the machine, its boot and its namespace of processes; None if the boot is unknown."""
    boot = boot_id()
    if boot is None:
        return None
    try:
        namespace = os.readlink(_NAMESPACE)  # noqa: PTH115 - its text is no path
    except OSError:
        namespace = ""
    text = "\0".join((boot, socket.gethostname(), namespace))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:12]


def _started(pid: int) -> int | None:
    """Return the start of a process in clock ticks since boot (proc(5)); 0 for a zombie, None if unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:  # it has ended, or is hidden from other users (hidepid, see proc(5))
        return None
    fields = text.rpartition(b")")[2].split()
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])
