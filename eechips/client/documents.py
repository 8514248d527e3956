"""What the Earth Engine client is told when it is initialised: fetched once by the parent, handed to workers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from eechips.storage import write_file


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
        """Writes the documents to a file for other processes of the run; it appears whole."""
        content = {"discovery": self.discovery.decode(), "algorithms": self.algorithms.decode()}
        write_file(path, json.dumps(content).encode())
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


@dataclass(frozen=True, slots=True)
class Briefing:
    """What a process must know to initialise the client without a request.

    Attributes:
        endpoint: base URL of the service.
        project: whose quota is used.
        documents: what the client is told when it is initialised.
    """

    endpoint: str
    project: str
    documents: DocumentsFile

    def save(self, path: Path) -> None:
        """Writes it to a file; it appears whole."""
        documents = {"path": str(self.documents.path), "digest": self.documents.digest}
        content = {"endpoint": self.endpoint, "project": self.project, "documents": documents}
        write_file(path, json.dumps(content).encode())

    @classmethod
    def load(cls, path: Path) -> Briefing:
        """Reads what :meth:`save` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        documents = content["documents"]
        return cls(content["endpoint"], content["project"], DocumentsFile(Path(documents["path"]), documents["digest"]))
