"""Represent files that a recipe has written and validated itself, so that nothing is left to fetch."""

from __future__ import annotations

from dataclasses import dataclass

from eechips.formats import FileMetadata


@dataclass(frozen=True, slots=True)
class RecipeFile:
    """A file that a recipe has written and validated itself.

    Attributes:
        name: its path below the output folder.
    """

    name: str
    data: bytes
    metadata: FileMetadata


@dataclass(frozen=True, slots=True)
class RecipeFiles:
    """A result: files that a recipe has written itself, perhaps none. The manifest has the metadata of the first."""

    files: tuple[RecipeFile, ...]


@dataclass(frozen=True, slots=True)
class ExistingFile:
    """A result of any size: a file that a recipe has written and validated itself, in the folder of the results.

    Attributes:
        temporary: its present path below that folder.
        suffix: suffix of the name that it gets, without the dot; empty for none.
        size: bytes.
        sha256: SHA-256 digest of its content, hexadecimal.
        sources: ids of its sources.
        dates: ISO 8601.
    """

    temporary: str
    suffix: str
    size: int
    sha256: str
    metadata: FileMetadata
    sources: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
