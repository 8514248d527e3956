"""Which assets a server answers for: folders of the user's own, and the demo planet below them."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eechips.emulator.model import Asset, AssetStore

PUBLIC = "projects/earthengine-public/assets/"
"""What precedes the ids of the public catalogue in names."""
LEGACY = "projects/earthengine-legacy/assets/"
"""What precedes the ids of users' folders in names."""

# Ids that are names already: those of assets in Cloud projects.
_CLOUD = re.compile(r"projects/[^/]+/assets(/|$)")
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """What to serve.

    Attributes:
        folders: asset folders, the first that has an asset answers.
        demo: whether the demo planet answers for what the folders lack.
        remote: whether images whose files are on web servers are read.
    """

    folders: tuple[Path, ...] = ()
    demo: bool = True
    remote: bool = False


def asset_id(name: str) -> str:
    """The id of an asset's name: public and legacy assets are known without their project."""
    return name.strip("/").removeprefix(PUBLIC).removeprefix(LEGACY)


def asset_name(id: str) -> str:
    """The REST name of an asset's id."""
    if _CLOUD.match(id):
        return id
    return (LEGACY if id.startswith(("users/", "projects/")) else PUBLIC) + id


class Layers:
    """Several stores as one: the first that has an asset answers. Remembers the last few thousand answers."""

    def __init__(self, stores: Iterable[AssetStore]) -> None:
        self._stores = tuple(stores)
        self._known: OrderedDict[str, Asset | None] = OrderedDict()

    def get(self, asset_id_: str) -> Asset | None:
        """The asset of that id, or None."""
        key = asset_id(asset_id_)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        found = next((a for a in (s.get(key) for s in self._stores) if a is not None), None)
        if found is not None:
            self._known[key] = found
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return found

    def children(self, parent: str) -> Iterable[str]:
        """Ids under a folder or collection, of all stores, in order."""
        key = asset_id(parent)
        found: dict[str, None] = {}
        for store in self._stores:
            found.update(dict.fromkeys(store.children(key)))
        return sorted(found)

    def describe(self) -> Mapping[str, Any]:
        """The descriptions of the stores."""
        return {"stores": [dict(store.describe()) for store in self._stores]}


def open_store(config: StoreConfig) -> Layers:
    """Opens what a server is to answer for."""
    stores: list[AssetStore] = []
    if config.folders:
        from eechips.emulator.assets import FolderStore

        stores.extend(FolderStore(folder, remote=config.remote) for folder in config.folders)
    if config.demo:
        from eechips.emulator.demo import DemoStore

        stores.append(DemoStore())
    return Layers(stores)
