"""Store results atomically, in local folders and object stores, and name them.

This package knows nothing of runs. URLs ``s3://…``, ``gs://…``, ``az://…``, and others of fsspec, name an object store.
Endpoints and further settings come from the stores' usual variables and, except for S3, from fsspec's configuration
(https://filesystem-spec.readthedocs.io/en/latest/features.html#configuration).
"""

from eechips.files.local_paths import local_path as local_path
from eechips.storage.local_store import LocalStore as LocalStore
from eechips.storage.object_store import ObjectStore as ObjectStore
from eechips.storage.object_store import is_address as is_address
from eechips.storage.paths import is_inside as is_inside
from eechips.storage.paths import make_folder as make_folder
from eechips.storage.paths import resolve_inside as resolve_inside
from eechips.storage.result_names import ID_LENGTH as ID_LENGTH
from eechips.storage.result_names import NameTemplate as NameTemplate
from eechips.storage.result_names import UniqueNames as UniqueNames
from eechips.storage.result_names import check_name as check_name
from eechips.storage.result_names import fold_case as fold_case
from eechips.storage.result_names import name_fields as name_fields
from eechips.storage.result_names import safe_component as safe_component
from eechips.storage.result_names import unit_fields as unit_fields
from eechips.storage.single_files import atomic_path as atomic_path
from eechips.storage.single_files import open_atomic as open_atomic
from eechips.storage.single_files import write_file as write_file
from eechips.storage.store import RemoteStore as RemoteStore
from eechips.storage.store import StagedFile as StagedFile
from eechips.storage.store import StoredFile as StoredFile

Store = LocalStore | ObjectStore
"""A store of results."""

StagingArea = Store | RemoteStore
"""A place in which a worker stages results until the parent commits them. Picklable."""
