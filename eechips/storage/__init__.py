"""Store results atomically, in local folders and object stores, and name them.

This package knows nothing of runs. URLs ``s3://…``, ``gs://…``, ``az://…``, and others of fsspec, name an object store.
Endpoints and further settings come from the stores' usual variables and, except for S3, from fsspec's configuration
(https://filesystem-spec.readthedocs.io/en/latest/features.html#configuration).
"""

from eechips.files.local_paths import local_path
from eechips.storage.local_store import LocalStore
from eechips.storage.object_store import ObjectStore, is_address
from eechips.storage.paths import is_inside, make_folder, resolve_inside
from eechips.storage.result_names import (
    ID_LENGTH,
    NameTemplate,
    UniqueNames,
    check_name,
    fold_case,
    name_fields,
    safe_component,
    unit_fields,
)
from eechips.storage.single_files import open_atomic, write_file
from eechips.storage.store import RemoteStore, StagedFile, StoredFile

Store = LocalStore | ObjectStore
"""A store of results."""

StagingArea = Store | RemoteStore
"""A place in which a worker stages results until the parent commits them. Picklable."""

__all__ = [
    "ID_LENGTH",
    "LocalStore",
    "NameTemplate",
    "ObjectStore",
    "RemoteStore",
    "StagedFile",
    "StagingArea",
    "Store",
    "StoredFile",
    "UniqueNames",
    "check_name",
    "fold_case",
    "is_address",
    "is_inside",
    "local_path",
    "make_folder",
    "name_fields",
    "open_atomic",
    "resolve_inside",
    "safe_component",
    "unit_fields",
    "write_file",
]
