"""Name the source of a run's data: the service, the demo planet, a folder of assets, or open archives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

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
