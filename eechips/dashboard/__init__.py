"""The page that ``eechips serve`` shows in a browser: its assets, requests, tasks and a map.

This package makes the page's files. The server that sends them, and answers the page's requests, is
:mod:`eechips_local`. The report of a run belongs to :mod:`eechips.reports`; the page shares its styles and scripts.
"""
