"""Find the tables of a dataset of features (an index, short names such as GEDI_L2A), refuse columns that they lack, and
filter them on the service by date, place and quality.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import ee

from eechips.errors import UnknownDatasetError, UsageError
from eechips.planning import planning_requests
from eechips.planning.imagery.image_filters import PropertyFilter, apply_filters
from eechips.text.suggestion import describe_choices

T = TypeVar("T")

_TABLE, _START = "table_id", "time_start"
"""Properties of an index of tables: id of a table, and its first moment, ISO 8601 in UTC
(https://developers.google.com/earth-engine/datasets/catalog/LARSE_GEDI_GEDI02_A_002_INDEX)."""
_INDEX_SUFFIX = "_INDEX"
_COMPUTED = "computed"
_TIME = "system:time_start"
_CURE = "fewer dates or a smaller `roi`"


@dataclass(frozen=True, slots=True)
class NamedFeatures:
    """Features that have a short name.

    Attributes:
        dataset: id of the table, or of the index of tables.
        quality: conditions on the properties of a feature of good quality.
    """

    dataset: str
    quality: tuple[str, ...] = ()


_NAMED: Mapping[str, NamedFeatures] = {
    # Flags and values as in the examples of the rasters of the same shots:
    # https://developers.google.com/earth-engine/datasets/catalog/LARSE_GEDI_GEDI02_A_002_MONTHLY
    "GEDI_L2A": NamedFeatures("LARSE/GEDI/GEDI02_A_002_INDEX", ("quality_flag = 1", "degrade_flag = 0")),
    # https://developers.google.com/earth-engine/datasets/catalog/LARSE_GEDI_GEDI04_A_002_MONTHLY
    "GEDI_L4A": NamedFeatures("LARSE/GEDI/GEDI04_A_002_INDEX", ("l4_quality_flag = 1", "degrade_flag = 0")),
}


def find_features(name: str) -> NamedFeatures:
    """Return the features of a short name, or of an id; those of an id have no conditions."""
    return _NAMED.get(name.upper().replace("-", "_")) or NamedFeatures(name)


@dataclass(frozen=True, slots=True)
class FeatureSource:
    """Features of a dataset, filtered.

    Attributes:
        dataset: id of a table, or of an index of tables; or a collection as ``ee.FeatureCollection.serialize`` writes
            it.
        start: first day or moment, inclusive, ISO 8601; None for all.
        end: last, exclusive.
        columns: properties to request; None for all.
    """

    dataset: str
    start: str | None = None
    end: str | None = None
    columns: tuple[str, ...] | None = None

    @property
    def is_computed(self) -> bool:
        """Return whether the dataset is a collection that the service computes."""
        return self.dataset.startswith("{")

    @property
    def name(self) -> str:
        """The id of the table or index; ``computed`` for a collection that the service computes."""
        return _COMPUTED if self.is_computed else self.dataset

    def is_table_of_index(self, table: str) -> bool:
        """Return whether a table is one of those of an index, not the dataset itself."""
        return table != self.name

    def collection(self, table: str) -> ee.FeatureCollection:
        """Return all features of one of :meth:`list_tables`."""
        value: Any = ee.deserializer.fromJSON(self.dataset) if table == _COMPUTED else table
        features: ee.FeatureCollection = ee.FeatureCollection(value)
        return features

    def features(self, table: str, tests: Sequence[PropertyFilter], within: ee.Geometry) -> ee.FeatureCollection:
        """Return the features of a table that meet a geometry, with all properties."""
        collection: ee.FeatureCollection = apply_filters(self.collection(table).filterBounds(within), tests)
        if not self.is_table_of_index(table) and (self.start is not None or self.end is not None):
            collection = collection.filter(_between(_TIME, _moment(self.start), _moment(self.end)))
        return collection

    def rows(self, table: str, tests: Sequence[PropertyFilter], within: ee.Geometry) -> ee.FeatureCollection:
        """Return the same features with the properties to request."""
        features = self.features(table, tests, within)
        return features if self.columns is None else features.select(list(self.columns))

    def list_tables(self, within: ee.Geometry) -> list[str]:
        """Return the ids of the tables that may have features in a geometry, between the dates.

        Raises:
            UnknownDatasetError: if there is no such table.
            UsageError: if there are dates, and features have none.
        """
        if not self._is_index():
            self._check_dates()
            return [self.name]
        index = ee.FeatureCollection(self.dataset).filterBounds(within).filter(ee.Filter.notNull([_TABLE]))
        if self.start is not None or self.end is not None:
            index = index.filter(_between(_START, self.start, self.end))
        names = index.select([_TABLE], None, False)
        listed = self._ask(lambda: list(planning_requests.fetch_features(names, noun="tables", cure=_CURE)))
        return sorted({str(feature["properties"][_TABLE]) for feature in listed})

    def fetch_types(self, table: str) -> dict[str, str]:
        """Return the properties of a table's features with the names of their types, such as ``Float``.

        Raises:
            UnknownDatasetError: if there is no such table, or it has none of the columns to request.
        """
        described: Any = self._ask(lambda: self.collection(table).limit(1).getInfo(), table)
        # Columns of a computed collection are those of the table that it is made of.
        known = {} if self.is_computed else {name: str(kind) for name, kind in described.get("columns", {}).items()}
        there = known or {name: "" for entry in described["features"] for name in entry["properties"]}
        for name in self.columns or ():
            if there and name not in there:
                names = sorted(entry for entry in there if not entry.startswith("system:"))
                raise UnknownDatasetError(f"{table} has no column {name!r}; {describe_choices(name, names)}")
        return known if self.columns is None else {name: known[name] for name in self.columns if name in known}

    def _is_index(self) -> bool:
        """Return whether the features of the dataset name one table each."""
        if self.is_computed or not self.dataset.endswith(_INDEX_SUFFIX):
            return False
        named: Any = ee.FeatureCollection(self.dataset).filter(ee.Filter.notNull([_TABLE])).limit(1).size()
        return bool(self._ask(named.getInfo))

    def _check_dates(self) -> None:
        if self.start is None and self.end is None:
            return
        dated: Any = self.collection(self.name).filter(ee.Filter.notNull([_TIME])).limit(1).size()
        if not self._ask(dated.getInfo):
            raise UsageError(f"features of {self.name} have no {_TIME}: leave `start` and `end` out, or use `where`")

    def _ask(self, request: Callable[[], T], table: str | None = None) -> T:
        """Send a request about the dataset, or one of its tables; raise UnknownDatasetError if it does not exist."""
        try:
            return request()
        except ee.EEException as error:
            if not planning_requests.is_not_found(error):
                raise
            reason = planning_requests.missing_table_reason(error)
            named = repr(self.name) if table in (None, self.name) else f"{table!r}, which {self.name} names"
            raise UnknownDatasetError(f"there is no table {named}: {reason}") from error


def _between(name: str, start: Any, end: Any) -> ee.Filter:
    """Return the filter of values of a property from ``start`` to before ``end``; None for no limit."""
    limits = [ee.Filter.gte(name, start)] if start is not None else []
    limits += [ee.Filter.lt(name, end)] if end is not None else []
    interval: ee.Filter = ee.Filter.And(*limits)
    return interval


def _moment(text: str | None) -> Any:
    """Return a date as the service's milliseconds since 1970."""
    return None if text is None else ee.Date(text).millis()
