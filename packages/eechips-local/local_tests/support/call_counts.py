"""The calls that an algorithm makes: what it costs, the same however busy the machine is."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def count_calls() -> Iterator[Counter[str]]:
    """Count calls of functions by name, those written in C as well, that this thread makes in the block.

    A generator counts each time it continues. What C does without a call, as NumPy for each element, does not count.
    """
    counts: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            counts[frame.f_code.co_name] += 1
        elif event == "c_call":
            counts[argument.__name__] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield counts
    finally:
        sys.setprofile(before)
