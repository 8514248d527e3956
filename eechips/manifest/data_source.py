"""Name the source of a run's data (service, demo planet, assets, open archives), and count requests to open archives
and their bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips.text.formatting import format_bytes, format_count

DEMO_SOURCE = "local:demo"
_FOLDER, _ARCHIVE, _AND = "local:", "archive:", " + "
_PARTS = re.compile(rf"{re.escape(_AND)}(?={_FOLDER}|{_ARCHIVE})")


@dataclass(frozen=True, slots=True)
class DataSource:
    """The source of a run's data. Results of different sources never share a folder.

    Attributes:
        service: base URL of the service; empty for a local Earth Engine, and for a run without a service.
        folder: folder of the assets, or of the catalogue, that a local Earth Engine serves; None for none.
        archives: open archives that a local Earth Engine reads: names, addresses of APIs, and paths.
    """

    service: str = ""
    folder: Path | None = None
    archives: tuple[str, ...] = ()
    is_demo: bool = False

    @classmethod
    def parse(cls, text: str) -> DataSource:
        """Read a source as ledgers, run.json and lockfiles have it."""
        if text == DEMO_SOURCE:
            return cls(is_demo=True)
        if not text.startswith((_FOLDER, _ARCHIVE)):
            return cls(service=text)
        parts = _PARTS.split(text)
        folders = [part.removeprefix(_FOLDER) for part in parts if part.startswith(_FOLDER)]
        archives = tuple(part.removeprefix(_ARCHIVE) for part in parts if part.startswith(_ARCHIVE))
        return cls(folder=Path(folders[0]) if folders else None, archives=archives)

    @property
    def is_local(self) -> bool:
        """Whether a local Earth Engine is started for it."""
        return self.is_demo or self.folder is not None or bool(self.archives)

    def __str__(self) -> str:
        if self.is_demo:
            return DEMO_SOURCE
        folder = [] if self.folder is None else [f"{_FOLDER}{self.folder}"]
        return _AND.join([*(f"{_ARCHIVE}{name}" for name in self.archives), *folder]) or self.service

    def describe(self) -> str:
        """Return what it is, for people: "the open archive earth-search"."""
        if self.is_demo:
            return "the local Earth Engine's demo planet"
        if self.archives:
            noun = "the open archive" if len(self.archives) == 1 else "the open archives"
            # Of a path, the name of the file.
            names = [name if "://" in name else name.rpartition("/")[2] for name in self.archives]
            folder = " and local files" if self.folder is not None else ""
            return f"{noun} {', '.join(names)}{folder}"
        return "a local Earth Engine" if self.folder is not None else self.service


TRAFFIC = "archive_traffic"
"""In the ledger and in run.json: requests of a run to open archives, and the bytes received."""


@dataclass(frozen=True, slots=True)
class ArchiveTraffic:
    """Requests that were sent to open archives: of searches, of tokens, and for parts of files.

    Attributes:
        requests: number of requests, repeated ones too.
        bytes: bytes of their responses.
        used: bytes of blocks by the shares of their pixels that were used.
    """

    requests: int = 0
    bytes: int = 0
    used: int = 0

    @classmethod
    def from_json(cls, value: Any) -> ArchiveTraffic:
        """Return what ``dataclasses.asdict`` has made JSON of; none for anything else."""
        if not isinstance(value, Mapping):
            return cls()
        numbers = (value.get(name) for name in ("requests", "bytes", "used"))
        return cls(*(number if isinstance(number, int) else 0 for number in numbers))

    def __add__(self, other: ArchiveTraffic) -> ArchiveTraffic:
        return ArchiveTraffic(self.requests + other.requests, self.bytes + other.bytes, self.used + other.used)

    def __sub__(self, other: ArchiveTraffic) -> ArchiveTraffic:
        return ArchiveTraffic(self.requests - other.requests, self.bytes - other.bytes, self.used - other.used)

    def describe(self) -> str:
        """Return it as a text: "132 requests, 4.5 MB"."""
        return f"{format_count(self.requests, 'request')}, {format_bytes(self.bytes)}"
