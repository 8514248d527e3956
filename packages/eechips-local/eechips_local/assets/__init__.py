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
"""

from __future__ import annotations

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
from eechips_local.assets.asset_ingestion import ingest, parse_properties
from eechips_local.assets.folder_store import AssetSummary, FolderStore

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
