"""Catalogues of STAC items as image collections: what `eechips catalog` and `eechips catalog ingest` write.

``CatalogStore`` serves one. Each STAC collection is an image collection of its id, each item an image in it.

::

    _schema.json                                    partitions, with what is in each
    collection=sentinel-2-l2a/_collection.json      the collection's description, if it has one
    collection=sentinel-2-l2a/cell=…/year=2020/month=6/items.parquet

A query reads the partitions that can hold a match (``schema``), of these the row groups that can, of these the columns
that select rows (``row_filters``), and of the matching rows the rest on first use (``partition_rows``). Files of
scenes are opened when pixels are needed, or where an item does not describe its bands (``item_rasters``), as far
as they are allowed (``allowed_files``).
"""

from __future__ import annotations

from eechips_local.catalogs.catalog_store import CatalogStore

__all__ = ["CatalogStore"]
