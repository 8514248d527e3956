"""Catalogues: STAC items as GeoParquet, in Hive-style partitions that query engines read directly.

A catalogue is a folder::

    _schema.json                            what the partitions are, what is in them, statistics and columns
    collection=sample-naip/
      _collection.json                      the STAC collection
      cell=822687fffffffff/year=2020/month=6/items.parquet
      cell=global/…                         items over more cells than the layout allows

Items come from runs (:mod:`eechips.catalogs.build`) and from lists (:mod:`eechips.catalogs.ingest`). They are written
as sorted runs of rows (shards), compared with what the catalogue has (merge), and all files that this changes are put
in place at once (commit). An item is stored once, under the cell of its middle; which partitions can hold a match is
known from what their items really cover, so that no query depends on how a grid's cells are shaped.
"""
