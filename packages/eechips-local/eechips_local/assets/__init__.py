"""The asset store: a folder of STAC documents, cloud-optimised GeoTIFFs and GeoParquet files.

``FolderStore`` serves it, ``ingest`` fills it.

::

    catalog.json                              the root
    .index.sqlite                             made from the documents; may be deleted
    .lock                                     one writer at a time
    USDA/catalog.json                         a folder
    USDA/NAIP/DOQQ/collection.json            an image collection: what holds images is one
    USDA/NAIP/DOQQ/m_3008501_ne/item.json     an image, its grids, types and properties
    USDA/NAIP/DOQQ/m_3008501_ne/0f3a….tif     its pixels, named by the digest of the file
    RESOLVE/ECOREGIONS/2017/item.json         a table
    RESOLVE/ECOREGIONS/2017/77b1….parquet     its rows

A name is imported when it is first used: the process that reads a vector file imports two modules of this package, and
would wait longer for the others than for the file.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eechips_local.assets.asset_errors import (
        AssetError,
        AssetExistsError,
        AssetWriteError,
        EmptyTableError,
        IngestError,
        InvalidAssetIdError,
        InvalidStoreError,
        MissingCrsError,
        UnknownAssetError,
        UnreadableFileError,
        UnsafeHrefError,
    )
    from eechips_local.assets.folder_store import AssetSummary, FolderStore
    from eechips_local.assets.ingestion.asset_ingestion import ingest, parse_properties

__all__ = [
    "AssetError",
    "AssetExistsError",
    "AssetSummary",
    "AssetWriteError",
    "EmptyTableError",
    "FolderStore",
    "IngestError",
    "InvalidAssetIdError",
    "InvalidStoreError",
    "MissingCrsError",
    "UnknownAssetError",
    "UnreadableFileError",
    "UnsafeHrefError",
    "ingest",
    "parse_properties",
]

_MODULES = {
    "AssetSummary": "folder_store",
    "FolderStore": "folder_store",
    "ingest": "ingestion.asset_ingestion",
    "parse_properties": "ingestion.asset_ingestion",
}
"""Modules of names that are no errors."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'asset_errors')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
