"""Search STAC catalogues and download whole files: search, sign, transfer, check.

This package holds everything between a STAC catalogue and a checked file on the disk, without a run around it. Recipes,
manifests and the assembly of results belong to :mod:`eechips.builtin_recipes`; windows of remote rasters to
:mod:`eechips.archive.windows`.
"""
