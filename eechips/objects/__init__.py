"""Where results go that are objects of a store: ``s3://…``, ``gs://…``, ``az://…``, whatever fsspec knows.

What a store needs to know besides the address, such as an endpoint, fsspec takes from its own configuration
(https://filesystem-spec.readthedocs.io/en/latest/features.html#configuration) and from the store's usual variables.
"""

from eechips.objects.concurrency import parallel_map
from eechips.objects.store import ObjectStore, is_address

__all__ = ["ObjectStore", "is_address", "parallel_map"]
