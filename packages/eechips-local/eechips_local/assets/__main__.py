"""Ingest STAC items from standard input into a store of assets: ``python -m eechips_local.assets DIR``.

It reads an order from each line of its input, ``{"item": PATH, "id": ID, "bands": [KEY, …]}``, and answers by a line of
its output, ``{"error": null}`` or what was wrong. It ends with its input.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from eechips_local.assets.asset_errors import AssetError
from eechips_local.assets.ingestion.asset_ingestion import ingest


def main() -> None:
    """See the module."""
    into = Path(sys.argv[1])
    for line in sys.stdin:
        order = json.loads(line)
        error = None
        try:
            _put(Path(order["item"]), into, order["id"], order["bands"])
        except AssetError as refusal:
            error = str(refusal)
        sys.stdout.write(json.dumps({"error": error}) + "\n")
        sys.stdout.flush()


def _put(item: Path, into: Path, asset_id: str, bands: Sequence[str]) -> None:
    """Put an item there: GeoTIFFs by a second name, others as copies."""
    try:
        ingest(item, into, asset_id, bands=bands, by_reference=True)
    except AssetError:  # no GeoTIFF, or on another disk
        ingest(item, into, asset_id, bands=bands)


if __name__ == "__main__":
    main()
