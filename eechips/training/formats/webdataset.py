"""Write WebDataset: tar files with the unchanged files of a sample next to each other.

A sample's files are named ``<id>.<layer>.<suffix>``, or ``<id>.<suffix>`` if it has one, and ``<id>.json`` is its
metadata (https://github.com/webdataset/webdataset, "The WebDataset Format"). Its label, its stratum, is
``<id>.cls`` if that is a whole number, which readers decode as one, and else ``<id>.txt``. The same samples make the
same bytes: members have no time, owner or rights of their own.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from eechips.errors import UsageError
from eechips.storage import safe_component
from eechips.training.packs.shard_index import FileContent, PackEntry, PackLayout, Shard
from eechips.training.sample import UNNAMED, suffix_of

SUFFIX = ".tar"
IS_DECODED = False
CLOSING = frozenset[str]()

_BLOCK = 512
_HEADERS = 3 * _BLOCK  # of a member; its own, and two more if its name is longer than 100 bytes
_METADATA = "json"
_CLASS, _TEXT = "cls", "txt"
_MOST_LABEL = 4 * _BLOCK  # bytes of a label
_RIGHTS = 0o644


def weight(sizes: Sequence[int], metadata: int) -> int:
    """Return the maximum bytes of a sample."""
    return sum(_HEADERS + -(-size // _BLOCK) * _BLOCK for size in (*sizes, metadata, _MOST_LABEL))


def write(folder: Path, shard: Shard, layout: PackLayout, entries: Iterable[PackEntry]) -> None:
    """Write a shard.

    Raises:
        UsageError: if two layers cannot be told apart: readers see their names in lower case.
    """
    _check_names(layout)
    with tarfile.open(folder / f"{shard.stem}{SUFFIX}", mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            contents = {layer: content for layer, content in entry.layers.items() if isinstance(content, FileContent)}
            extensions = _extensions({layer: content.suffix for layer, content in contents.items()})
            for layer, content in contents.items():
                _add(tar, f"{entry.id}.{extensions[layer]}", content.data)
            if (label := _label(entry)) is not None and label[0] not in extensions.values():
                _add(tar, f"{entry.id}.{label[0]}", label[1])
            _add(tar, f"{entry.id}.{_METADATA}", entry.metadata.encode())


def ids(folder: Path, shard: Shard) -> list[str]:
    """Return the ids of the samples in a shard."""
    with tarfile.open(folder / f"{shard.stem}{SUFFIX}", mode="r:") as tar:
        names = (member.name.partition(".") for member in tar)
        return [identifier for identifier, _, extension in names if extension == _METADATA]


def read(folder: Path, shard: Shard) -> Iterator[PackEntry]:
    """Yield the samples of a shard.

    Raises:
        ValueError: if a member is no plain file: one with holes can claim any size.
    """
    files: dict[str, bytes] = {}
    with tarfile.open(folder / f"{shard.stem}{SUFFIX}", mode="r:") as tar:
        for member in tar:
            identifier, _, extension = member.name.partition(".")
            if not member.isreg() or member.issparse():
                raise ValueError(f"{member.name:.100} is no plain file")
            source = tar.extractfile(member)
            files[extension] = source.read() if source is not None else b""
            if extension != _METADATA:
                continue
            metadata = files.pop(_METADATA).decode()
            layers: dict[str, FileContent] = {}
            entry = PackEntry(identifier, metadata, layers)
            suffixes = {layer: suffix_of(facts["file"]) for layer, facts in entry.parsed_metadata["layers"].items()}
            layers |= {n: FileContent(suffixes[n], files[e]) for n, e in _extensions(suffixes).items()}
            yield entry
            files = {}


def _extensions(suffixes: Mapping[str, str]) -> dict[str, str]:
    """Return the extensions of a sample's files, after its id."""
    if len(suffixes) == 1:
        [(layer, suffix)] = suffixes.items()
        if layer in UNNAMED and suffix not in ("", _METADATA):
            return {layer: suffix}
    return {layer: f"{safe_component(layer)}.{suffix}".rstrip(".") for layer, suffix in suffixes.items()}


def _label(entry: PackEntry) -> tuple[str, bytes] | None:
    """Return extension and content of a sample's label; None if it has no stratum."""
    stratum = entry.parsed_metadata.get("stratum")
    if stratum is None:
        return None
    is_class = isinstance(stratum, int) or (isinstance(stratum, float) and stratum.is_integer())
    text = str(int(stratum)) if is_class else str(stratum)
    return (_CLASS if is_class else _TEXT), text.encode()[:_MOST_LABEL]


def _check_names(layout: PackLayout) -> None:
    seen: dict[str, str] = {}
    for layer in layout:
        other = seen.setdefault(safe_component(layer).lower(), layer)
        if other != layer:
            raise UsageError(
                f"readers of WebDataset cannot distinguish the layers {other} and {layer}: rename one of them"
            )


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), _RIGHTS
    tar.addfile(member, io.BytesIO(data))
