"""Store results as objects: ``s3://…``, ``gs://…``, ``az://…``, or any other file system of fsspec.

This package holds the object store and its backends, and no knowledge of runs; local folders and the names of results
belong to :mod:`eechips.storage`. Endpoints and the like come from fsspec's configuration
(https://filesystem-spec.readthedocs.io/en/latest/features.html#configuration) and from the stores' usual variables.
"""

from eechips.objects.concurrency import parallel_map
from eechips.objects.store import ObjectStore, is_address

__all__ = ["ObjectStore", "is_address", "parallel_map"]
