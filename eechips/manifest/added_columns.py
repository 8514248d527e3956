"""Add columns of later findings to the manifest of a run, and to its copy beside results that are elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from eechips.errors import EechipsError
from eechips.manifest.export import COPIED, PARQUET_NAME, annotate
from eechips.manifest.run import Run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.storage import ObjectStore

_log = logging.getLogger(__name__)


def add_findings(run: Run, column: str, values: Mapping[str, str | Sequence[str]]) -> None:
    """Add a column to manifest.parquet, see :func:`eechips.manifest.export.annotate`, and copy it to the results.

    Log a warning if the copy fails: the store may be read-only.

    Raises:
        StorageError: if the manifest in the folder cannot be written.
    """
    annotate(run.path, column, values)
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        is_copied = bool(ledger.meta().get(COPIED))
    if run.address is None or not is_copied:  # the next run copies it
        return
    try:
        store = run.store
        if isinstance(store, ObjectStore):
            store.upload(PARQUET_NAME, run.path / PARQUET_NAME)
    except EechipsError as error:
        _log.warning("the manifest at %s lacks the column %s: %s", run.address, column, error)
