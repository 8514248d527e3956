"""Represent files that a recipe has written and validated itself, so that nothing is left to fetch."""

from __future__ import annotations

from dataclasses import dataclass

from eechips.writers import Facts


@dataclass(frozen=True, slots=True)
class RecipeFile:
    """A file that a recipe has written and validated itself.

    Attributes:
        name: that it is to have below the output folder.
        data: its content.
        facts: what it holds.
    """

    name: str
    data: bytes
    facts: Facts


@dataclass(frozen=True, slots=True)
class RecipeFiles:
    """A result: files that a recipe has written itself, perhaps none.

    Attributes:
        files: the first is the one whose facts are recorded.
    """

    files: tuple[RecipeFile, ...]


@dataclass(frozen=True, slots=True)
class ExistingFile:
    """A result of any size: a file that a recipe has written and validated itself, in the folder of the results.

    Attributes:
        temporary: its present path below that folder.
        suffix: of the name that it gets, without the dot; empty for none.
        size: bytes.
        sha256: of its content, hexadecimal.
        facts: what it holds.
        sources: ids of what it was made from.
        dates: ISO 8601.
    """

    temporary: str
    suffix: str
    size: int
    sha256: str
    facts: Facts
    sources: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
