"""STAC items and runs for tests of catalogues."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from eechips.archive.catalogs.catalog import Catalog
from eechips.archive.catalogs.partitions.grid_systems import H3
from eechips.archive.catalogs.partitions.layout import Layout
from eechips.archive.catalogs.partitions.merge_plan import MergeResult
from eechips.archive.catalogs.update import update
from eechips.manifest.manifest_columns import LAYER_COLUMNS, Record, State, UnitFile, WorkUnit
from eechips.manifest.run import INFO_NAME, Run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.recipe import canonical_json, unit_id

DAYS = [f"2020-{month:02}-{day:02}T12:00:00Z" for month in (1, 2, 3) for day in (1, 15)]
BASE = Layout(H3(2))


def item(
    identifier: str,
    box: Sequence[float],
    *,
    when: str = DAYS[0],
    updated: str | None = None,
    collection: str = "test",
    assets: Mapping[str, Any] | None = None,
    **properties: Any,
) -> dict[str, Any]:
    """An item whose geometry is a box; two, if it crosses the antimeridian."""
    west, south, east, north = box
    parts = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    rings = [[[a, south], [b, south], [b, north], [a, north], [a, south]] for a, b in parts]
    crossing = {"type": "MultiPolygon", "coordinates": [[ring] for ring in rings]}
    stamp = {} if updated is None else {"updated": updated}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": identifier,
        "collection": collection,
        "geometry": {"type": "Polygon", "coordinates": rings} if len(parts) == 1 else crossing,
        "bbox": [float(number) for number in box],
        "properties": {"datetime": when, **stamp, **properties},
        "links": [{"rel": "collection", "href": "/data/collection.json"}],
        "assets": {"image": {"href": f"/data/{identifier}.tif"}} if assets is None else dict(assets),
    }


def put(
    folder: Path, *batches: Sequence[Mapping[str, Any]], layout: Layout | None = None, **options: Any
) -> MergeResult:
    """Brings batches of items into a catalogue."""
    return update(
        folder,
        lambda known: layout or known or BASE,
        batches,
        lambda schema: [],
        give_up=options.get("give_up", False),
        mixed=options.get("mixed", "keep"),
        is_shown=False,
    )[1]


def contents(catalog: Catalog) -> dict[tuple[str, str], dict[str, Any]]:
    """Every item by collection and id; an error if one is there twice."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for value in catalog.items():
        key = (value["collection"], value["id"])
        assert key not in found, key
        found[key] = value
    return found


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    """sha256 and inode of every partition: a file that was written again has another inode."""
    return {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_ino)
        for path in sorted(folder.rglob("*.parquet"))
    }


@st.composite
def boxes(draw: st.DrawFn) -> tuple[float, float, float, float]:
    """Boxes of all sizes, anywhere: many small, some at the antimeridian, the poles, or the corners of others."""
    width = draw(st.sampled_from([0.0, 0.002, 0.5, 3.0, 20.0, 120.0]))
    height = draw(st.sampled_from([0.0, 0.002, 0.5, 3.0, 20.0]))
    west = draw(st.one_of(st.floats(-180, 180), st.sampled_from([-180.0, 180.0, 179.9, -179.9, 0.0, -0.002])))
    south = draw(st.one_of(st.floats(-90, 90 - height), st.sampled_from([-90.0, 90.0 - height, 0.0])))
    east = west + width
    return west, south, east if east <= 180 else east - 360, south + height


def write_run(folder: Path, chips: Iterable[Mapping[str, Any]], **info: Any) -> Run:
    """A run whose ledger has chips, and whose files nobody needs.

    Args:
        folder: folder of the run.
        chips: each with ``unit``, and columns of its record; ``layers``, if it has several files: columns of each.
        **info: for run.json.
    """
    folder.mkdir(parents=True)
    planned, records = [], []
    for position, chip in enumerate(chips):
        identifier = unit_id(dict(chip["unit"]), "identity")
        planned.append(WorkUnit(position, identifier, canonical_json(chip["unit"]), f"chips/{identifier[:16]}"))
        columns = {name: value for name, value in chip.items() if name not in ("unit", "layers")}
        own = {"file": f"chips/{identifier[:16]}.tif", "bytes": 1000 + position, "sha256": "ab" * 32}
        files = tuple(
            UnitFile(
                f"chips/{identifier[:16]}.{layer}.tif" if number else own["file"],
                10,
                "cd" * 32,
                layer,
                json.dumps({name: metadata.get(name) for name in LAYER_COLUMNS}),
            )
            for number, (layer, metadata) in enumerate(chip.get("layers", {}).items())
        )
        state = State(columns.pop("state", "done"))
        records.append(Record(position=position, state=state, **{**own, **_texts(columns)}, files=files))
    with Ledger(folder / LEDGER_NAME) as ledger:
        ledger.store_plan({}, planned)
        ledger.record(records)
    (folder / INFO_NAME).write_text(json.dumps({"command": "eechips sample", **info}))
    return Run(folder)


def _texts(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {name: json.dumps(value) if isinstance(value, list) else value for name, value in columns.items()}
