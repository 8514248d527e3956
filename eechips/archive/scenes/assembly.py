"""Write a STAC item beside the files of each scene, and add complete scenes to a store of assets.

The store is that of the local Earth Engine, whose code is not imported here: a separate process adds the scenes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from eechips.archive.downloads.expected_file import ExpectedFile
from eechips.archive.downloads.partial_files import forget
from eechips.archive.scenes.download import partial_folder, remove_if_empty
from eechips.engine.results.result_assembly import CompletedUnit, Results
from eechips.engine.run_log import RunLog
from eechips.engine.service.local_server import last_error
from eechips.errors import StorageError, UsageError
from eechips.manifest.manifest_columns import State
from eechips.processes.child_processes import module_command
from eechips.recipe import canonical_json, unit_id
from eechips.storage import ID_LENGTH, safe_component
from eechips.text.formatting import format_count

_log = logging.getLogger(__name__)
_NO_IMAGE = "the scene has neither GeoTIFF nor JPEG 2000"


def assemble_scenes(
    results: Results,
    items: Iterable[Mapping[str, Any]],
    identity: str,
    *,
    put: Put | None = None,
    into: Path | None = None,
    asset_id: str | None = None,
) -> list[str]:
    """Write a STAC item beside the files of each item, and add complete scenes to a store of assets.

    Args:
        put: adds a scene to the store; None to leave the store alone.
        into: folder of the store, for messages.
        asset_id: Earth Engine id of the collection in the store; None for ``scenes/<collection>``.

    Returns:
        Reasons of the scenes that could not be added; scenes without an image have none.

    Raises:
        StorageError: if the store cannot be written.
    """
    answer = {(item.get("collection"), item["id"]): item for item in items}
    scenes = _group_by_scene(results, identity)
    names = scene_names(scenes)
    ingested = 0
    refused: list[str] = []
    imageless: list[str] = []
    with RunLog(results.folder) as log:
        for key, parts in scenes.items():
            here = [part for part in parts if part.path is not None]
            if not here:
                continue
            folder, called = safe_component(key[0] or "items"), names[key]
            name = f"stac/{folder}/{called}.json"
            text = json.dumps(local_item(answer[key], here, name), indent=2, ensure_ascii=False)
            with results.make(name) as path:
                path.write_text(text, encoding="utf-8")
            if put is None or len(here) < len(parts):
                continue
            fields = {"ids": [unit_id(p.unit, identity)[:ID_LENGTH] for p in here], "step": "ingest"}
            asset = f"{asset_id or (f'scenes/{folder}' if key[0] else 'scenes')}/{called}"
            error = _put_scene(put, results.folder / name, asset, here)
            log.write("scene", **fields, **({"error": error} if error else {"asset": asset}))
            if error == _NO_IMAGE:
                imageless.append(str(here[0].record.file))
            elif error:
                refused.append(f"{called}: {error}")
            else:
                ingested += 1
    if put is not None:
        noun = "is an asset" if ingested == 1 else "are assets"
        results.say(f"{ingested:,} of {format_count(len(scenes), 'scene')} {noun} in {into}")
    _warn(imageless, refused)
    return refused


def _group_by_scene(results: Results, identity: str) -> dict[tuple[str | None, str], list[CompletedUnit]]:
    """Group the units by collection and item; remove the partial files of those that no retry resumes."""
    scenes: dict[tuple[str | None, str], list[CompletedUnit]] = {}
    for settled in results:
        key = settled.unit["collection"], settled.unit["item"]
        scenes.setdefault(key, []).append(settled)
        if settled.record.state is not State.FAILED_TRANSIENT:
            forget(partial_folder(results.folder, unit_id(settled.unit, identity)[:ID_LENGTH]), results.writer)
    remove_if_empty(results.folder)
    return scenes


def _put_scene(put: Put, item: Path, asset: str, parts: Sequence[CompletedUnit]) -> str:
    """Add a scene to the store; return the reason if it cannot be added."""
    images = tuple(part.unit["asset"] for part in parts if ExpectedFile.from_json(part.unit["expected"]).is_image)
    try:
        if images:
            put(item, asset, images)
    except UsageError as error:
        return str(error)
    return "" if images else _NO_IMAGE


def _warn(imageless: Sequence[str], refused: Sequence[str]) -> None:
    """Warn of scenes that did not become assets: files of those without an image, reasons of the others."""
    if imageless:
        _log.warning("%s", _describe_without_image(imageless))
    if refused:
        many = format_count(len(refused), "scene")
        _log.warning("%s could not become assets; the same command retries them. The first: %s", many, refused[0])


def _describe_without_image(without: Sequence[str]) -> str:
    """Describe scenes without an image, which these files belong to."""
    many = f"{format_count(len(without), 'scene')} {'has' if len(without) == 1 else 'have'}"
    message = f"{many} neither GeoTIFF nor JPEG 2000 and did not become assets, such as {without[0]}"
    how = "`eechips assets ingest` accepts netCDF; unpack archives, and convert other formats (gdal_translate)"
    return f"{message}. {how}"


_SHA256 = "1220"  # prefix of a multihash of sha2-256 (https://multiformats.io/multihash/)


def scene_names(scenes: Iterable[tuple[str | None, str]]) -> dict[tuple[str | None, str], str]:
    """Return a name for each scene that is unique in its collection, also on case-insensitive file systems."""
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
    """Return a STAC item whose assets are the local files, with their sizes and checksums."""
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
    # Relative links of the original do not lead anywhere from here.
    listed = item.get("links")
    links = [
        link
        for link in (listed if isinstance(listed, list) else ())
        if isinstance(link, dict) and str(link.get("href")).startswith(("http:", "https:"))
    ]
    return {**item, "assets": assets, "links": links}


Put = Callable[[Path, str, Sequence[str]], object]
"""Add a scene to an asset store, given the path of its STAC item with local files, the id of the new image, and the
names of its assets. Raises UsageError if the scene cannot become an image."""

_NEEDED = "pystac"  # packages of the extra


def check_store() -> None:
    """Raise UsageError if a package that fills stores is missing."""
    if find_spec(_NEEDED) is None:
        raise UsageError(f"`ingest` needs {_NEEDED}: pip install 'eechips[local]'")


@contextlib.contextmanager
def open_store(into: Path) -> Iterator[Put]:
    """Start a process that adds scenes to the asset store in a folder, for the duration of the block.

    Yields:
        The function that adds a scene. It raises StorageError if the process has ended.
    """
    command = [*module_command("eechips_local.assets"), str(into)]
    # A separate session receives no Ctrl-C of the terminal. The process ends with its input, so with this one.
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        ) as process,
    ):
        orders, answers = process.stdin, process.stdout
        assert orders is not None
        assert answers is not None

        def put(item: Path, asset_id: str, assets: Sequence[str]) -> None:
            order = {"item": str(item.absolute()), "id": asset_id, "bands": list(assets)}
            with contextlib.suppress(BrokenPipeError):  # then it sends no reply either
                orders.write(json.dumps(order) + "\n")
                orders.flush()
            line = answers.readline()
            if not line:
                reason = last_error(errors) or "it does not say why"
                raise StorageError(f"what puts scenes into {into} has ended: {reason}")
            error = json.loads(line)["error"]
            if error is not None:
                raise UsageError(error)

        try:
            yield put
        finally:
            with contextlib.suppress(BrokenPipeError):
                orders.close()
