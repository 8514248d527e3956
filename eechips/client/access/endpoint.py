"""The address of the service: the high-volume endpoint, unless the user names another (``endpoint``,
``EECHIPS_ENDPOINT``), which is checked.

:mod:`eechips.client.access.credentials` decides whether credentials are sent there.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from eechips.errors import UsageError
from eechips.web.redaction import redact
from eechips.web.urls import split_checked

HIGH_VOLUME_ENDPOINT = "https://earthengine-highvolume.googleapis.com"
"""For many small automated requests: https://developers.google.com/earth-engine/guides/processing_environments."""

ENDPOINT_VARIABLE = "EECHIPS_ENDPOINT"


def check_endpoint(url: str) -> str:
    """Return the endpoint as the client takes it: a base URL without a slash at its end.

    Raises:
        UsageError: if it is no http or https URL, or holds a user name, a query or a fragment.
    """
    try:
        parts = split_checked(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"the endpoint (`endpoint` or {ENDPOINT_VARIABLE}) must be an http or https address, not '{redact(url)}'"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            f"the endpoint (`endpoint` or {ENDPOINT_VARIABLE}) must be a plain address, without user name, password or"
            " query"
        )
    return url.rstrip("/")
