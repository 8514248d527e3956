"""Download the file of a unit, and name the folders of partial and quarantined files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips.archive.downloads.document_reader import DocumentReader
from eechips.archive.downloads.downloader import Downloader, DownloadRequest
from eechips.archive.downloads.expected_file import ExpectedFile
from eechips.archive.downloads.integrity import QUARANTINE, quarantine, release
from eechips.archive.downloads.partial_files import PARTIAL, claim_partial, discard, offer
from eechips.engine.run_context import RunContext
from eechips.errors import PermanentError, QuarantinedError
from eechips.files.removal import remove_empty
from eechips.files.temporary_names import Writer
from eechips.recipe import Unit
from eechips.recipe.results import ExistingFile
from eechips.web.urls import display_url


@dataclass(frozen=True, slots=True)
class SceneContext:
    """Objects that the threads of a run share."""

    run: RunContext
    folder: Path
    reader: DocumentReader
    downloader: Downloader

    def fetch(self, unit: Unit, identifier: str) -> ExistingFile:
        """Download the file of a unit; see :meth:`eechips.archive.scenes.recipe.Scenes.get_result`."""
        expected = ExpectedFile.from_json(unit["expected"])
        asset = unit["collection"], unit["item"], unit["asset"]

        def record(step: str, **fields: Any) -> None:
            self.run.log.write("scene", id=identifier, step=step, **fields)

        with claim_partial(partial_folder(self.folder, identifier), Writer.parse(self.run.token)) as path:
            request = DownloadRequest(href=unit["href"], asset=asset, expected=expected, path=path)
            try:
                downloaded = self.downloader.fetch(request, record)
            except QuarantinedError as error:
                reason = {**describe_unit(unit), "reason": str(error)}
                kept = quarantine(self.folder, identifier, path, expected.local_suffix, reason)
                discard(path)
                record("quarantine", file=kept.name, error=str(error))
                raise
            except PermanentError:
                discard(path)
                raise
            release(self.folder, identifier)
            return ExistingFile(
                temporary=offer(path, self.run.token).relative_to(self.folder).as_posix(),
                suffix=expected.local_suffix,
                size=downloaded.size,
                sha256=downloaded.sha256,
                metadata=downloaded.metadata,
                sources=(f"{unit['collection']}/{unit['item']}" if unit["collection"] else unit["item"],),
                dates=(unit["datetime"],) if unit.get("datetime") else (),
            )


def describe_unit(unit: Unit) -> Mapping[str, Any]:
    """Return the fields that identify a unit for people."""
    return {name: unit[name] for name in ("collection", "item", "asset")} | {"href": display_url(unit["href"])}


def partial_folder(folder: Path, identifier: str) -> Path:
    """Return the folder of a unit's partial files, which stay until the file is in the ledger."""
    return folder / PARTIAL / identifier


def remove_if_empty(folder: Path) -> None:
    """Remove the folders of partial and quarantined files if they are empty; call it when no download is running."""
    for name in (PARTIAL, QUARANTINE):
        remove_empty(folder / name)
