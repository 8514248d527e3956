"""Ingest rasters and tables as assets."""
