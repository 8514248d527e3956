"""Draw the same number of points in each stratum, and draw another one where a chip came back empty."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np

from eechips.errors import RegionError
from eechips.planning.sampling.samplers import MinDistance, PointStream, Stratum

Key: TypeAlias = "int | float | str"
Point = tuple[float, float]
PointFilter = Callable[[Sequence[Point]], Sequence[bool]]
"""Return for each point whether it counts. A call with many points costs less than many calls."""

_SPARE = 16  # candidates that are drawn in addition to the expected need
_LEAST_SHARE = 0.02  # lower bound for the estimated share of candidates that count, so that draws stay bounded

# Maximum candidates of a stratum, and for each wanted point: a stratum that needs more may never be filled.
_TRIES = 2_000
_TRIES_EACH = 100
_FREE_TRIES = 10_000  # the same, if no request is needed
_FREE_TRIES_EACH = 100


class PointPool(Protocol):
    """Provide candidates of every stratum in a fixed order."""

    def more(self, wanted: Mapping[Key, int], target: int) -> Mapping[Key, Sequence[Point]]:
        """Return further candidates.

        Args:
            wanted: expected need of each stratum; it may receive more or fewer.
            target: wanted points of a stratum in total, which bounds the effort.

        Returns:
            Candidates in their order, without strata that have no more.
        """


class StrataPool:
    """Draw candidates uniformly on the sphere in each stratum, without points that do not count.

    Args:
        seed: seed of the whole plan.
        keep: tells which points count; None if all do.
        is_thinned: whether a minimum distance rejects candidates; then too few candidates are no error.
    """

    def __init__(
        self, strata: Sequence[Stratum], seed: int, keep: PointFilter | None = None, *, is_thinned: bool = False
    ) -> None:
        self._streams: dict[Key, _Drawing] = {}
        self._strata, self._seed, self._keep = {s.id: s for s in strata}, seed, keep
        self._is_thinned = is_thinned or keep is not None

    def more(self, wanted: Mapping[Key, int], target: int) -> Mapping[Key, Sequence[Point]]:
        """Return further candidates; see :class:`PointPool`.

        Raises:
            RegionError: if all points count, and a stratum is too small for the wanted points.
        """
        drawn = {key: self._draw(key, count, target) for key, count in wanted.items()}
        if self._keep is None:
            return {key: points for key, points in drawn.items() if points}
        flat = [point for points in drawn.values() for point in points]
        counts = iter(self._keep(flat))
        kept = {key: [point for point in points if next(counts)] for key, points in drawn.items()}
        for key, points in kept.items():
            self._streams[key].kept += len(points)
        return {key: points for key, points in kept.items() if drawn[key]}

    def _draw(self, key: Key, count: int, target: int) -> list[Point]:
        if key not in self._streams:
            self._streams[key] = _Drawing(PointStream(self._strata[key].geometry, self._seed, key))
        stream = self._streams[key]
        if not self._is_thinned:
            return stream.draw(count, is_strict=stream.position == 0)
        fixed, tries_each = (_FREE_TRIES, _FREE_TRIES_EACH) if self._keep is None else (_TRIES, _TRIES_EACH)
        left = fixed + tries_each * target - stream.position
        share = stream.kept / stream.position if self._keep is not None and stream.position else 1.0
        return stream.draw(min(left, round(count / max(share, _LEAST_SHARE)) + _SPARE), is_strict=False)


class _Drawing:
    """A stream of points, and the number of points drawn so far."""

    def __init__(self, stream: PointStream) -> None:
        self._stream = stream
        self.position = self.kept = 0

    def draw(self, count: int, *, is_strict: bool) -> list[Point]:
        """Return the next points; none if the geometry is too small for them and ``is_strict`` is false."""
        if count <= 0:
            return []
        try:
            points = self._stream.points(self.position, self.position + count)
        except RegionError:
            if is_strict:
                raise
            return []
        self.position += count
        return points


class StratifiedDraw:
    """Draw the same number of points in every stratum, and replacements for them.

    Strata take turns, so that the first points of a plan are spread over them. The points of a stratum form one
    sequence: the plan has the first ``count`` of them, and the n-th replacement of point p is point n * count + p.

    Args:
        keys: keys of the strata, in the order of their turns.
        count: points in each stratum.
        min_distance: between the points of all strata; None for no minimum distance.
    """

    def __init__(
        self, pool: PointPool, keys: Sequence[Key], count: int, min_distance: MinDistance | None = None
    ) -> None:
        self._pool, self._count, self._min_distance = pool, count, min_distance
        self._queues: dict[Key, deque[tuple[Point, float]]] = {key: deque() for key in keys}
        self._chosen: dict[Key, list[Point]] = {key: [] for key in keys}
        self._offered: dict[Key, int] = dict.fromkeys(keys, 0)
        self._over: set[Key] = set()
        self._places: dict[Key, dict[Point, int]] = {}

    def interleaved(self) -> list[tuple[Key, Point]]:
        """Return the points of the plan, one of each stratum in turn."""
        self._grow(self._count)
        rounds = range(self._count)
        return [(key, chosen[n]) for n in rounds for key, chosen in self._chosen.items() if n < len(chosen)]

    @property
    def missing(self) -> dict[Key, int]:
        """Number of missing points of each incomplete stratum; call :meth:`interleaved` first."""
        return {key: self._count - len(c) for key, c in self._chosen.items() if len(c) < self._count}

    def replacement(self, key: Key, point: Point, number: int) -> Point | None:
        """Return a replacement of a point; it is unique, and does not depend on other replacements.

        Args:
            point: one of the points of :meth:`interleaved`.
            number: number of the replacement, from 1.

        Returns:
            Longitude and latitude in degrees; None if the stratum has no such point, or no more points.
        """
        if key not in self._chosen:
            return None
        self._grow(self._count)
        if key not in self._places:
            self._places[key] = {chosen: n for n, chosen in enumerate(self._chosen[key][: self._count])}
        place = self._places[key].get(point)
        if place is None:
            return None
        index = number * self._count + place
        self._grow((number + 1) * self._count)
        chosen = self._chosen[key]
        return chosen[index] if index < len(chosen) else None

    def _grow(self, count: int) -> None:
        """Take turns until every stratum has ``count`` points, or no more candidates."""
        done = min((len(self._chosen[key]) for key in self._chosen if key not in self._over), default=count)
        for n in range(done, count):
            for key, chosen in self._chosen.items():
                if len(chosen) == n and key not in self._over:
                    point = self._next(key, count)
                    if point is not None:
                        chosen.append(point)

    def _next(self, key: Key, count: int) -> Point | None:
        """Return the next point of a stratum that is far enough from all others; None if it has no more."""
        queue = self._queues[key]
        while True:
            while queue:
                point, radius = queue.popleft()
                self._offered[key] += 1
                if self._min_distance is None or self._min_distance.add(point, radius):
                    return point
            if not self._refill(key, count):
                self._over.add(key)
                return None

    def _refill(self, key: Key, count: int) -> bool:
        """Request candidates for all strata that will need some; return whether this one got any."""
        wanted = {k: self._wanted(k, count) for k in self._chosen if k not in self._over}
        candidates = self._pool.more({k: number for k, number in wanted.items() if number > 0}, count)
        for k, points in candidates.items():
            radii = (
                self._min_distance.radii(np.array(points).reshape(-1, 2)).tolist()
                if self._min_distance
                else [0.0] * len(points)
            )
            self._queues[k].extend(zip(points, radii, strict=True))
        return key in candidates

    def _wanted(self, key: Key, count: int) -> int:
        """Estimate the candidates that a stratum needs beyond its queue."""
        taken, offered = len(self._chosen[key]), self._offered[key]
        share = max(taken / offered, _LEAST_SHARE) if offered else 1.0
        return math.ceil((count - taken) / share) - len(self._queues[key])
