"""Check the fields of messages by their types, with the messages of Google's JSON transcoding; also workload tags and
field masks.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from eechips_local.protocol.request_errors import FieldError, InvalidError

Check = Callable[[Any, str], None]
"""Checks a value at a path; raises InvalidError."""

_TAG = re.compile(r"[a-z0-9][-_a-z0-9]{0,62}")
_SHOWN = 100
_VIOLATIONS = 100
"""That a response lists."""


def snake_name(path: str) -> str:
    """Return a path as Google's errors spell it: ``file_format`` for ``fileFormat``."""
    return re.sub(r"(?<=[a-z])([A-Z])", lambda match: f"_{match.group(1).lower()}", path)


def camel_name(name: str) -> str:
    """Return the name of a field that JSON has: ``startTime`` for ``start_time``.

    Google's JSON parser accepts both (https://protobuf.dev/programming-guides/json/), and the client sends both.
    """
    return re.sub(r"_([a-z])", lambda match: match.group(1).upper(), name)


def _unknown(name: str, path: str, reason: str) -> FieldError:
    field = snake_name(path)
    where = f" at '{field}'" if field else ""
    return FieldError((field, f'Invalid JSON payload received. Unknown name "{name[:_SHOWN]}"{where}: {reason}.'))


def _wrong(value: Any, path: str, kind: str) -> FieldError:
    if isinstance(value, list) and not path.endswith("]"):
        outer, _, name = path.rpartition(".")
        return _unknown(name, outer, "Proto field is not repeating, cannot start list")
    shown = json.dumps(value) if isinstance(value, (str, int, float, bool)) else type(value).__name__
    field = snake_name(path)
    return FieldError((field, f"Invalid value at '{field}' ({kind}), {shown[:_SHOWN]}"))


def _check_each(parts: Iterable[tuple[Check, Any, str]]) -> None:
    """Check the parts of a message; raise what is wrong with all of them."""
    violations: list[tuple[str, str]] = []
    for check, value, path in parts:
        try:
            check(value, path)
        except FieldError as error:
            violations += error.violations
        if len(violations) >= _VIOLATIONS:
            break
    if violations:
        raise FieldError(*violations[:_VIOLATIONS])


def check_string(value: Any, path: str) -> None:
    """Check a text."""
    if not isinstance(value, str):
        raise _wrong(value, path, "TYPE_STRING")


def _whole(value: Any) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"-?[0-9]{1,10}", value) is not None
    return isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer()


def check_integer(value: Any, path: str) -> None:
    """Check a 32-bit integer, which JSON may hold as text."""
    if isinstance(value, int) and abs(value) >= 2**31:
        raise _wrong(value, path, "TYPE_INT32")
    if not _whole(value) or abs(int(value)) >= 2**31:
        raise _wrong(value, path, "TYPE_INT32")


def check_number(value: Any, path: str) -> None:
    """Check a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(value, path, "TYPE_DOUBLE")
    if (isinstance(value, float) and not math.isfinite(value)) or abs(value) > 1e300:
        raise _wrong(value, path, "TYPE_DOUBLE")


def check_object(value: Any, path: str) -> None:
    """Check an object whose members are not checked."""
    if not isinstance(value, Mapping):
        raise _wrong(value, path, "type.googleapis.com/google.protobuf.Struct")


def check_expression(value: Any, path: str) -> None:
    """Check that an expression has its members; their graph is checked when it is evaluated."""
    message_of(result=check_string, values=check_object)(value, path)
    if value.get("result") is None or value.get("values") is None:
        raise InvalidError("Invalid expression: 'result' and 'values' are required.")


def enum_of(name: str, *values: str) -> Check:
    """Return a check of one of some values; the name is that of the enumeration."""

    def check(value: Any, path: str) -> None:
        if value not in values:
            raise _wrong(value, path, f"type.googleapis.com/google.earthengine.v1.{name}")

    return check


def array_of(of: Check) -> Check:
    """Return a check of an array whose items pass another check."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise _wrong(value, path, "array")
        _check_each((of, item, f"{path}[{index}]") for index, item in enumerate(value))

    return check


def map_of(of: Check) -> Check:
    """Return a check of an object whose members, of any names, pass another check."""

    def check(value: Any, path: str) -> None:
        check_object(value, path)
        _check_each((of, item, f"{path}[{name}]") for name, item in value.items())

    return check


def _no_field(name: str) -> Check:
    def check(_: Any, path: str) -> None:
        raise _unknown(name, path, "Cannot find field")

    return check


def message_of(**fields: Check) -> Check:
    """Return a check of an object with these fields at most; null stands for a missing one."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, Mapping):
            raise _wrong(value, path, "object") if path else _unknown("", "", "Root element must be a message")
        parts = ((name, fields.get(camel_name(name)), content) for name, content in value.items())
        _check_each(
            (check, content, f"{path}.{name}" if path else name) if check else (_no_field(name), None, path)
            for name, check, content in parts
            if content is not None or check is None
        )

    return check


def check_wrapped(value: Any, path: str) -> None:
    """Check a number that the reference writes as itself and the client as ``{"value": number}``."""
    (check_number if not isinstance(value, Mapping) else message_of(value=check_number))(value, path)


def check_wrapped_integer(value: Any, path: str) -> None:
    """Check a 64-bit integer, which JSON may hold as text or as ``{"value": integer}``."""
    if isinstance(value, Mapping):
        message_of(value=check_wrapped_integer)(value, path)
        return
    is_text = isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value)
    is_number = isinstance(value, int) if not isinstance(value, float) else value.is_integer()
    if isinstance(value, bool) or not (is_text or is_number) or not -(2**63) <= int(value) < 2**63:
        raise _wrong(value, path, "TYPE_INT64")


def unwrapped_integer(value: Any, default: int) -> int:
    """Return an integer of a checked message, which may be text or wrapped; the default where there is none."""
    inner = value.get("value") if isinstance(value, Mapping) else value
    return default if inner is None else int(inner)


def check_boolean(value: Any, path: str) -> None:
    """Check a truth value."""
    if not isinstance(value, bool):
        raise _wrong(value, path, "TYPE_BOOL")


def check_tag(value: Any, path: str) -> None:
    """Check the field of a workload tag."""
    check_string(value, path)
    check_workload_tag(value)


def check_workload_tag(tag: str) -> None:
    """Check a workload tag: https://developers.google.com/earth-engine/guides/computation_overview#workload_tags.

    Raises:
        InvalidError: if it is none.
    """
    if not _TAG.fullmatch(tag):
        raise InvalidError(
            f"Invalid workload tag '{tag[:_SHOWN]}': tags have 1 to 63 characters and match [a-z0-9][-_a-z0-9]*."
        )


def check_timestamp(value: Any, path: str) -> None:
    """Check a time: RFC 3339, or seconds and nanoseconds since 1970 as the client's manifests have them."""
    parts = message_of(seconds=check_wrapped_integer, nanos=check_integer)
    (parts if isinstance(value, Mapping) else check_string)(value, path)


def check_mask(value: Any, path: str) -> None:
    """Check a field mask: text with commas, or the list that the client sends."""
    (check_string if not isinstance(value, Mapping) else message_of(paths=array_of(check_string)))(value, path)


def checked_fields(document: Any, checks: Mapping[str, Callable[[Any], bool]], noun: str) -> Mapping[str, Any]:
    """Return the fields of a JSON object.

    Args:
        checks: says of a value whether a field may have it, by the name of the field.
        noun: what the object is, for messages.

    Raises:
        InvalidError: if it is no object, or has an unknown field or a value that its field may not have.
    """
    if not isinstance(document, Mapping):
        raise InvalidError(f"A {noun} must be an object.")
    if unknown := document.keys() - checks.keys():
        raise InvalidError(f"Unknown field of a {noun}: '{min(unknown)}'.")
    for name, is_good in checks.items():
        if name in document and not is_good(document[name]):
            raise InvalidError(f"Invalid {name} of a {noun}: {str(document[name])[:50]!r}.")
    return document
