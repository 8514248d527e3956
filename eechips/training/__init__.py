"""What makes a run a training set: splits, checks of quality, shards, a card, loading.

Reads a run's manifest and files, running or finished, and asks nobody. What it finds out lies beside the manifest, in
tables of their own, joined by the unit's id:

``splits.parquet`` (see :mod:`eechips.training.split_table`)
    a row per unit with a file: id, split, block; the options and the seed in the file's metadata.
``quality.parquet`` (see :mod:`eechips.training.quality_table`)
    a row per file: id, layer, file, sha256, flags, and what was measured; the options in the file's metadata.
"""
