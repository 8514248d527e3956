"""What the Earth Engine client is told when it is initialised: fetched once by the parent, handed to workers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Documents:
    """The two answers that ``ee.Initialize`` asks for.

    Attributes:
        discovery: the discovery document, JSON.
        algorithms: the list of algorithms, JSON.
    """

    discovery: bytes
    algorithms: bytes

    def save(self, path: Path) -> DocumentsFile:
        """Writes the documents to a file for other processes of the run."""
        content = {"discovery": self.discovery.decode(), "algorithms": self.algorithms.decode()}
        path.write_text(json.dumps(content), encoding="utf-8")
        return DocumentsFile(path, hashlib.sha256(self.discovery + self.algorithms).hexdigest())


@dataclass(frozen=True, slots=True)
class DocumentsFile:
    """Documents in a file. Equal if the documents are, wherever the file is.

    Attributes:
        path: the file.
        digest: sha256 of the documents.
    """

    path: Path = field(compare=False)
    digest: str

    def load(self) -> Documents:
        """Reads the documents."""
        content = json.loads(self.path.read_text(encoding="utf-8"))
        return Documents(content["discovery"].encode(), content["algorithms"].encode())
