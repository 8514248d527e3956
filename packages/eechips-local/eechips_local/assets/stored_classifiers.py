"""Read stored classifiers from JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eechips_local.assets import stac
from eechips_local.assets.asset_names import resolve_href
from eechips_local.assets.index_rows import IndexRow
from eechips_local.assets.store_files import size_of
from eechips_local.assets.stored_images import SIZE
from eechips_local.evaluation.asset_model import ClassifierAsset


def load_classifier(row: IndexRow, root: Path) -> ClassifierAsset:
    """Return the classifier that a row of the index describes; its file is read when it is used."""
    version, properties, href = json.loads(row.record)
    properties[SIZE] = size_of(root, [href])

    def read() -> dict[str, Any]:
        return stac.read_document(root / resolve_href(root, "", href))

    return ClassifierAsset(row.id, properties, read, version)
