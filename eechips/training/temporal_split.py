"""Split chips by date: their days, and the first days of the splits."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Any

from eechips.errors import UsageError
from eechips.training.sample import Sample
from eechips.training.split_assignment import Ratios
from eechips.training.split_table import NONE

Span = tuple[dt.date, dt.date]
"""First and last day, both inclusive."""

_FIELDS = ("date", "time", "label_date", "observed")


def dates_of(sample: Sample, field: str | None) -> Span | None:
    """Return the first and last day of a sample's images; None if unknown.

    Args:
        sample: the sample.
        field: of its unit, with the date; None for the dates of its sources, or, where these are not known, what its
            unit says: a period, or a field that is called like a date.
    """
    if field is not None:
        return _span([sample.fields.get(field)])
    if sample.dates:
        return _span(sample.dates)
    start, end = _day(sample.unit.get("start")), _day(sample.unit.get("end"))
    if start is not None and end is not None and start < end:
        return start, end - dt.timedelta(days=1)
    return _span([next((sample.fields[name] for name in _FIELDS if name in sample.fields), None)])


def parse_cuts(text: str | Sequence[str]) -> tuple[dt.date, ...]:
    """Return the days of ``2019-01-01,2020-01-01``.

    Raises:
        UsageError: if one is no day, or they are not in order.
    """
    words = text.split(",") if isinstance(text, str) else list(text)
    found = tuple(day for word in words if (day := _day(word.strip())) is not None)
    if len(found) < len(words) or list(found) != sorted(set(found)):
        raise UsageError(f"cuts {text!r} is not days in order, as in 2019-01-01,2020-01-01")
    return found


def cuts_of(spans: Sequence[Span], ratios: Ratios) -> tuple[dt.date, ...]:
    """Return the first days of splits whose sizes are as close to the shares as whole days allow.

    Args:
        spans: of the chips.
        ratios: of the splits, the earliest first.

    Raises:
        UsageError: if there are fewer days than splits.
    """
    counts = Counter(last for _, last in spans)
    days = sorted(counts)
    if len(days) < len(ratios.names):
        raise UsageError(f"{len(days)} different days are too few for {len(ratios.names)} splits")
    before = [0]  # chips that are over before a day
    for day in days:
        before.append(before[-1] + counts[day])
    cuts, wanted, place = [], 0.0, 0
    for index, share in enumerate(ratios.shares[:-1]):
        wanted += share * len(spans)
        left = len(ratios.names) - 2 - index  # cuts that are still to come, each with a day of its own
        places = range(place + 1, len(days) - left)
        place = min(places, key=lambda each: (abs(before[each] - wanted), each))
        cuts.append(days[place])
    return tuple(cuts)


def split_of(span: Span, cuts: Sequence[dt.date], names: Sequence[str]) -> str:
    """Return the split of a chip: the first ends before the first cut. ``none`` if a cut falls into its days."""
    first, last = (sum(day >= cut for cut in cuts) for day in span)
    return names[first] if first == last else NONE


def _span(values: Sequence[Any]) -> Span | None:
    days = [_day(value) for value in values]
    known = [day for day in days if day is not None]
    return (min(known), max(known)) if known and len(known) == len(days) else None


def _day(value: Any) -> dt.date | None:
    try:
        return dt.date.fromisoformat(str(value)[:10])
    except ValueError:
        return None
