"""Serve stubs as a store of assets, behind the demo planet."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Protocol

from eechips_local.demo import synthetic_label
from eechips_local.demo.demo_tables import DemoTable
from eechips_local.evaluation.asset_model import Asset, FolderAsset, ImageAsset, Query, child_ids
from eechips_local.quota.compute_cost import note_stub
from eechips_local.stubs import chart_example, classification_example
from eechips_local.stubs.dataset_description import DatasetDescription
from eechips_local.stubs.known_datasets import KnownSource
from eechips_local.stubs.stac_descriptions import StacSource
from eechips_local.stubs.stub_images import StubCollection, stub_image
from eechips_local.stubs.stub_tables import stub_table

_EXAMPLES: Mapping[str, Callable[[], DemoTable]] = {
    chart_example.ID: chart_example.table,
    classification_example.ID: classification_example.table,
}
_MONTH = re.compile(r"(?<=/)20\d\d[01]\d(?=/|$)")


class DescriptionSource(Protocol):
    """A source of descriptions of datasets."""

    def ids(self) -> list[str]:
        """Return the ids of all datasets, in order."""
        ...

    def find(self, id: str) -> DatasetDescription | None:
        """Return the description of a dataset, or None if the source does not know it."""
        ...


def open_sources(described: Path | None) -> tuple[DescriptionSource, ...]:
    """Return the sources, the fullest first: STAC collections, if there is a folder of them; what is known without."""
    return (*(() if described is None else (StacSource(described),)), KnownSource())


@dataclass(frozen=True, slots=True)
class StubStore:
    """An ``AssetStore`` of stubs. Nothing is read before an asset is asked for.

    Attributes:
        sources: sources of descriptions; the first that knows a dataset counts.
        until: the first day without an image.
        painted: the ids of the datasets that the demo planet paints itself, for which there are no stubs.
    """

    sources: tuple[DescriptionSource, ...]
    until: date
    painted: Callable[[], frozenset[str]]

    def get(self, asset_id: str) -> Asset | None:
        """See ``AssetStore.get``."""
        if asset_id in _EXAMPLES:
            note_stub(asset_id)
            return _EXAMPLES[asset_id]()
        description = self._find(asset_id)
        if description is not None:
            note_stub(description.id)
            return _make(description, self.until)
        parent, _, index = asset_id.rpartition("/")
        dataset = self._find(parent) if parent else None
        if dataset is not None and dataset.kind == "collection":
            image = StubCollection(dataset, self.until).image(index)
            if image is not None:
                note_stub(dataset.id)
            return image
        if child_ids(asset_id, self.ids()):
            return FolderAsset(asset_id, synthetic_label.marked({}))
        return None

    def children(self, parent: str) -> Iterable[str]:
        """See ``AssetStore.children``; the images of a collection are made one by one."""
        asset = self.get(parent) if parent else None
        if isinstance(asset, StubCollection):
            yield from (image.id for image in asset.images(Query()))
        elif asset is None or isinstance(asset, FolderAsset):
            yield from child_ids(parent, self.ids())

    def describe(self) -> Mapping[str, Any]:
        """See ``AssetStore.describe``."""
        return {"kind": "stubs", "synthetic": True, "description": synthetic_label.NOTE, "assets": self.ids()}

    def ids(self) -> list[str]:
        """Return the ids of all datasets that have a stub, in order."""
        return sorted(
            {*_EXAMPLES, *(dataset_id for source in self.sources for dataset_id in source.ids())} - self.painted()
        )

    def _find(self, id: str) -> DatasetDescription | None:
        """Return the description of a dataset, or of the version of a month.

        By the record of WCMC/WDPA/current/polygons, the versions of earlier months are WCMC/WDPA/YYYYMM/polygons; other
        records with "current" in their id say the same.
        """
        month = _MONTH.search(id)
        described = self._described(id)
        if month is None or described is not None:
            return described
        current = self._described(f"{id[: month.start()]}current{id[month.end() :]}")
        if current is None or current.start is None:
            return None
        is_served = f"{current.start:%Y%m}" <= month[0] <= f"{self.until:%Y%m}"
        return replace(current, id=id) if is_served else None

    def _described(self, id: str) -> DatasetDescription | None:
        if id in self.painted():
            return None
        return next(
            (description for description in (source.find(id) for source in self.sources) if description is not None),
            None,
        )


def _make(dataset: DatasetDescription, until: date) -> ImageAsset | StubCollection | DemoTable:
    if dataset.kind == "table":
        return stub_table(dataset)
    return stub_image(dataset) if dataset.kind == "image" else StubCollection(dataset, until)
