"""STAC items of the scenes that are here: their names, and their assets as files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from eechips.engine.assembly import CompletedUnit
from eechips.recipe import canonical_json
from eechips.storage import ID_LENGTH, safe_component

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
    links = [link for link in item.get("links") or () if str(link.get("href", "")).startswith(("http:", "https:"))]
    return {**item, "assets": assets, "links": links}
