"""Download whole scenes that a STAC search finds, one file for each asset.

This package holds the recipe of ``eechips scenes``: its options and units, the refresh of its search and the STAC items
of its results. STAC clients, signing and transfers belong to :mod:`eechips.archive.downloads`.
"""
