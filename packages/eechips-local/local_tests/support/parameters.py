"""Parameters of tests, of which some are tested by default and the others with the slow tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def slow_except(values: Iterable[Any], *quick: Any) -> list[Any]:
    """Return parameters that are slow, except for some.

    Args:
        values: values of the parameter.
        *quick: those that are tested by default: the edges, and one of each path through the code.

    Raises:
        ValueError: if one of these is no value.
    """
    every = list(values)
    if unknown := [value for value in quick if value not in every]:
        raise ValueError(f"no parameters: {unknown}")
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in every]
