"""Carry exports between the server and the processes that compute them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eechips_local.exports.destinations import AssetDestination
from eechips_local.exports.tasks import TaskResult


@dataclass(frozen=True, slots=True)
class ExportJob:
    """What a process computes.

    Attributes:
        method: key of ``tasks.TYPES``.
        content: the request's body.
        folder: empty folder that takes the files.
        asset: asset that is made of the files; None for exports of files.
    """

    method: str
    content: bytes
    folder: Path
    asset: AssetDestination | None


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A finished file that waits to get its name.

    Attributes:
        staged: its name in the job's folder.
        part: coordinates or number in its final name; None where it is the only one.
        ending: ending of its final name, with the dot.
    """

    staged: str
    part: str | None
    ending: str


@dataclass(frozen=True, slots=True)
class ExportOutcome:
    """What a process has computed.

    Attributes:
        files: none for an asset, which is in place.
        result: result of the attempt.
    """

    files: tuple[ExportedFile, ...]
    result: TaskResult
