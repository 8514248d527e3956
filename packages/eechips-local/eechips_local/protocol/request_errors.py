"""Define errors in Earth Engine's own shape: their HTTP codes, statuses and bodies.

::

    EarthEngineError          any error that a client sees: HTTP code, status, message
    ├── InvalidError              400 INVALID_ARGUMENT: the expression or the request is wrong
    │   ├── FieldError                fields of a message that have other names or types
    │   ├── UnknownFunctionError      a function that the local Earth Engine does not have
    │   ├── TypeMismatchError         an argument of the wrong type
    │   └── LimitError                a limit of the service (pixels, bytes, elements, memory, time)
    ├── NotFoundError             404 NOT_FOUND: no such asset, thumbnail, table or method
    └── UnavailableError          503 UNAVAILABLE: not now
        └── ChangingError             assets change during a request, which is retried
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class EarthEngineError(Exception):
    """An error as the service reports it: ``{"error": {"code", "message", "status"}}``; `FieldError` has details."""

    code = 500
    status = "INTERNAL"

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the response."""
        return {"error": {"code": self.code, "message": str(self), "status": self.status}}


class InvalidError(EarthEngineError):
    """The expression or the request is wrong (HTTP 400)."""

    code = 400
    status = "INVALID_ARGUMENT"


class FieldError(InvalidError):
    """Fields of a message that have other names or types, as Google's JSON transcoding reports them: all at once.

    Args:
        violations: for each, the path of the field, which is empty for the message itself, and what is wrong.
    """

    def __init__(self, *violations: tuple[str, str]) -> None:
        super().__init__(*violations)
        self.violations = violations

    def __str__(self) -> str:
        return "\n".join(wrong for _, wrong in self.violations)

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the response: https://github.com/OSGeo/gdal/issues/805 shows one."""
        fields = [{"field": path, "description": wrong} for path, wrong in self.violations]
        violations = [{name: text for name, text in field.items() if text} for field in fields]
        details = [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}]
        return {"error": {**super().body()["error"], "details": details}}


class UnknownFunctionError(InvalidError):
    """A function that Earth Engine may have and the local one does not."""


class TypeMismatchError(InvalidError):
    """An argument of the wrong type."""


def error_of_element(index: object, error: InvalidError) -> InvalidError:
    """Return the error of a mapped function, which tells the element, as Earth Engine's do (guides/debugging)."""
    return InvalidError(f"Error in map(ID={index}):\n{error}")


class LimitError(InvalidError):
    """A limit of the service was exceeded."""


class MemoryLimitError(LimitError):
    """A computation needs more memory than a request may have."""

    def __init__(self) -> None:
        super().__init__("User memory limit exceeded.")


class NotFoundError(EarthEngineError):
    """No such asset, thumbnail, table or method (HTTP 404)."""

    code = 404
    status = "NOT_FOUND"


class UnavailableError(EarthEngineError):
    """Nothing can be answered now: ask again (HTTP 503)."""

    code = 503
    status = "UNAVAILABLE"


class ChangingError(UnavailableError):
    """Assets change during a request, which has to be retried."""


class ClientGoneError(EarthEngineError):
    """The client has disconnected before its response (counted as HTTP 499, as nginx does)."""

    code = 499
    status = "CANCELLED"


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Reject a value of an argument that is none of its choices.

    Raises:
        InvalidError: with the choices.
    """
    known = list(choices)
    if value not in known:
        raise InvalidError(f"Unknown {name} '{str(value)[:100]}'. Must be one of {', '.join(map(repr, known))}.")
