"""Where results go that are objects of a store: ``s3://…``, ``gs://…``, ``az://…``, whatever fsspec knows.

What a store needs to know besides the address, such as an endpoint, fsspec takes from its own configuration
(https://filesystem-spec.readthedocs.io/en/latest/features.html#configuration) and from the store's usual variables.
"""

from eechips.objects.crew import in_order
from eechips.objects.store import ObjectStore, is_address

__all__ = ["ObjectStore", "in_order", "is_address"]
