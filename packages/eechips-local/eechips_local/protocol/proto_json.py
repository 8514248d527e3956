"""Write fields of messages as Google's JSON has them: https://protobuf.dev/programming-guides/json/."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any


def timestamp(moment: datetime) -> str:
    """Return a UTC time with 0, 3 or 6 digits after the second, as many as it needs ("2020-02-15T00:00:00Z").

    The client's ``_convert_timestamp_to_msec`` reads times with and without a fraction.
    """
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    if moment.microsecond:
        text += f".{moment.microsecond:06d}".removesuffix("000")
    return f"{text}Z"


def without_defaults(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a message without those that have the default of their type, such as 0 or an empty list.

    So are the recorded ``affineTransform`` of https://developers.google.com/earth-engine/reference/Quickstart, and the
    stages of tasks that have just begun (code 53406712793).
    """
    return {name: value for name, value in fields.items() if value not in (0, "", [], {}, "0", None, False)}
