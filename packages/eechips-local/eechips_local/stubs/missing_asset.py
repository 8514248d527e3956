"""Say which assets are most like one that does not exist, and how to serve it. Earth Engine itself gives no hint."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from eechips_local.stubs.stub_properties import MADE_UP_NAMES
from eechips_local.stubs.stub_store import StubStore

_NEAREST = 3
_STUBS = '`eechips-local serve --demo-datasets all`, or `earth_engine_datasets = "all"` of pytest,'
_OWN = "`eechips-local assets ingest` prepares files of your own"


def missing_asset_hint(asset_id: str, stubs: StubStore, *, is_served: bool) -> str:
    """Return the sentence that follows Earth Engine's own message about a missing asset.

    Args:
        stubs: behind the demo planet.
        is_served: whether the stubs are served; else the sentence says how to serve them.
    """
    if asset_id in MADE_UP_NAMES:
        return f"A stub made up this name: stubs of indexes lack the tables that they list; {_OWN}."
    painted, described = stubs.painted(), stubs.ids()
    parent, _, index = asset_id.rpartition("/")
    if parent in painted:
        return f"The demo planet's {parent} has no {index!r}: its images are its own."
    if is_served and parent in described:
        return f"The stub of {parent} has no {index!r}: its images are its own."
    near = _nearest(asset_id, [*painted, *described])
    if is_served:
        nearest = f"; the nearest ids are {', '.join(near)}" if near else ""
        return f"Neither the demo planet nor the stubs of other datasets have {asset_id}{nearest}; {_OWN}."
    has = ", ".join(dataset for dataset in near if dataset in painted)
    missing = f"The demo planet has no {asset_id}" + (f"; it has {has}" if has else "")
    if asset_id in described:
        return f"{missing}; {_STUBS} serves a synthetic stub of it; {_OWN}."
    others = ", ".join(dataset for dataset in near if dataset not in painted)
    such = f" such as {others}" if others else ""
    return f"{missing}; {_STUBS} adds stubs of more datasets{such}; {_OWN}."


def _nearest(id: str, known: Iterable[str]) -> list[str]:
    """Return the ids that are most like one, whatever the case of its letters."""
    by_lower = {dataset.lower(): dataset for dataset in known}
    return [by_lower[match] for match in difflib.get_close_matches(id.lower(), by_lower, _NEAREST, cutoff=0.6)]
