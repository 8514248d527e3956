"""Turn a run into a training set: splits, quality checks, shards, a data card, loading.

Here belongs what reads the manifest and files of a run, in progress or finished, and sends no requests. Results are
tables beside the manifest, joined by the unit's id:

``splits.parquet`` (see :mod:`eechips.training.splits.split_table`)
    a row per unit with a file: id, split, block; the options and the seed in the file's metadata.
``quality.parquet`` (see :mod:`eechips.training.quality.quality_table`)
    a row per file: id, layer, file, sha256, flags, and what was measured; the options in the file's metadata.
"""
