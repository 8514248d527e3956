"""Keep files to which calls or the script append as they are without an interruption.

A script that is run again receives the results of completed calls again. What it appends to a file after a use of a
pool, and what the calls have appended, would be there twice if these blocks were not known.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from eechips.files.removal import ReservedName, remove
from eechips.manifest.reserved_names import CALLS_FOLDER
from eechips.storage import write_file

_OF_CALLS, _OF_SCRIPT = "appended-by-calls", "appended-by-script"
_BEGUN = "appending.json"
"""In the folder of all calls: number of the last use of a pool, and sizes of files to which the script appends."""


class AppendedFiles:
    """The files to which the calls and the main part of a script append.

    Attributes:
        repeated: files that may have lines of the script twice, as these have changed since an earlier run.
        changed: other files of an earlier run that the script has read or opened, and that have changed since.

    Args:
        out: the run's folder, absolute.
    """

    def __init__(self, out: Path) -> None:
        self.repeated: list[str] = []
        self.changed: list[str] = []
        self._out, self._calls = out, out / CALLS_FOLDER
        self._use: int | None = 0  # 0 until the first use of a pool
        self._begun: dict[str, int] = {}
        self._again: set[int] = {0}
        self._read: dict[str, int] = {}
        self._process, self._lock, self._start = os.getpid(), threading.Lock(), time.time_ns()
        if (self._calls / _BEGUN).is_file():  # the last run was killed
            self._use, self._begun = json.loads((self._calls / _BEGUN).read_bytes())
            self._end_use()
            self._use, self._begun = 0, {}

    def use(self, name: str, mode: str) -> None:
        """Note the size of a file before the script opens it for appending, and the state of one that it reads."""
        path = self._out / name
        with self._lock:
            if os.getpid() != self._process:  # a fork may append, too
                return
            if "a" in mode and name not in self._begun:
                self._begun[name] = _size(path)
                self._note()
            elif name in self._begun and not set(mode) & set("wax") and (block := _read(path, self._begun[name])):
                self._remove_repeats(name, block)
            if not set(mode) & set("wx") and path.is_file() and not path.is_symlink():
                self._read.setdefault(name, path.stat().st_mtime_ns)

    def receive(self, use: int, appended: Sequence[Mapping[str, bytes]], *, is_again: bool) -> None:
        """Write what the calls of a use of a pool have appended; the script receives their results next.

        Additions are put together in the plan's order: where they have been before, or at the end of the file. A header
        that each call has written is kept once.

        Args:
            appended: content that each call has appended, by name of the file.
            is_again: whether the script may have received all results before.
        """
        with self._lock:
            self._end_use()
            for name in dict.fromkeys(name for additions in appended for name in additions):
                folder = self._calls / f"{use:04d}" / _OF_CALLS / name
                self._join(name, folder, [part.get(name, b"") for part in appended])
            self._use, self._begun = use, {name: _size(self._out / name) for name in self._begun}
            self._again |= {use} if is_again else set()
            self._note()

    def finish(self) -> None:
        """Remove from the files what the script has appended again."""
        with self._lock:
            self._end_use()
            for directory, _, files in os.walk(self._calls / _OF_SCRIPT):
                if files:
                    self._remove_repeats(Path(directory).relative_to(self._calls / _OF_SCRIPT).as_posix())
            self.changed = [
                name
                for name, modified in self._read.items()
                if modified < self._start
                and name not in self._begun
                and (self._out / name).is_file()
                and (self._out / name).stat().st_mtime_ns != modified
            ]

    def _end_use(self) -> None:
        """Keep what the script has appended since its beginning, or since the results of the last use of a pool."""
        for name, start in self._begun.items() if self._use is not None else ():
            if block := _read(self._out / name, start):
                _keep(self._calls / _OF_SCRIPT / name, self._use or 0, block)
        self._use = None
        self._note()

    def _note(self) -> None:
        if self._use is not None:
            write_file(self._calls / _BEGUN, json.dumps([self._use, self._begun]).encode(), is_one_of_many=True)
        else:
            remove(self._calls / _BEGUN, ReservedName(CALLS_FOLDER))

    def _join(self, name: str, folder: Path, additions: Sequence[bytes]) -> None:
        content = _read(self._out / name)
        at, old = len(content), b""
        for start, block in _blocks(folder):
            place = start if content.startswith(block, start) else _find(content, block, 0)
            at, old = (place, block) if place >= 0 else (at, old)
        new = _joined(content[:at], additions)
        if new != old:
            _keep(folder, at, new)
            (self._out / name).parent.mkdir(parents=True, exist_ok=True)
            write_file(self._out / name, content[:at] + new + content[at + len(old) :])

    def _remove_repeats(self, name: str, present: bytes = b"") -> None:
        """Leave the first of blocks with the same lines; of others those lines that a later one has not.

        Args:
            present: block that the script has not completed, but reads.
        """
        folder, content = self._calls / _OF_SCRIPT / name, _read(self._out / name)
        kept: list[tuple[int, int, bytes]] = []  # use, place, content
        place, removed = 0, list[tuple[int, int]]()
        for use, block in [*_blocks(folder), *([(self._use or 0, present)] if present else [])]:
            at = _find(content, block, place)
            if at < 0:
                continue
            place = at + len(block)
            earlier = [entry for entry in kept if entry[0] == use] if use in self._again else []
            if any(_has_lines(data, block) for *_, data in earlier):
                removed.append((at, place))
                continue
            for entry in earlier:
                head, newline, body = entry[2].partition(b"\n")
                if _has_lines(block, entry[2]) or _has_lines(block, body):
                    rest = b"" if _has_lines(block, entry[2]) else head + newline
                    removed.append((entry[1] + len(rest), entry[1] + len(entry[2])))
                    kept.remove(entry)
                elif not present:
                    self.repeated.append(name)
            kept.append((use, at, block))
        if removed:
            for path in _files(folder):
                remove(path, ReservedName(CALLS_FOLDER))
            begun = kept.pop()[2] if present and kept and kept[-1][2] is present else b""
            for use, _, block in kept:
                _keep(folder, use, block)
            ends = [0, *(end for part in sorted(removed) for end in part), len(content)]
            content = b"".join(content[start:end] for start, end in zip(ends[::2], ends[1::2], strict=True))
            with (self._out / name).open("r+b") as file:  # a replaced file loses what the script has not flushed yet
                file.write(content)
                file.truncate()
            if present:
                self._begun[name] = len(content) - len(begun)
                self._note()


def _read(path: Path, start: int = 0) -> bytes:
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        file.seek(start)
        return file.read()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _keep(folder: Path, number: int, block: bytes) -> None:
    """Store a block as the last one in a folder, with a number."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / f"{len(_files(folder)):06d}-{number}", block)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*-*"))


def _blocks(folder: Path) -> list[tuple[int, bytes]]:
    """Return the blocks in a folder with their numbers, the oldest first."""
    return [(int(path.name.partition("-")[2]), path.read_bytes()) for path in _files(folder)]


def _find(content: bytes, block: bytes, start: int) -> int:
    """Return the first place of a block's lines, at a place or later; -1 for none."""
    at = content.find(block, start)
    while at > start:
        end = at + len(block)
        begins_line = b"\n" in (content[at - 1 : at], block[:1])
        if begins_line and (end == len(content) or b"\n" in (content[end : end + 1], block[-1:])):
            break
        at = content.find(block, at + 1)
    return at


def _has_lines(block: bytes, other: bytes) -> bool:
    """Return whether a block has the lines of another, each as often."""
    return block == other or (other.endswith(b"\n") and Counter(other.split(b"\n")) <= Counter(block.split(b"\n")))


def _joined(before: bytes, additions: Sequence[bytes]) -> bytes:
    """Join additions to a file, without headers that repeat that of the first or of the content before them."""
    parts = [part for part in (before, *additions) if part]
    heads = {part.partition(b"\n")[0] for part in parts}
    has_headings = len(parts) > 1 and len(heads) == 1 and all(part.count(b"\n") > 1 for part in parts[1:])
    bodies = (part.partition(b"\n")[2] if has_headings and number else part for number, part in enumerate(parts))
    return b"".join(bodies)[len(before) :]
