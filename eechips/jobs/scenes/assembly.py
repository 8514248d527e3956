"""What is made of scenes that are here: a STAC item beside the files of each, and assets of the good ones."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from eechips.downloads.expected_file import ExpectedFile
from eechips.downloads.partial import forget
from eechips.engine.assembly import CompletedUnit, Results
from eechips.engine.run_log import RunLog
from eechips.errors import UsageError
from eechips.jobs.asset_store import Put
from eechips.jobs.scenes.download import partial_folder, remove_if_empty
from eechips.manifest.record import State
from eechips.recipe import canonical_json, unit_id
from eechips.storage import ID_LENGTH, safe_component

_log = logging.getLogger(__name__)


def assemble_scenes(
    results: Results,
    items: Iterable[Mapping[str, Any]],
    identity: str,
    *,
    put: Put | None = None,
    into: Path | None = None,
    asset_id: str | None = None,
) -> list[str]:
    """Writes a STAC item beside the files of each item, and puts good scenes into a store of assets.

    Args:
        results: of the run.
        items: the catalogue's answer.
        identity: of the recipe.
        put: puts a scene there; None if they are to stay files.
        into: the store's folder, for messages.
        asset_id: Earth Engine id of the collection that they are put into; None for ``scenes/<collection>``.

    Returns:
        Why scenes could not be put there: nothing for those that are and for those that have no image at all.

    Raises:
        StorageError: if the store takes no more.
    """
    writer = results.writer
    answer = {(item.get("collection"), item["id"]): item for item in items}
    scenes: dict[tuple[str | None, str], list[CompletedUnit]] = {}
    for settled in results:
        key = settled.unit["collection"], settled.unit["item"]
        scenes.setdefault(key, []).append(settled)
        if settled.record.state is not State.FAILED_TRANSIENT:  # which goes on where it was, if it is tried again
            forget(partial_folder(results.folder, unit_id(settled.unit, identity)[:ID_LENGTH]), writer)
    remove_if_empty(results.folder)
    names = scene_names(scenes)
    ingested: list[str] = []
    refused: list[str] = []
    without: list[str] = []
    with RunLog(results.folder) as log:
        for key, parts in scenes.items():
            here = [part for part in parts if part.path is not None]
            if not here:
                continue
            folder, called = safe_component(key[0] or "items"), names[key]
            name = f"stac/{folder}/{called}.json"
            with results.make(name) as path:
                path.write_text(json.dumps(local_item(answer[key], here, name), indent=2, ensure_ascii=False))
            if put is None or len(here) < len(parts):
                continue
            fields = {"ids": [unit_id(p.unit, identity)[:ID_LENGTH] for p in here], "step": "ingest"}
            images = tuple(
                part.unit["asset"] for part in here if ExpectedFile.from_json(part.unit["expected"]).is_image
            )
            if not images:
                without.append(str(here[0].record.file))
                log.write("scene", **fields, error="it has neither GeoTIFF nor JPEG 2000")
                continue
            try:
                asset = f"{asset_id or (f'scenes/{folder}' if key[0] else 'scenes')}/{called}"
                put(results.folder / name, asset, images)
            except UsageError as error:
                refused.append(f"{called}: {error}")
                log.write("scene", **fields, error=str(error))
            else:
                ingested.append(asset)
                log.write("scene", **fields, asset=asset)
    if put is not None:
        results.say(f"{len(ingested):,} of {len(scenes):,} scenes are assets in {into}")
    if without:
        _log.warning("%s", _told(without))
    if refused:
        many = "1 scene" if len(refused) == 1 else f"{len(refused):,} scenes"
        _log.warning("%s could not become assets; the same command tries again. The first: %s", many, refused[0])
    return refused


def _told(without: Sequence[str]) -> str:
    """What is said of scenes that have no image, such as these files."""
    many = "1 scene has" if len(without) == 1 else f"{len(without):,} scenes have"
    told = f"{many} neither GeoTIFF nor JPEG 2000, and no asset was made, as of {without[0]}"
    how = "`eechips assets ingest` takes netCDF; archives have to be unpacked, others translated (gdal_translate)"
    return f"{told}. {how}"


_SHA256 = "1220"  # how a multihash of 32 bytes of sha2-256 begins (https://multiformats.io/multihash/)


def scene_names(scenes: Iterable[tuple[str | None, str]]) -> dict[tuple[str | None, str], str]:
    """A name for each scene that no other of its collection has, also where upper and lower case are the same."""
    names: dict[tuple[str | None, str], str] = {}
    taken: set[tuple[str, str]] = set()
    for collection, item in scenes:
        folder, name = safe_component(collection or "items"), safe_component(item)
        if (folder.casefold(), name.casefold()) in taken:
            name += "-" + hashlib.sha256(canonical_json([collection, item]).encode()).hexdigest()[:ID_LENGTH]
        taken.add((folder.casefold(), name.casefold()))
        names[collection, item] = name
    return names


def local_item(item: Mapping[str, Any], parts: Sequence[CompletedUnit], name: str) -> dict[str, Any]:
    """A STAC item whose assets are the files that are here, with their sizes and checksums.

    Args:
        item: as the catalogue has it.
        parts: what became of its assets, all of which have a file.
        name: of the item's own file, below the folder of the run, with forward slashes.
    """
    up = "../" * (len(PurePosixPath(name).parts) - 1)
    assets = {
        part.unit["asset"]: {
            **item["assets"][part.unit["asset"]],
            "href": up + str(part.record.file),
            "file:size": part.record.bytes,
            "file:checksum": _SHA256 + str(part.record.sha256),
        }
        for part in parts
    }
    # Those of its own are to where it came from: relative ones lead nowhere from here.
    links = [link for link in item.get("links") or () if isinstance(link, dict) and _is_absolute(link.get("href"))]
    return {**item, "assets": assets, "links": links}


def _is_absolute(href: object) -> bool:
    return isinstance(href, str) and href.startswith(("http:", "https:"))
