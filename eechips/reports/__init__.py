"""Show a run: HTML report, contact sheet, plots.

This package reads the manifest and the files of a run, and sends no requests. Training sets belong to
:mod:`eechips.training`.
"""
