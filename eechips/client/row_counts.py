"""Count the rows of a table in the request for them, so that lost and repeated rows are noticed.

The count has at most one row more than a page; what it costs the service is not known. Tables of several pages and
computed tables have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eechips.errors import ValidationError

ROWS = "eechips:rows"
"""Property of features with the number of the table's rows, or with one more than a page has."""
OTHER_RESPONSE = "the response to another request came back"
_STORED = ("ImageCollection.load", "Collection.loadTable")
_NO = {"constantValue": False}
_SUBSETS = ("Collection.filter", "Collection.limit")


def row_count_node(result: str, values: Mapping[str, Any], page_size: object) -> dict[str, Any] | None:
    """Return the number of a table's rows as a value node; None if counting might compute the rows.

    ``Collection.map`` keeps the number, unless it drops nulls, and so does sorting, a limit with a key alone.
    """

    def invocation(node: Any) -> tuple[str, Mapping[str, Any]]:
        while "valueReference" in node:
            node = values[node["valueReference"]]
        call = node.get("functionInvocationValue", {})
        return call.get("functionName", ""), call.get("arguments", {})

    source = reference_node(result)
    function, arguments = invocation(source)
    while (function == "Collection.map" and arguments.get("dropNulls", _NO) == _NO) or (
        function == "Collection.limit" and "limit" not in arguments
    ):
        source = arguments["collection"]
        function, arguments = invocation(source)
    while function in _SUBSETS:
        function, arguments = invocation(arguments["collection"])
    if function not in _STORED or not isinstance(page_size, int):
        return None
    some = call_node("Collection.limit", collection=source, limit={"constantValue": page_size + 1})
    return call_node("Collection.size", collection=some)


def check_counts(counts: set[int], received: int, *, is_whole: bool) -> None:
    """Raise ValidationError if features have different numbers of rows, or a whole table has another one.

    Args:
        counts: none, if the rows are not counted.
        is_whole: whether the page is the whole table.
    """
    if len(counts) > 1:
        raise proxy_error(OTHER_RESPONSE, "exchanges")
    for total in counts if is_whole else ():
        check_count(received, total)


def check_count(received: int, total: int) -> None:
    """Raise ValidationError if fewer or more rows came back than the service has counted."""
    if received != total:
        raise proxy_error(f"{received:,} rows of a table of {total:,} came back", "alters")


def proxy_error(sign: str, what: str, status: int | None = None) -> ValidationError:
    """Make the error of responses that something between this machine and the service exchanges or alters.

    Args:
        sign: what shows it.
        what: what is done to responses: a verb.
    """
    return ValidationError(
        f"{sign}: a cache or proxy between this machine and Earth Engine {what} responses. Send the requests past it",
        status=status,
    )


def call_node(function: str, **arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the call of a function as a value node of an expression."""
    return {"functionInvocationValue": {"functionName": function, "arguments": arguments}}


def reference_node(key: str) -> dict[str, Any]:
    """Return the reference to a value of an expression as a node."""
    return {"valueReference": key}
