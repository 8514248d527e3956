"""Turn filters of images (dates, bounds, properties, ``system:index``) into searches of items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.archive_model import Item, ItemQuery, ItemSearch
from eechips_local.archives.archive_record import ArchiveRecord
from eechips_local.archives.items.system_index import IndexSearch, rule_of
from eechips_local.evaluation.asset_model import Query, Range

_DAY = 86_400_000.0
_MOST_SEARCHED = 16  # images that are each searched by their index
_SINGLE = "system:index"


def found_items(search: ItemSearch, collection: str, query: ItemQuery) -> Iterator[Item]:
    """Yield the items that a search finds.

    Raises:
        ArchiveError: if the archive does not answer.
        ArchiveRefusedError: if it answers with an item that has no properties or no assets.
    """
    for item in search.items(collection, query):
        assets = item.get("assets")
        if isinstance(assets, Mapping) and None in assets.values():  # of programs that give all items the same keys
            assets = {name: asset for name, asset in assets.items() if asset is not None}
            item = {**item, "assets": assets}
        is_whole = isinstance(item.get("properties"), Mapping) and isinstance(assets, Mapping)
        if not is_whole or not all(isinstance(asset, Mapping) for asset in assets.values()):  # type: ignore[union-attr]
            raise ArchiveRefusedError(
                f"Item {str(item.get('id'))[:200]!r} of {collection} has no properties or no assets."
            )
        yield item


def item_queries(record: ArchiveRecord, query: Query) -> list[ItemQuery]:
    """Return searches that together find all items of the images that may match.

    Args:
        record: record of the dataset.
        query: conditions on the images, by their Earth Engine names.
    """
    base = _base(record, query)
    indices = _indices(query)
    if indices is None:
        return [base]
    prefix = record.prefixes[0] if record.prefixes else ""
    index_searches = [rule_of(record.index).search(index, prefix) for index in sorted(indices)]
    searches = [search for search in index_searches if search is not None]
    if len(searches) > _MOST_SEARCHED:
        return [_together(record, base, searches)]
    return [_narrowed(record, base, search) for search in searches]


def _indices(query: Query) -> frozenset[str] | None:
    named = query.equals.get(_SINGLE)
    if named is None:
        return query.indices
    own = frozenset((str(named),))
    return own if query.indices is None else own & query.indices


def _with_conditions(record: ArchiveRecord, known: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return conditions of items, with those that properties of images lead to; known ones stay."""
    equals = dict(known)
    for name, value in more.items():
        rule = record.properties.get(name)
        condition = None if rule is None else rule.equal(value)
        if condition is not None:
            equals.setdefault(*condition)
    return equals


def _base(record: ArchiveRecord, query: Query) -> ItemQuery:
    equals = _with_conditions(record, record.filters, query.equals)
    ranges: dict[str, Range] = {}
    for name, span in query.ranges.items():
        rule = record.properties.get(name)
        ranged = None if rule is None else rule.range(span)
        if ranged is not None:
            known = ranges.get(ranged[0])
            ranges[ranged[0]] = ranged[1] if known is None else known.within(ranged[1])
    start, end = _padded(record, query.start, query.end)
    return ItemQuery(bounds=query.bounds, start=start, end=end, equals=equals, ranges=ranges)


def _narrowed(record: ArchiveRecord, base: ItemQuery, search: IndexSearch) -> ItemQuery:
    """Return a search narrowed to the image of an index."""
    equals = _with_conditions(record, base.equals, search.equals)
    start, end = _padded(record, search.start, search.end)
    return ItemQuery(
        bounds=base.bounds or search.bounds,
        start=_latest(base.start, start),
        end=_earliest(base.end, end),
        equals=equals,
        ranges=base.ranges,
        ids=search.ids,
    )


def _together(record: ArchiveRecord, base: ItemQuery, searches: list[IndexSearch]) -> ItemQuery:
    """Return one search for the images of many indices: by their ids, else in the time from the first to the last."""
    if all(search.ids is not None for search in searches):
        ids = tuple(name for search in searches for name in search.ids or ())
        return ItemQuery(base.bounds, base.start, base.end, base.equals, base.ranges, ids)
    spans = [_padded(record, search.start, search.end) for search in searches]
    starts, ends = [start for start, _ in spans if start is not None], [end for _, end in spans if end is not None]
    is_known = len(starts) == len(ends) == len(spans)
    return ItemQuery(
        base.bounds,
        _latest(base.start, min(starts) if is_known else None),
        _earliest(base.end, max(ends) if is_known else None),
        base.equals,
        base.ranges,
    )


def _padded(record: ArchiveRecord, start: float | None, end: float | None) -> tuple[float | None, float | None]:
    """Return a span of time of images as one of items."""
    if record.time == "constant":
        return None, None
    before = record.margin_days * _DAY
    after = before + (_DAY if record.time == "day" else 0.0)  # an item may be at the end of its image's day
    return None if start is None else start - before, None if end is None else end + after


def _latest(one: float | None, other: float | None) -> float | None:
    return max((value for value in (one, other) if value is not None), default=None)


def _earliest(one: float | None, other: float | None) -> float | None:
    return min((value for value in (one, other) if value is not None), default=None)
