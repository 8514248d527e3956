"""The recipes of ``eechips timeseries``, ``points`` and ``features``: tables."""
