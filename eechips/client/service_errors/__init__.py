"""List the errors of Earth Engine and of Google's API gateway that reach this client.

The service sends the same status for different matters, so a row is found by the reason of ``google.rpc.ErrorInfo``
(or of the older ``errors[]`` list) or by the message, and only then by the status. The first row that matches counts:
see :func:`find_error`. What no row matches is unknown, and recorded as such.

``docs/reference/errors.md`` lists the same rows for readers; a test compares the two. ``tests/client`` has a documented
body of each in ``service_examples.csv``, and messages that users have reported in ``service_messages.csv``.
"""

from __future__ import annotations

from eechips.client.service_errors.access_errors import ACCESS_ERRORS
from eechips.client.service_errors.data_errors import DATA_ERRORS
from eechips.client.service_errors.error_row import ErrorBody, ServiceError, matches
from eechips.client.service_errors.quota_errors import QUOTA_ERRORS
from eechips.client.service_errors.service_failures import BY_STATUS, SERVICE_FAILURES
from eechips.client.service_errors.size_errors import SIZE_ERRORS

SERVICE_ERRORS: tuple[ServiceError, ...] = (
    *QUOTA_ERRORS,
    *SIZE_ERRORS,
    *SERVICE_FAILURES,
    *ACCESS_ERRORS,
    *DATA_ERRORS,
    *BY_STATUS,
)


def find_error(code: int, body: ErrorBody) -> ServiceError | None:
    """Return the first row that an answer matches; None if it is unknown."""
    return next((row for row in SERVICE_ERRORS if matches(row, code, body)), None)
