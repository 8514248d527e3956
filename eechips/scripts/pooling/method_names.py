"""Name methods and functions that change what they are called for."""

from __future__ import annotations

ADDING = frozenset({"append", "extend", "add", "update"})
REMOVING = frozenset({"clear", "discard", "pop", "popitem", "popleft", "remove"})
ORDERING = frozenset({"appendleft", "extendleft", "insert", "move_to_end", "reverse", "rotate", "sort", "subtract"})
ORDERING |= {"difference_update", "intersection_update", "symmetric_difference_update"}
OF_CONTAINERS = ADDING | REMOVING | ORDERING | {"setdefault", "__setitem__", "__delitem__"}
CHANGING = frozenset({"delattr", "heapify", "heappush", "heappop", "heapreplace", "heappushpop", "setattr", "shuffle"})
CHANGING |= {"at", "copyto", "fill_diagonal", "insort", "insort_left", "insort_right", "next", "place", "putmask"}
CHANGING |= {"setitem"}
"""Functions that change their first argument."""
OF_PROCESSES = frozenset({"Pool", "Process", "ProcessPoolExecutor"})
SIGNALS = frozenset({"clear", "get", "get_nowait", "put", "put_nowait", "set"})
OF_THREADS = frozenset({"_queue", "queue", "threading"})
OF_ARRAYS = frozenset({"fill", "itemset", "partition", "put", "resize", "sort"})
OF_TABLES = frozenset({"drop", "fillna", "insert", "pop", "rename", "replace", "sort_values", "update"})
