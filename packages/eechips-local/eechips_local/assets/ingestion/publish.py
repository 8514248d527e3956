"""Put finished assets into a store, or take them out, documents before the index; refuse ids that are taken; decide
which folders become collections.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from dataclasses import replace as replace_record
from pathlib import Path
from typing import Any

from eechips_local.asset_folder import ROOT_DOCUMENT
from eechips_local.assets import stac
from eechips_local.assets.asset_errors import AssetExistsError, AssetWriteError
from eechips_local.assets.asset_names import ancestors, folder_of, is_id, is_remote, is_root, split_id
from eechips_local.assets.index_rows import hrefs_of
from eechips_local.assets.ingestion.records import AssetRecord, ContainerKind, ContainerRecord, ImageRecord
from eechips_local.assets.store_files import StagedDocuments, locked, remove, remove_empty, write_json, writing
from eechips_local.assets.store_index import StoreIndex, stamp_of

_KEPT = "eechips:kept"
_JOURNAL = ".move.json"


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """A folder or collection to be.

    Attributes:
        kind: which of them.
        properties: Earth Engine's.
        is_kept: whether a folder stays one when it gets images. Folders that an ingestion makes become collections.
    """

    kind: ContainerKind
    properties: Mapping[str, Any] = field(default_factory=dict)
    is_kept: bool = True


def create(root: Path) -> None:
    """Make the folder and its root catalogue where they are missing."""
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
        with locked(root):
            document = root / ROOT_DOCUMENT
            if not document.exists():
                write_json(document, stac.container("", "folder", ROOT_DOCUMENT, None, None))


def check_free(index: StoreIndex, asset_ids: Sequence[str], kind: str) -> None:
    """Make sure that new assets would not take the place of another type's.

    Args:
        asset_ids: ids of assets to be.
        kind: kind of their records.

    Raises:
        AssetExistsError: if an id is a folder, a collection or of another kind, or lies below an asset that is none.
    """
    for asset_id in asset_ids:
        container = index.container(asset_id)
        if container is not None:
            raise AssetExistsError(
                f"there is already the {container.kind} {asset_id}: choose another id for the {kind}."
            )
        taken = index.asset(asset_id)
        if taken is not None and taken.kind != kind:
            raise AssetExistsError(f"there is already the {taken.kind} {asset_id}: choose another id for the {kind}.")
    for parent in sorted({parent for asset_id in asset_ids for parent in ancestors(asset_id)[1:]}):
        above = index.asset(parent)
        if above is not None:
            raise AssetExistsError(f"nothing can be put under the {above.kind} {parent}: choose another id.")


Admit = Callable[[StoreIndex, Sequence[AssetRecord]], None]
"""Raises an error if assets may not become part of the store, of which the lock is held."""


def publish(root: Path, records: Sequence[AssetRecord], *, replace: bool = True, admit: Admit | None = None) -> None:
    """Make assets part of the store.

    A reader sees each of them whole, as it was or as it is now. If the system dies on the way, the next reader
    finds the containers changed and rebuilds the index from the documents. Files that replaced
    assets leave behind are removed last.

    Args:
        root: the store's folder.
        records: assets whose files are in place; all of one kind.
        replace: whether assets of the same ids are replaced.
        admit: checks the quota, for instance, against what the store has at that moment.

    Raises:
        AssetExistsError: see ``check_free``; or an id is there already and shall not be replaced.
        AssetError: as ``admit`` raises it.
        AssetWriteError: if a document cannot be written, or another process has removed a file meanwhile.
    """
    with writing(root), locked(root), closing(StoreIndex(root)) as index:
        index.ensure()
        finish_move(root, index)
        if not replace:
            for record in records:
                check_vacant(index, record.id)
        if admit is not None:
            admit(index, records)
        put(root, index, records, {}, max(record.version for record in records))


def check_vacant(index: StoreIndex, asset_id: str) -> None:
    """Check that no asset has an id.

    Raises:
        AssetExistsError: with Earth Engine's message, if one has.
    """
    if index.container(asset_id) is not None or index.asset(asset_id) is not None:
        raise AssetExistsError(f"Cannot overwrite asset '{asset_id}'.")


def put(
    root: Path, index: StoreIndex, records: Sequence[AssetRecord], plans: Mapping[str, ContainerPlan], version: int
) -> None:
    """Put assets and containers into the store, or replace them. The caller holds the store's lock.

    Args:
        root: the store's folder.
        index: index of the store, which is fresh.
        records: assets whose files are in place.
        plans: folders and collections by id.
        version: version of the change, in microseconds since 1970.

    Raises:
        AssetExistsError: see ``check_free``.
        AssetWriteError: if a document cannot be written, or another process has removed a file meanwhile.
    """
    for record in records:
        check_free(index, [record.id], record.kind)
    superseded = _files_to_remove(root, index, records)
    containers = _Containers(root, index, records, plans, version)
    with StagedDocuments() as documents:
        for record in records:
            documents.stage(root / stac.item_href(record.id), stac.item(record, containers.href_above(record.id)))
        containers.stage(documents)
        documents.commit()
    index.update(containers.finish(), records)
    for path in superseded:
        remove(root, path)


def withdraw(root: Path, index: StoreIndex, asset_id: str, version: int) -> None:
    """Take an asset out of the store, with all that is below it. The caller holds the store's lock.

    Its container's document loses its link first: a reader sees all of it, or nothing.

    Args:
        root: the store's folder.
        index: index of the store, which is fresh.
        version: version of the change, in microseconds since 1970.

    Raises:
        AssetWriteError: if its container's document cannot be written.
    """
    containers, rows = index.tree(asset_id)
    own = index.asset(asset_id)
    if own is not None:
        rows.append(own)
    above = index.container(split_id(asset_id)[0])
    assert above is not None
    document = stac.read_document(root / above.href)
    for href in [stac.item_href(asset_id), *(container.href for container in containers[:1])]:
        stac.drop_link(document, above.href, href)
    document["updated"] = stac.time_text(version / 1000)
    write_json(root / above.href, document)
    changed = replace_record(above, stamp=stamp_of(root / above.href))
    removed = [row.id for row in rows] + [container.id for container in reversed(containers)]
    index.update([changed], [], removed)
    for row in rows:
        own_folder = folder_of(row.id)
        files = [href for href in hrefs_of(row) if not is_remote(href) and posixpath.dirname(href) == own_folder]
        _remove_all(root, own_folder, [*files, stac.item_href(row.id)])
    for container in reversed(containers):
        _remove_all(root, folder_of(container.id), [container.href])


@contextmanager
def moving(root: Path, source: str, target: str) -> Iterator[None]:
    """Keep a journal of a move during the block. The caller holds the store's lock.

    Args:
        root: the store's folder.
        source: id of the asset.
        target: its id after the move.
    """
    write_json(root / _JOURNAL, {"source": source, "target": target})
    yield
    remove(root, root / _JOURNAL)


def finish_move(root: Path, index: StoreIndex) -> None:
    """Finish a move that was cut short. The caller holds the store's lock, and has changed nothing yet.

    An asset that is there under its new id loses its former one; any other stays as it is.

    Args:
        root: the store's folder.
        index: index of the store, which is fresh.
    """
    path = root / _JOURNAL
    if not path.exists():
        return
    document = stac.read_document(path)
    source, target = str(document.get("source")), str(document.get("target"))
    if is_known(index, source) and is_known(index, target):
        withdraw(root, index, source, int(time.time() * 1e6))
    remove(root, path)


def is_known(index: StoreIndex, asset_id: str) -> bool:
    """Return whether a store has an asset, a folder or a collection of an id."""
    return is_id(asset_id) and (index.container(asset_id) is not None or index.asset(asset_id) is not None)


def policy_href(asset_id: str) -> str:
    """Return the path of an asset's access policy, relative to the store."""
    return posixpath.join(folder_of(asset_id), "policy.json")


def _remove_all(root: Path, folder: str, hrefs: Sequence[str]) -> None:
    for href in [*hrefs, f"{folder}/policy.json"]:
        remove(root, root / href)
    remove_empty(root / folder)


def discard(root: Path, asset_ids: Iterable[str], hrefs: Sequence[str]) -> None:
    """Remove files of assets that were not published after all, and the folders that are empty then."""
    with locked(root), closing(StoreIndex(root)) as index:
        index.ensure()
        # A file stays that another process has published meanwhile, or that a document names already.
        used = {href for asset_id in asset_ids for href in _files_of(root, index, asset_id)}
        for href in hrefs:
            if href not in used:
                remove(root, root / href)
        for asset_id in asset_ids:
            folder = root / folder_of(asset_id)
            while folder != root and (not folder.exists() or not any(folder.iterdir())):
                if folder.exists():
                    remove_empty(folder)
                folder = folder.parent


class _Containers:
    """The folders and collections above new assets: as they were, and as they are to be.

    Folders that hold images are collections. The root, the top folders of users and projects, and folders that a
    client has made stay folders.
    """

    def __init__(
        self,
        root: Path,
        index: StoreIndex,
        records: Sequence[AssetRecord],
        plans: Mapping[str, ContainerPlan],
        version: int,
    ) -> None:
        self._root = root
        self._records = records
        self._plans = plans
        self._version = version
        ids = [*plans, *(record.id for record in records)]
        names = sorted({*plans, *(name for asset_id in ids for name in ancestors(asset_id))})
        self._known = {name: index.container(name) for name in names}
        holders = {split_id(record.id)[0] for record in records if isinstance(record, ImageRecord)} - {""}
        self._kinds = {name: self._kind(name, name in holders) for name in names}
        self._hrefs = {name: self._href(name) for name in names}

    def href_above(self, asset_id: str) -> str:
        """Return the document of an asset's container, relative to the store."""
        return self._hrefs[split_id(asset_id)[0]]

    def stage(self, documents: StagedDocuments) -> None:
        """Stage all documents, children before parents, so that no link leads nowhere."""
        for name in sorted(self._kinds, key=_depth, reverse=True):
            documents.stage(self._root / self._hrefs[name], self._document(name))

    def finish(self) -> list[ContainerRecord]:
        """Remove documents that others have replaced; return what is in place, parents first."""
        for name, known in self._known.items():
            if known is not None and known.href != self._hrefs[name]:
                remove(self._root, self._root / known.href)
        return [self._record(name) for name in sorted(self._kinds, key=_depth)]

    def _kind(self, name: str, holds_images: bool) -> ContainerKind:
        known = self._known[name]
        if name in self._plans:
            return self._plans[name].kind
        if holds_images and not is_root(name) and not (known is not None and self._is_kept(known)):
            return "collection"
        return known.kind if known else "folder"

    def _is_kept(self, known: ContainerRecord) -> bool:
        return known.kind == "folder" and is_kept(stac.read_document(self._root / known.href))

    def _href(self, name: str) -> str:
        known = self._known[name]
        if known is None:
            return stac.container_href(name, self._kinds[name])
        return known.href if known.kind == self._kinds[name] else stac.sibling_href(known.href, self._kinds[name])

    def _document(self, name: str) -> dict[str, Any]:
        href, known = self._hrefs[name], self._known[name]
        parent = self._hrefs[split_id(name)[0]] if name else None
        previous = stac.read_document(self._root / known.href) if known else None
        document = stac.container(name, self._kinds[name], href, parent, previous)
        children = [child for child in self._kinds if child and split_id(child)[0] == name]
        for child in children:
            replaced = self._known[child]
            if replaced is not None and replaced.href != self._hrefs[child]:
                stac.drop_link(document, href, replaced.href)
        own = [record for record in self._records if split_id(record.id)[0] == name]
        stac.add_links(document, href, "child", [self._hrefs[child] for child in children])
        stac.add_links(document, href, "item", [stac.item_href(record.id) for record in own])
        if self._kinds[name] == "collection" and own:
            stac.widen(document, own)
        if name in self._plans:
            document["eechips:properties"] = dict(self._plans[name].properties)
            document[_KEPT] = self._plans[name].is_kept
        document["updated"] = stac.time_text(self._version / 1000)
        return document

    def _record(self, name: str) -> ContainerRecord:
        path = self._root / self._hrefs[name]
        properties = stac.container_properties(stac.read_document(path))
        return ContainerRecord(name, self._kinds[name], self._hrefs[name], stamp_of(path), properties)


def is_kept(document: Mapping[str, Any]) -> bool:
    """Return whether a folder stays one when it gets images; see ``ContainerPlan``."""
    return bool(document.get(_KEPT))


def _depth(name: str) -> tuple[int, str]:
    return len(ancestors(name)) if name else 0, name


def _files_of(root: Path, index: StoreIndex, asset_id: str) -> list[str]:
    """Return files that the index or the item of an asset names."""
    row = index.asset(asset_id)
    hrefs = [] if row is None else hrefs_of(row)
    href = stac.item_href(asset_id)
    if (root / href).exists():
        hrefs += stac.asset_hrefs(stac.read_document(root / href), root, href)
    return hrefs


def _files_to_remove(root: Path, index: StoreIndex, records: Sequence[AssetRecord]) -> list[Path]:
    """Return files of the versions that new ones replace; those that both use stay."""
    old: set[str] = set()
    new: set[str] = set()
    for record in records:
        new.update(record.hrefs)
        row = index.asset(record.id)
        if row is not None:
            old.update(href for href in hrefs_of(row) if not is_remote(href))
    for href in sorted(href for href in new if not is_remote(href)):
        if not (root / href).is_file():
            raise AssetWriteError(f"{root / href} was removed by another process: ingest again.")
    return [root / href for href in sorted(old - new)]
