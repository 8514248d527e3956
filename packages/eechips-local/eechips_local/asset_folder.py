"""Recognise a folder of assets without reading it."""

from __future__ import annotations

from pathlib import Path

ROOT_DOCUMENT = "catalog.json"
"""The STAC document at the root of a folder of assets."""


def find_fault(folder: Path) -> str | None:
    """Return why a folder is no folder of assets; None if it is one."""
    if not folder.is_dir():
        return f"There is no folder {folder}: make it with `eechips-local assets ingest FILE --into {folder} --id ID`."
    if not (folder / ROOT_DOCUMENT).is_file():
        return (
            f"The folder {folder} holds no assets (no {ROOT_DOCUMENT}): put some there with "
            f"`eechips-local assets ingest FILE --into {folder} --id ID`."
        )
    return None
