"""Ingest files of Cloud Storage as images and tables, by manifests.

See https://developers.google.com/earth-engine/reference/rest/v1/projects.image/import and …/projects.table/import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from eechips_local.assets.bucket_objects import find_object
from eechips_local.assets.ingestion.asset_ingestion import IngestTask
from eechips_local.assets.ingestion.image_manifest import DRIVERS, ImageManifest
from eechips_local.assets.ingestion.image_plans import ImagePlan
from eechips_local.assets.ingestion.linked_files import refer_to_bands
from eechips_local.assets.ingestion.raster_files import RasterFiles
from eechips_local.assets.store_files import workspace
from eechips_local.assets.writable_assets import changes_of, changing, properties_of, writable_folder
from eechips_local.evaluation.context import Context
from eechips_local.exports.asset_files import asset_task, check_free
from eechips_local.exports.destinations import AssetDestination
from eechips_local.exports.process_messages import ExportedFile, ExportJob
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.stores import WritableFolder


def import_image(
    body: Mapping[str, Any], context: Context, job: ExportJob, report: Callable[[float], None]
) -> list[ExportedFile]:
    """``image:import``: make an image of files."""
    assert job.asset is not None
    document, folder = body["imageManifest"], writable_folder(context)
    task = _begin(document, job.asset, folder, context, "IMAGE")
    with RasterFiles(DRIVERS) as rasters:
        manifest = ImageManifest(document, partial(find_object, context.buckets), rasters, job.folder)
        plan = ImagePlan(job.asset.id, manifest.sources(lambda share: report(share / 2.0)), task.facts)
        with changing():
            task.run("image", {plan.id: partial(task.image, rasters, plan)})
    return []


def import_table(
    body: Mapping[str, Any], context: Context, job: ExportJob, report: Callable[[float], None]
) -> list[ExportedFile]:
    """``table:import``: make a table of files."""
    # Here, since pyogrio brings pandas along, which exports have no use for.
    from eechips_local.assets.ingestion.table_manifest import read_manifest

    assert job.asset is not None
    document, folder = body["tableManifest"], writable_folder(context)
    task = _begin(document, job.asset, folder, context, "TABLE")
    features = read_manifest(document, partial(find_object, context.buckets), job.folder)
    with changing():
        task.run("table", {job.asset.id: partial(task.table, job.asset.id, lambda: features, {})})
    return []


def import_external(document: Mapping[str, Any], asset: AssetDestination, context: Context) -> None:
    """Make an image of cloud-optimised GeoTIFFs that stay where they are.

    See https://developers.google.com/earth-engine/Earth_Engine_asset_from_cloud_geotiff. The files get a second name in
    the folder of assets: an object that is written anew does not change the image.

    Raises:
        EarthEngineError: if the image cannot be made.
    """
    folder = writable_folder(context)
    task = _begin(document, asset, folder, context, "IMAGE")
    with changing(), workspace(folder.path) as scratch, RasterFiles(DRIVERS) as rasters:
        manifest = ImageManifest(document, partial(find_object, context.buckets), rasters, scratch)
        plan = ImagePlan(asset.id, manifest.objects(), task.facts)
        task.run("image", {plan.id: partial(task.image, rasters, plan, refer_to_bands)})


def _begin(
    document: Mapping[str, Any], asset: AssetDestination, folder: WritableFolder, context: Context, kind: str
) -> IngestTask:
    """Check that an asset can be made, before its files are read.

    Raises:
        EarthEngineError: if it cannot.
    """
    check_free(asset, context)
    with changing():
        changes_of(folder).check_new(asset.id, kind)
    facts = properties_of(document)
    if facts.get("system:time_end", 0) < facts.get("system:time_start", 0) and "system:time_end" in facts:
        raise InvalidError("The end time of the manifest is before its start time.")
    return asset_task(asset, facts, context)
