"""Executors: processes, threads, a Dask cluster or a Beam pipeline. :mod:`.executor` defines the interface."""
