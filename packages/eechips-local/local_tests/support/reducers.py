"""Reducers made by graphs, and tables that they reduce."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eechips_local.reducers import Reducer
from local_tests.support.graphs import Ready, evaluate, invoke


def reducer(name: str, **arguments: Any) -> Reducer:
    made: Reducer = evaluate(invoke(f"Reducer.{name}", **arguments))
    return made


def features(**columns: Sequence[Any]) -> Ready:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return invoke("Collection", features=[invoke("Feature", geometry=None, metadata=row) for row in rows])


def columns(
    name: str, selectors: Sequence[str], table: Ready, weights: Sequence[str] | None = None, **more: Any
) -> Any:
    """``reduceColumns`` through the graph."""
    given_weights = {} if weights is None else {"weightSelectors": list(weights)}
    return evaluate(
        invoke(
            "Collection.reduceColumns", collection=table, reducer=invoke(f"Reducer.{name}", **more),
            selectors=list(selectors), **given_weights,
        )
    )  # fmt: skip
