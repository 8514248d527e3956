"""Compute a task in a process: evaluate its expression and write its files, or ingest files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from eechips_local.assets.asset_errors import AssetError
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.request_processor import service_error
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.exports import classifier_exports, image_files, ingestions, map_exports, table_exports, videos
from eechips_local.exports.process_messages import ExportedFile, ExportJob, ExportOutcome
from eechips_local.exports.tasks import CODES, TaskResult
from eechips_local.protocol import messages
from eechips_local.protocol.request_errors import EarthEngineError, InvalidError, UnavailableError
from eechips_local.quota.compute_cost import COST, ComputeCost
from eechips_local.stores import StoreConfig, open_store

Export = Callable[[Mapping[str, Any], Context, ExportJob, Callable[[float], None]], list[ExportedFile]]
"""Writes the files of an export: checked body, context, job, and what to call with the share that is done."""

_EXPORTS: Mapping[str, Export] = {
    "image:export": image_files.export_image,
    "table:export": table_exports.export_table,
    "map:export": map_exports.export_map,
    "video:export": videos.export_video,
    "classifier:export": classifier_exports.export_classifier,
    "image:import": ingestions.import_image,
    "table:import": ingestions.import_table,
}
_PATIENCE = 10.0  # seconds to wait for files of catalogues that are being put in place


def compute(
    job: ExportJob, store_config: StoreConfig, limits: ServiceLimits, report: Callable[[float], None]
) -> ExportOutcome:
    """Compute an export; errors become Earth Engine's.

    Args:
        job: what.
        store_config: the assets.
        limits: limits of the computation.
        report: called with the share that is done, from 0 to 1.
    """
    cost = ComputeCost()
    token = COST.set(cost)
    files: list[ExportedFile] = []
    error: EarthEngineError | None = None
    tag = None
    try:
        store = open_store(store_config, _PATIENCE)
        store.begin()
        body = messages.check(job.method, messages.decode(job.content))
        tag = body.get("workloadTag")
        context = Context(store, limits, store_config, hint=store.hint)
        files = _EXPORTS[job.method](body, context, job, report)
    except AssetError as failed:
        error = InvalidError(str(failed))
    except Exception as failed:  # noqa: BLE001 - a bug must reach the client as the task's failure
        error = service_error(failed)
    finally:
        COST.reset(token)
    failure = None if error is None else (CODES.get(error.status, CODES["INTERNAL"]), str(error))
    is_intermittent = isinstance(error, UnavailableError)
    return ExportOutcome(tuple(files), TaskResult(failure, is_intermittent, cost.seconds, tag, frozenset(cost.stubs)))
