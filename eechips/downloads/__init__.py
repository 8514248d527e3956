"""Whole scenes by STAC search: asked for, signed for, transferred, checked.

A catalogue's answer (:mod:`~eechips.downloads.search`) is kept (:mod:`~eechips.downloads.answer`); each asset of it is
a unit of an ordinary run. A transfer (:mod:`~eechips.downloads.transfer`) gets its address
(:mod:`~eechips.downloads.signing`) just before it begins, goes on where it was cut
(:mod:`~eechips.downloads.partial`), and counts when the file is what was promised (:mod:`~eechips.downloads.checks`).
"""
