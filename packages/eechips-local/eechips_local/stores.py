"""Combine what a server serves: folders, catalogues, archives, demo planet and stubs; ``EECHIPS_DEMO_UNTIL``, hints
about missing assets.
"""

from __future__ import annotations

import os
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from eechips_local.asset_folder import find_fault
from eechips_local.assets.asset_names import asset_id

if TYPE_CHECKING:
    from eechips_local.archives.archive_model import ArchiveDescription, ItemFile
    from eechips_local.archives.archive_store import JoinedArchives
    from eechips_local.catalogs import CatalogStore
    from eechips_local.demo.weather.cloud_regime import CloudRegime
    from eechips_local.evaluation.asset_model import Asset, AssetStore
    from eechips_local.stubs.stub_store import StubStore

_REMEMBERED = 4096
_UNTIL_VARIABLE = "EECHIPS_DEMO_UNTIL"


class StoreError(ValueError):
    """The configuration of what to serve is invalid."""


def demo_end(environment: Mapping[str, str] | None = None) -> date:
    """Return the first day without an image on the demo planet: today (UTC), or the day of ``EECHIPS_DEMO_UNTIL``.

    Args:
        environment: variables; those of the process by default.

    Raises:
        StoreError: if the variable holds no date.
    """
    text = (os.environ if environment is None else environment).get(_UNTIL_VARIABLE)
    if not text:
        return datetime.now(timezone.utc).date()
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise StoreError(f"{_UNTIL_VARIABLE} must be a date like 2025-01-31, not {text!r}") from error


@dataclass(frozen=True, slots=True)
class WritableFolder:
    """The folder whose assets clients may change.

    Attributes:
        most_bytes: maximum size of the files of all assets of a project or user; None for no limit.
        most_assets: maximum number of assets of a project or user, folders and collections included; None for no limit.
    """

    path: Path
    most_bytes: int | None = None
    most_assets: int | None = None


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """The assets to serve.

    Attributes:
        folders: asset folders, in the order in which they are searched.
        demo: whether the demo planet serves assets that the folders lack.
        remote: whether images whose files are on web servers are read; those of catalogues in object stores, too.
        catalogs: folders of STAC items in GeoParquet, behind the asset folders.
        catalog_files: folders whose files the items of catalogues may refer to, besides those that the catalogues'
            folders are in.
        demo_until: the first day without an image on the demo planet. The day on which the configuration is made, or
            the one that the environment variable ``EECHIPS_DEMO_UNTIL`` gives.
        buckets: folder of folders that stand for buckets of Cloud Storage; None reads Cloud Storage if ``remote``.
        demo_datasets: which datasets stubs are served of, behind the demo planet: "all" whose bands are known, or
            also those that the STAC collections in a folder describe; None for no stubs.
        demo_clouds: the sky over scenes of Sentinel-2 and Landsat on the demo planet.
        writable: that of the folders whose assets clients may change; None for none.
        archives: open archives, behind the asset folders and the catalogues, in the order in which they are searched.
        made: when the configuration is made, in seconds since 1970: what is kept of archives' files is used once they
            were asked for their versions after it.
    """

    folders: tuple[Path, ...] = ()
    demo: bool = True
    remote: bool = False
    catalogs: tuple[Path, ...] = ()
    catalog_files: tuple[Path, ...] = ()
    demo_until: date = field(default_factory=demo_end)
    buckets: Path | None = None
    demo_datasets: Path | Literal["all"] | None = None
    demo_clouds: CloudRegime = "climate"
    writable: WritableFolder | None = None
    archives: tuple[ArchiveDescription, ...] = ()
    made: float = field(default_factory=time.time, compare=False)


def check(config: StoreConfig) -> None:
    """Check the folders of assets and of catalogues, before workers are started.

    Raises:
        StoreError: saying which folder is none, or why an archive cannot be served.
    """
    for folder in config.folders:
        if (fault := find_fault(folder)) is not None:
            raise StoreError(fault)
    for folder in config.catalogs:
        if not (folder / "_schema.json").is_file():
            raise StoreError(
                f"{folder} is not a catalogue, it has no _schema.json: `eechips catalog` and `eechips catalog ingest` "
                "make one"
            )
    if config.archives:
        _check_archives(config.archives)


def _check_archives(archives: Iterable[ArchiveDescription]) -> None:
    """Open archives, without a request, to see that their addresses and hosts may be asked."""
    from eechips_local.archives.archive_opening import open_archives
    from eechips_local.protocol.request_errors import EarthEngineError

    try:
        open_archives(archives)
    except EarthEngineError as error:
        raise StoreError(str(error)) from error


class CachedStore:
    """A store that caches the last few thousand assets.

    Args:
        store: whose assets are cached.
        stamp: returns a value for an id that differs once the asset was replaced or removed.
    """

    def __init__(self, store: AssetStore, stamp: Callable[[str], str] = lambda _: "") -> None:
        self._store = store
        self._stamp = stamp
        self._known: OrderedDict[str, tuple[str, Asset]] = OrderedDict()

    def get(self, asset_id: str) -> Asset | None:
        """Return the asset of that id, or None."""
        stamp = self._stamp(asset_id)  # before the asset is read, which may be replaced meanwhile
        known = self._known.get(asset_id)
        if known is not None and known[0] == stamp:
            self._known.move_to_end(asset_id)
            return known[1]
        asset = self._store.get(asset_id)
        self._known.pop(asset_id, None)
        if asset is not None:
            self._known[asset_id] = stamp, asset
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return asset

    def children(self, parent: str) -> Iterable[str]:
        """Return ids under a folder or collection."""
        return self._store.children(parent)

    def describe(self) -> Mapping[str, Any]:
        """Return the description of the store."""
        return self._store.describe()


class ChainedStore:
    """Several stores as one: an asset is taken from the first that has it.

    Args:
        stores: in the order in which they are searched.
        catalogs: those of them that count what they read, and may change meanwhile.
        archives: that of them which counts what it takes from open archives; None for none.
        hint: returns a hint at similar assets of the last store.
    """

    def __init__(
        self,
        stores: Iterable[AssetStore],
        catalogs: Iterable[CatalogStore] = (),
        archives: JoinedArchives | None = None,
        hint: Callable[[str], str] | None = None,
    ) -> None:
        self._archives = archives
        self._stores = tuple(stores)
        self._catalogs = tuple(catalogs)
        self._hint = hint

    def begin(self) -> None:
        """Begin a request: its response describes one state of the catalogues."""
        for store in self._catalogs:
            store.begin()

    def get(self, asset_id_: str) -> Asset | None:
        """Return the asset of that id, or None."""
        key = asset_id(asset_id_)
        return next((a for a in (s.get(key) for s in self._stores) if a is not None), None)

    def hint(self, asset_id_: str) -> str:
        """Return a hint for a request of a missing asset. Earth Engine itself gives none."""
        if self._hint is None:
            return (
                "This local Earth Engine serves assets of your own, without the demo planet; "
                "`eechips-local serve --demo --assets DIR` serves both."
            )
        return self._hint(asset_id(asset_id_))

    def take_reads(self) -> Counter[str]:
        """Return counts of reads of catalogues and of archives since the last call, and reset them."""
        read_counts: Counter[str] = Counter() if self._archives is None else self._archives.take_reads()
        for store in self._catalogs:
            read_counts.update(store.reads.take())
        return read_counts

    def children(self, parent: str) -> Iterable[str]:
        """Return ids under a folder or collection, of all stores, in order."""
        key = asset_id(parent)
        child_ids: dict[str, None] = {}
        for store in self._stores:
            child_ids.update(dict.fromkeys(store.children(key)))
        return sorted(child_ids)

    def files(self, asset_id_: str, bands: tuple[str, ...] = ()) -> tuple[ItemFile, ...] | None:
        """Return the files from which an image of an open archive is read; None for other assets.

        Raises:
            ArchiveError: if the archive does not answer.
        """
        from eechips_local.archives.archive_model import ArchiveFiles

        key = asset_id(asset_id_)
        store = next((s for s in self._stores if s.get(key) is not None), None)
        return store.files(key, bands) if isinstance(store, ArchiveFiles) else None

    def archives(self) -> list[dict[str, Any]]:
        """Return the open archives, with the terms of the datasets that are served of them and what differs, as JSON.

        Raises:
            ArchiveError: if an archive that is not known does not answer.
        """
        joined = self._archives
        if joined is None:
            return []  # without the import, which takes longer than other requests of a run
        from eechips_local.archives.archive_summary import describe_archive

        described_archives = []
        earlier = self._stores[: self._stores.index(joined)]
        for store in joined.stores:  # a dataset of an earlier store is not the archive's
            records = {name: record for name, record in store.records.items() if not any(s.get(name) for s in earlier)}
            described_archives.append(describe_archive(store.description, records))
        return described_archives

    def describe(self) -> Mapping[str, Any]:
        """Return the descriptions of the stores."""
        return {"stores": [dict(store.describe()) for store in self._stores]}


def open_store(config: StoreConfig, patience: float) -> ChainedStore:
    """Open the stores of a server.

    Args:
        config: what.
        patience: seconds to wait for files of catalogues that are being put in place.
    """
    stores: list[AssetStore] = []
    catalogs: list[CatalogStore] = []
    if config.folders:
        from eechips_local.assets import FolderStore

        for folder in config.folders:
            folder_store = FolderStore(folder, remote=config.remote)
            stores.append(CachedStore(folder_store, folder_store.stamp))
    if config.catalogs:
        from eechips_local.catalogs import CatalogStore

        catalogs.extend(
            CatalogStore(path, folders=config.catalog_files, remote=config.remote, patience=patience)
            for path in config.catalogs
        )
        stores.extend(catalogs)
    archives: JoinedArchives | None = None
    if config.archives:
        from eechips_local.archives.archive_opening import open_archives

        archives = open_archives(config.archives, config.made)
        stores.append(archives)
    hint: Callable[[str], str] | None = None
    if config.demo:
        from eechips_local.demo import DemoStore

        stores.append(CachedStore(DemoStore(config.demo_until, config.demo_clouds)))
        if config.demo_datasets is not None:
            stores.append(CachedStore(_stubs(config)))
        hint = partial(_missing_hint, config)
    if config.archives:
        hint = partial(_archive_hint, config)
    return ChainedStore(stores, catalogs, archives, hint)


def _archive_hint(config: StoreConfig, id: str) -> str:
    """Return the hint for a request of an asset that the archives do not have."""
    from eechips_local.archives.archive_hint import archive_hint
    from eechips_local.demo import DemoStore

    return archive_hint(id, config.archives, DemoStore(config.demo_until).ids(), is_demo=config.demo)


def _stubs(config: StoreConfig) -> StubStore:
    """Return the stubs that are served, or could be."""
    from eechips_local.demo import DemoStore
    from eechips_local.stubs.stub_store import StubStore, open_sources

    folder = config.demo_datasets if isinstance(config.demo_datasets, Path) else None
    return StubStore(open_sources(folder), config.demo_until, DemoStore(config.demo_until).ids)


def _missing_hint(config: StoreConfig, id: str) -> str:
    """Return the hint for a request of an asset that neither the demo planet nor the stubs have."""
    from eechips_local.stubs.missing_asset import missing_asset_hint

    return missing_asset_hint(id, _stubs(config), is_served=config.demo_datasets is not None)
