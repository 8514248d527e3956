"""The files of scenes: where one is on its way, and what becomes of a unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips.downloads.address import shown
from eechips.downloads.checks import Promise
from eechips.downloads.partial import PARTIAL, claimed, discard, offer
from eechips.downloads.quarantine import QUARANTINE, quarantine, release
from eechips.downloads.rate import Room
from eechips.downloads.reader import Reader
from eechips.downloads.transfer import Courier, Order
from eechips.engine.context import RunContext
from eechips.engine.recipe_files import ExistingFile
from eechips.errors import PermanentError, QuarantinedError
from eechips.recipe import Unit
from eechips.removal import remove_empty
from eechips.staging import Writer


@dataclass(frozen=True, slots=True)
class SceneDesk:
    """What the threads of a run share.

    Attributes:
        site: of the run.
        folder: of the run.
        reader: of the catalogue's documents.
        courier: transfers.
        room: on the disk.
    """

    site: RunContext
    folder: Path
    reader: Reader
    courier: Courier
    room: Room

    def fetch(self, unit: Unit, identifier: str) -> ExistingFile:
        """Transfers the file of a unit.

        Args:
            unit: of an asset.
            identifier: the first digits of its id.

        Raises:
            QuarantinedError: if it came whole three times, and was wrong each time.
            RequestError: if it does not come.
            StorageError: if it cannot be written.
        """
        with claimed(on_its_way(self.folder, identifier), Writer.parse(self.site.token)) as path:
            return self._fetch(unit, identifier, path)

    def _fetch(self, unit: Unit, identifier: str, path: Path) -> ExistingFile:
        """Transfers the file of a unit to a path that nobody else writes to."""
        promise = Promise.from_json(unit["promise"])
        asset = unit["collection"], unit["item"], unit["asset"]
        order = Order(href=unit["href"], asset=asset, promise=promise, path=path)

        def tell(step: str, **fields: Any) -> None:
            self.site.log.write("scene", id=identifier, step=step, **fields)

        try:
            arrived = self.courier.fetch(order, tell)
        except QuarantinedError as error:
            told = {**told_of(unit), "reason": str(error)}
            kept = quarantine(self.folder, identifier, path, promise.named, told)
            discard(path)
            tell("quarantine", file=kept.name, error=str(error))
            raise
        except PermanentError:
            discard(path)
            raise
        release(self.folder, identifier)
        return ExistingFile(
            temporary=offer(path, self.site.token).relative_to(self.folder).as_posix(),
            suffix=promise.named,
            size=arrived.size,
            sha256=arrived.sha256,
            facts=arrived.facts,
            sources=(f"{unit['collection']}/{unit['item']}" if unit["collection"] else unit["item"],),
            dates=(unit["datetime"],) if unit.get("datetime") else (),
        )


def told_of(unit: Unit) -> Mapping[str, Any]:
    """What a unit is, for people."""
    return {name: unit[name] for name in ("collection", "item", "asset")} | {"href": shown(unit["href"])}


def on_its_way(folder: Path, identifier: str) -> Path:
    """The folder of the files of a unit before one has its name, and until that is in the ledger.

    Args:
        folder: of the run.
        identifier: the first digits of the unit's id.
    """
    return folder / PARTIAL / identifier


def remove_if_empty(folder: Path) -> None:
    """Removes the folders of files on their way and in quarantine, if there are none, once no transfer goes on.

    Args:
        folder: of the run.
    """
    for name in (PARTIAL, QUARANTINE):
        remove_empty(folder / name)
