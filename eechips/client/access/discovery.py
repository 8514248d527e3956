"""Keep the two discovery documents that the Earth Engine client needs for ``ee.Initialize``.

The parent fetches them once; workers read them from a file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from eechips.storage import write_file


@dataclass(frozen=True, slots=True)
class Discovery:
    """The two answers that ``ee.Initialize`` asks for.

    Attributes:
        discovery: the discovery document, JSON.
        algorithms: the list of algorithms, JSON.
    """

    discovery: bytes
    algorithms: bytes

    def save(self, path: Path) -> DiscoveryFile:
        """Write the documents to a file for other processes of the run; it appears whole."""
        content = {"discovery": self.discovery.decode(), "algorithms": self.algorithms.decode()}
        write_file(path, json.dumps(content).encode())
        return DiscoveryFile(path, hashlib.sha256(self.discovery + self.algorithms).hexdigest())


def requested_document(url: str) -> str:
    """Return the name of the document of :class:`Discovery` at a URL; empty for any other URL."""
    path = urlsplit(url).path
    if path.endswith("/$discovery/rest"):
        return "discovery"
    return "algorithms" if path.endswith("/algorithms") else ""


@dataclass(frozen=True, slots=True)
class DiscoveryFile:
    """Discovery documents in a file. Two are equal if the SHA-256 of the documents is equal, in whatever files."""

    path: Path = field(compare=False)
    digest: str

    def load(self) -> Discovery:
        """Read the documents."""
        content = json.loads(self.path.read_text(encoding="utf-8"))
        return Discovery(content["discovery"].encode(), content["algorithms"].encode())


@dataclass(frozen=True, slots=True)
class ClientInit:
    """Parameters with which a process initialises the client without a request."""

    endpoint: str
    project: str
    discovery: DiscoveryFile

    def save(self, path: Path) -> None:
        """Write it to a file; it appears whole."""
        write_file(path, json.dumps(asdict(self), default=str).encode())

    @classmethod
    def load(cls, path: Path) -> ClientInit:
        """Read what :meth:`save` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        discovery = content["discovery"]
        return cls(content["endpoint"], content["project"], DiscoveryFile(Path(discovery["path"]), discovery["digest"]))
