"""Build, update and read catalogues: STAC items as GeoParquet, in Hive-style partitions for query engines.

This package holds the layout of catalogues, the ingestion of items from runs
(:mod:`eechips.archive.catalogs.run_catalogue`) and lists (:mod:`eechips.archive.catalogs.ingestion.ingest`), and
queries. Searches of remote STAC catalogues and downloads of assets belong to :mod:`eechips.archive.downloads`; HTTP
serving of a catalogue to the local server.

A catalogue is a folder::

    _schema.json                            layout, partitions, statistics and columns
    collection=sample-naip/
      _collection.json                      the STAC collection
      cell=822687fffffffff/year=2020/month=6/items.parquet
      cell=global/…                         items that meet more cells than the layout allows

Items are written as sorted runs of rows, merged with the rows of the catalogue, and all changed files are committed at
once. An item is stored once, under the cell of its centre. A query selects partitions by the extents of their items,
not by the shapes of cells.
"""
