"""The page that a served local Earth Engine shows in a browser: its assets, requests, tasks and a map.

This package makes the page's files; :mod:`eechips_local.protocol.routes.static_files` sends them.
"""
