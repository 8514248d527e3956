"""Change the assets of a folder on behalf of clients: make folders, copy, move, update and remove assets, keep access
policies, enforce quotas of assets and bytes.

Each change holds the store's lock from its checks to its end, so that two clients cannot undo each other's. A process
that is killed leaves an asset as it was or as it is to be. A move that is cut short leaves the asset under both ids
until the next change, or the next start of a server, removes one of them: a journal says which asset was being moved.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eechips_local.assets import stac
from eechips_local.assets.asset_errors import AssetChangeError, AssetExistsError, QuotaExceededError, UnknownAssetError
from eechips_local.assets.asset_names import (
    check_band_ids,
    check_new_id,
    folder_of,
    is_id,
    is_remote,
    is_root,
    root_of,
    split_id,
)
from eechips_local.assets.index_rows import hrefs_of
from eechips_local.assets.ingestion.publish import (
    ContainerPlan,
    check_vacant,
    finish_move,
    is_kept,
    is_known,
    moving,
    policy_href,
    put,
    withdraw,
)
from eechips_local.assets.ingestion.records import AssetRecord, ContainerKind, ContainerRecord, ImageRecord
from eechips_local.assets.store_files import duplicate, locked, remove, size_of, write_json, writing
from eechips_local.assets.store_index import StoreIndex

Properties = Mapping[str, Any]
Update = Callable[[Properties, Sequence[str]], tuple[Properties, Sequence[str]]]
"""Returns new properties and names of bands from the present ones; only images have bands."""


@dataclass(frozen=True, slots=True)
class StorageUsage:
    """What assets take.

    Attributes:
        assets: their number, folders and collections included.
        size: bytes of their files.
    """

    assets: int
    size: int


class AssetChanges:
    """Changes the assets of one folder.

    Args:
        most_bytes: maximum size of the files of a project's or user's assets, or None.
        most_assets: maximum number of assets of a project or user, or None.
        clock: seconds since 1970, for the versions of assets.
    """

    def __init__(
        self,
        root: Path,
        *,
        most_bytes: int | None = None,
        most_assets: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._root = root
        self._most_bytes = most_bytes
        self._most_assets = most_assets
        self._clock = clock

    def usage(self, top: str) -> StorageUsage:
        """Return what the assets below the top folder of a project or user take; nothing if there is none."""
        with closing(StoreIndex(self._root)) as index:
            return self._usage(index, top)

    def create(self, asset_id: str, kind: ContainerKind, properties: Properties) -> None:
        """Make a folder or an image collection.

        Raises:
            InvalidAssetIdError: if the id cannot be one.
            AssetExistsError: if it is taken.
            UnknownAssetError: if the folder above is missing.
            AssetChangeError: if what is above cannot hold it.
        """
        with self._locked() as index:
            self._check_target(index, asset_id)
            self._check_parent(index, asset_id, "IMAGE_COLLECTION" if kind == "collection" else "FOLDER")
            self._check_quota(index, asset_id)
            put(self._root, index, [], {asset_id: ContainerPlan(kind, properties)}, self._version())

    def check_new(self, asset_id: str, kind: str) -> None:
        """Check that an asset may be put where its id says.

        Args:
            asset_id: id of an asset that may be there already.
            kind: type of the asset, as the REST API names it.

        Raises:
            InvalidAssetIdError: if the id cannot be one.
            UnknownAssetError: if the folder above is missing.
            AssetChangeError: if what is above cannot hold it.
        """
        with self._locked() as index:
            check_new_id(asset_id)
            self._check_parent(index, asset_id, kind)
            self._check_quota(index, asset_id)

    def check_room(self, asset_id: str) -> None:
        """Check that an asset may be added, before its files are made.

        Raises:
            QuotaExceededError: if its project or user has no room for another asset.
        """
        with self._locked() as index:
            self._check_quota(index, asset_id)

    def admit(self, index: StoreIndex, records: Sequence[AssetRecord]) -> None:
        """Check that assets may be added, whose files are in place. The caller holds the store's lock.

        Raises:
            QuotaExceededError: if a project or user has no room for them.
        """
        for record in records:
            self._check_quota(index, record.id, size_of(self._root, record.hrefs))

    def recover(self) -> None:
        """Finish, or undo, a move that was cut short."""
        with self._locked():
            pass

    def has(self, asset_id: str) -> bool:
        """Return whether the folder has an asset."""
        with closing(StoreIndex(self._root)) as index:
            return is_known(index, asset_id)

    def policy(self, asset_id: str) -> Mapping[str, Any]:
        """Return the access policy of an asset; without one it is empty."""
        path = self._root / policy_href(asset_id)
        return stac.read_document(path) if path.exists() else {}

    def set_policy(self, asset_id: str, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        """Replace the access policy of an asset.

        Args:
            change: returns the new policy from the present one.

        Raises:
            UnknownAssetError: if there is no such asset.
        """
        with self._locked() as index:
            if not is_known(index, asset_id):
                raise _unknown(asset_id)
            write_json(self._root / policy_href(asset_id), change(self.policy(asset_id)))

    def remove(self, asset_id: str) -> None:
        """Remove an asset. A folder or collection must be empty.

        Raises:
            UnknownAssetError: if there is none.
            AssetChangeError: if something is below it, or it is the top folder of a project.
        """
        with self._locked() as index:
            containers, rows = index.tree(asset_id)
            if not containers and index.asset(asset_id) is None:
                raise _unknown(asset_id)
            if is_root(asset_id) and asset_id.endswith("/assets"):
                raise AssetChangeError(f"Asset '{asset_id}' is the root of a project and cannot be deleted.")
            if len(containers) > 1 or rows:
                raise AssetChangeError(f"Before trying to delete an asset, delete its children: '{asset_id}'.")
            withdraw(self._root, index, asset_id, self._version())

    def update(self, asset_id: str, update: Update) -> None:
        """Change the properties of an asset, and the names of an image's bands.

        Raises:
            UnknownAssetError: if there is none.
            AssetChangeError: if the names of bands do not suit.
        """
        with self._locked() as index:
            container = index.container(asset_id) if is_id(asset_id) else None
            if container is not None:
                properties, _ = update(container.properties, ())
                plan = self._plan(container, properties)
                put(self._root, index, [], {asset_id: plan}, self._version())
                return
            record = self._record(index, self._root, asset_id)
            bands = [band.name for band in record.bands] if isinstance(record, ImageRecord) else []
            properties, names = update(record.properties, bands)
            changed = replace(record, properties=dict(properties), version=self._version(record.version))
            if isinstance(changed, ImageRecord):
                if len(names) != len(bands) or len(set(names)) != len(names) or not all(names):
                    raise AssetChangeError(f"Expected {len(bands)} different names of bands; found {list(names)}.")
                check_band_ids(name for name in names if name not in bands)
                renamed = (replace(band, name=name) for band, name in zip(changed.bands, names, strict=True))
                changed = replace(changed, bands=tuple(renamed))
            put(self._root, index, [changed], {}, changed.version)

    def copy(self, source: str, target: str, *, overwrite: bool, folder: Path) -> None:
        """Copy an image, a table or a classifier.

        Args:
            source: id of the asset.
            target: id of its copy.
            overwrite: whether an asset of that id is replaced.
            folder: asset folder of the source, which may be another one.

        Raises:
            UnknownAssetError: if the source, or the folder of the target, is missing.
            AssetExistsError: if the id is taken.
            AssetChangeError: if the source is a folder or collection.
        """
        with self._locked() as index, closing(StoreIndex(folder)) as others:
            source_index = index if folder == self._root else others
            if source_index.container(source) is not None:
                raise AssetChangeError(
                    f"Asset '{source}' is a folder or collection: only images, tables and classifiers are copied."
                )
            record = self._record(source_index, folder, source)
            self._check_target(index, target, overwrite=overwrite)
            self._check_parent(index, target, _type_of(record))
            self._check_quota(index, target, size_of(folder, record.hrefs))
            with self._files() as added:
                copied = self._relocated(record, folder, target, added)
                put(self._root, index, [copied], {}, copied.version)

    def move(self, source: str, target: str) -> None:
        """Move an asset, with all that is below it.

        Raises:
            UnknownAssetError: if the source, or the folder of the target, is missing.
            AssetExistsError: if the id is taken.
            AssetChangeError: if the asset cannot be moved there.
        """
        with self._locked() as index:
            containers, rows = index.tree(source)
            ids = [row.id for row in rows]
            if not containers:
                ids = [source]
            records = [self._record(index, self._root, asset_id) for asset_id in ids]
            self._check_target(index, target)
            if is_root(source) or target.startswith(f"{source}/"):
                raise AssetChangeError(f"Asset '{source}' cannot be moved to '{target}'.")
            kind = _type_of(containers[0]) if containers else _type_of(records[0])
            self._check_parent(index, target, kind)
            with moving(self._root, source, target), self._files() as added:
                moved = [
                    self._relocated(record, self._root, target + record.id.removeprefix(source), added)
                    for record in records
                ]
                plans = {target + one.id.removeprefix(source): self._plan(one, one.properties) for one in containers}
                for asset_id in [*ids, *(container.id for container in containers)]:
                    policy = self._root / policy_href(asset_id)
                    copied = self._root / policy_href(target + asset_id.removeprefix(source))
                    if policy.exists() and duplicate(policy, copied):
                        added.append(copied)
                put(self._root, index, moved, plans, self._version())
                added.clear()  # they belong to the asset from here on
                withdraw(self._root, index, source, self._version())

    @contextmanager
    def _locked(self) -> Iterator[StoreIndex]:
        with writing(self._root), locked(self._root), closing(StoreIndex(self._root)) as index:
            index.ensure()
            finish_move(self._root, index)
            yield index

    @contextmanager
    def _files(self) -> Iterator[list[Path]]:
        """Hold a list of new files, which are removed if the block fails."""
        added: list[Path] = []
        try:
            yield added
        except BaseException:
            for path in added:
                remove(self._root, path)
            raise

    def _version(self, previous: int = 0) -> int:
        return max(int(self._clock() * 1e6), previous + 1)

    def _plan(self, container: ContainerRecord, properties: Properties) -> ContainerPlan:
        document = stac.read_document(self._root / container.href)
        return ContainerPlan(container.kind, properties, is_kept(document))

    def _check_target(self, index: StoreIndex, asset_id: str, *, overwrite: bool = False) -> None:
        check_new_id(asset_id)
        if index.container(asset_id) is not None or not overwrite:
            check_vacant(index, asset_id)

    def _check_parent(self, index: StoreIndex, asset_id: str, kind: str) -> None:
        """Check that the folder above an asset to be is there. The top folders of projects always are."""
        parent, _ = split_id(asset_id)
        container = index.container(parent) if parent else None
        if container is None and index.asset(parent) is not None:
            raise AssetChangeError(f"Parent of the asset '{asset_id}' is no folder; operation not allowed.")
        if container is None and not is_root(parent) and not is_root(asset_id):
            raise _unknown(parent)
        if container is not None and container.kind == "collection" and kind != "IMAGE":
            raise AssetChangeError(f"Parent of the asset '{asset_id}' is a collection; operation not allowed.")

    def _usage(self, index: StoreIndex, top: str) -> StorageUsage:
        containers, rows = index.tree(top)
        size = size_of(self._root, [href for row in rows for href in hrefs_of(row)])
        return StorageUsage(len(rows) + sum(container.id != top for container in containers), size)

    def _check_quota(self, index: StoreIndex, asset_id: str, size: int = 0) -> None:
        """Check that an asset, and the bytes of its files, may be added.

        The service's message is not documented.
        """
        top = root_of(asset_id)
        if top is None or (self._most_assets is None and self._most_bytes is None):
            return
        is_new = index.container(asset_id) is None and index.asset(asset_id) is None
        used = self._usage(index, top)
        replaced = index.asset(asset_id)
        size -= 0 if replaced is None else size_of(self._root, hrefs_of(replaced))
        if self._most_assets is not None and used.assets + is_new > self._most_assets:
            raise QuotaExceededError(
                f"Asset count quota exceeded: '{top}' has {used.assets} of {self._most_assets} assets. Delete some."
            )
        if self._most_bytes is not None and used.size + size > self._most_bytes:
            raise QuotaExceededError(
                f"Asset storage quota exceeded: '{top}' has {used.size} bytes, {size} are to be added, and at most"
                f" {self._most_bytes} are allowed. Delete assets."
            )

    def _record(self, index: StoreIndex, folder: Path, asset_id: str) -> AssetRecord:
        """Return what an asset's document says.

        Raises:
            UnknownAssetError: if there is no such asset, or it is a folder or collection.
            AssetChangeError: if its document is not where this store puts it.
        """
        if not is_id(asset_id) or index.asset(asset_id) is None:
            raise _unknown(asset_id)
        href = stac.item_href(asset_id)
        if not (folder / href).is_file():
            raise AssetChangeError(
                f"Asset '{asset_id}' has a document that other software has written: ingest it to change it."
            )
        return stac.read_item(stac.read_document(folder / href), split_id(asset_id)[0], folder, href)

    def _relocated(self, record: AssetRecord, folder: Path, asset_id: str, added: list[Path]) -> AssetRecord:
        """Return an asset under another id, with names of its files there."""

        def relocate(href: str) -> str:
            if is_remote(href):
                return href
            new_href = posixpath.join(folder_of(asset_id), posixpath.basename(href))
            if duplicate(folder / href, self._root / new_href):
                added.append(self._root / new_href)
            return new_href

        version = self._version(record.version)
        if not isinstance(record, ImageRecord):
            return replace(record, id=asset_id, version=version, href=relocate(record.href))
        files = tuple(replace(file, href=relocate(file.href)) for file in record.files)
        if len({file.href for file in files}) < len({file.href for file in record.files}):
            raise AssetExistsError(f"Files of '{record.id}' have one name in different folders: ingest it again.")
        return replace(record, id=asset_id, version=version, files=files)


def _unknown(asset_id: str) -> UnknownAssetError:
    return UnknownAssetError(f"Asset '{asset_id}' does not exist or doesn't allow this operation.")


def _type_of(record: AssetRecord | ContainerRecord) -> str:
    if isinstance(record, ContainerRecord):
        return "IMAGE_COLLECTION" if record.kind == "collection" else "FOLDER"
    return record.kind.upper()
