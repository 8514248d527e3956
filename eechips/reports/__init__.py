"""Show a run: HTML report, contact sheet, plots.

Here belongs what reads the manifest and files of a run and sends no requests. Training sets are made in
:mod:`eechips.training`."""
