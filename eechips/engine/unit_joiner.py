"""Join neighbouring units to tasks that may be fetched in shared requests."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Hashable, Iterator
from dataclasses import replace
from itertools import islice

from eechips.client.shared_requests import MOST_PIXELS, MOST_WASTE
from eechips.geo.grid import Grid
from eechips.geo.grid_groups import GroupLimits, group_grids
from eechips.manifest.unit_record import WorkUnit
from eechips.recipe import SupportsSharedRequests, unit_value

_MOST_HELD = 4_096
"""Units among which neighbours are looked for."""
_MOST_JOINED = 256
"""Units of a task: each is written by the thread that fetches it."""
_TASKS_PER_SLOT = 2
"""Tasks for each slot that the units must be enough for, so that no slot is idle while others have large tasks."""


class UnitJoiner:
    """Joins the units of a plan: those that lie on the same pixels near each other are one task.

    Args:
        recipe: tells the pixels of a unit.
        units: open units in the order of the plan; None while the next one is not planned yet.
    """

    def __init__(self, recipe: SupportsSharedRequests, units: Iterator[WorkUnit | None]) -> None:
        self._recipe, self._units = recipe, units
        self._tasks: deque[WorkUnit] = deque()

    def take(self, slots: int, left: int) -> WorkUnit | None:
        """Return the next task; None while the next unit is not planned yet.

        Args:
            slots: requests that may be in flight.
            left: units that are not settled, as far as they are planned.

        Raises:
            StopIteration: if no unit is left.
        """
        if not self._tasks:
            found: list[WorkUnit] = []
            for unit in islice(self._units, _MOST_HELD):
                if unit is None:
                    break
                found.append(unit)
            else:
                if not found:
                    raise StopIteration
            if not found:
                return None
            self._tasks.extend(self._join(found, max(1, left // (_TASKS_PER_SLOT * max(1, slots)))))
        return self._tasks.popleft()

    def _join(self, units: list[WorkUnit], most: int) -> list[WorkUnit]:
        """Join units to tasks of ``most`` units at most, in the order of their first units."""
        placed: dict[Hashable, list[tuple[WorkUnit, Grid]]] = defaultdict(list)
        tasks: list[WorkUnit] = []
        for unit in units:
            found = self._recipe.request_window(unit_value(json.loads(unit.unit))) if not unit.attempts else None
            if found is None:
                tasks.append(unit)
            else:
                placed[found[0]].append((unit, found[1]))
        limits = GroupLimits(pixels=MOST_PIXELS, members=min(_MOST_JOINED, most), waste=MOST_WASTE)
        for some in placed.values():
            for group in group_grids([grid for _, grid in some], limits):
                first, *others = (some[member.content][0] for member in group.members)
                tasks.append(replace(first, joined=tuple(others)))
        return sorted(tasks, key=lambda task: task.position)
