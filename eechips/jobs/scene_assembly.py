"""What is made of scenes that are here: a STAC item beside the files of each, and assets of the good ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from eechips.downloads.partial import forget
from eechips.engine.assembly import Results, Settled
from eechips.engine.log import RunLog
from eechips.errors import EechipsError, UsageError
from eechips.jobs.asset_store import Put
from eechips.jobs.scene_items import local_item, scene_names
from eechips.jobs.scene_transfer import on_its_way, remove_if_empty
from eechips.manifest.record import State
from eechips.recipe import unit_id
from eechips.storage import ID_LENGTH, safe_component


def assemble_scenes(
    results: Results,
    items: Iterable[Mapping[str, Any]],
    identity: str,
    *,
    put: Put | None = None,
    into: Path | None = None,
    asset_id: str | None = None,
) -> None:
    """Writes a STAC item beside the files of each item, and puts good scenes into a store of assets.

    Args:
        results: of the run.
        items: the catalogue's answer.
        identity: of the recipe.
        put: puts a scene there; None if they are to stay files.
        into: the store's folder, for messages.
        asset_id: Earth Engine id of the collection that they are put into; None for ``scenes/<collection>``.

    Raises:
        UsageError: if a scene could not be put there.
    """
    answer = {(item.get("collection"), item["id"]): item for item in items}
    scenes: dict[tuple[str | None, str], list[Settled]] = {}
    for settled in results:
        key = settled.unit["collection"], settled.unit["item"]
        scenes.setdefault(key, []).append(settled)
        if settled.record.state is not State.FAILED_TRANSIENT:  # which goes on where it was, if it is tried again
            forget(on_its_way(results.folder, unit_id(settled.unit, identity)[:ID_LENGTH]))
    remove_if_empty(results.folder)
    names = scene_names(scenes)
    ingested: list[str] = []
    refused: list[str] = []
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
            try:
                asset = f"{asset_id or (f'scenes/{folder}' if key[0] else 'scenes')}/{called}"
                put(results.folder / name, asset, tuple(part.unit["asset"] for part in here))
            except EechipsError as error:
                refused.append(str(error))
                log.write("scene", **fields, error=str(error))
            else:
                ingested.append(asset)
                log.write("scene", **fields, asset=asset)
    if put is not None:
        results.say(f"{len(ingested):,} of {len(scenes):,} scenes are assets in {into}")
    if refused:
        raise UsageError(f"{len(refused):,} scenes could not be ingested; the first: {refused[0]}")
