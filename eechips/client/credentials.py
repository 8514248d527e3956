"""Find credentials, and send them to Google only, unless the user allows another host."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from eechips.errors import ConfigurationError, UsageError
from eechips.received_files import parse_json
from eechips.redaction import redact
from eechips.urls import is_loopback
from eechips.warning_filters import ignore_warning

HIGH_VOLUME_ENDPOINT = "https://earthengine-highvolume.googleapis.com"
"""For many small automated requests: https://developers.google.com/earth-engine/guides/processing_environments."""

_SCOPES = (
    "https://www.googleapis.com/auth/earthengine",
    "https://www.googleapis.com/auth/cloud-platform",
)
_WAYS_OUT = (
    "authenticate once with `earthengine authenticate`, name a service account's key file (`credentials`),"
    " or run without an account (`local`)"
)


def check_endpoint(url: str) -> str:
    """Return the endpoint as the client takes it: a base URL without a slash at its end.

    Raises:
        UsageError: if it is no http or https URL, or holds a user name, a query or a fragment.
    """
    parts = urlsplit(url)
    try:
        port_is_good = parts.port is None or parts.port > 0
    except ValueError:
        port_is_good = False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_good:
        raise UsageError(f"the endpoint must be an http or https address, not '{redact(url)}'")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError("the endpoint must be a plain address, without user name, password or query")
    return url.rstrip("/")


def is_google(url: str) -> bool:
    """Return whether a URL is https at one of the hosts of Google's APIs."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "https" and host.endswith(".googleapis.com") and parts.port in (None, 443)


def find_credentials(endpoint: str, key_file: Path | None, *, send_anywhere: bool = False) -> Any:
    """Return the credentials for an endpoint, or None where none are to be sent.

    Loopback gets none. Google's hosts over https get the key that the user names, else the client's stored
    credentials, else the application-default ones. Other hosts get none, unless ``send_anywhere``.

    Args:
        endpoint: base URL of the service.
        key_file: a service account's key, JSON.
        send_anywhere: the user's consent to send credentials to a host that is not Google's.

    Raises:
        ConfigurationError: if there are none, or those there are do not work.
    """
    if is_loopback(endpoint):
        return None
    if not is_google(endpoint) and not send_anywhere:
        if key_file is not None:
            raise ConfigurationError(
                f"refused to send credentials to {endpoint}: it is not https at *.googleapis.com;"
                " `send_credentials` allows it"
            )
        return None
    return _load_key(key_file) if key_file is not None else _load_stored()


def project_of(credentials: Any) -> str | None:
    """Return the project that credentials name, if any."""
    for attribute in ("quota_project_id", "project_id"):
        value = getattr(credentials, attribute, None)
        if value:
            return str(value)
    return None


def _load_key(path: Path) -> Any:
    from google.auth.exceptions import GoogleAuthError
    from google.oauth2 import service_account

    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the credentials {path}: {error.strerror or error}") from None
    except ValueError:
        raise ConfigurationError(f"{path} is not a service account's key: it is not JSON") from None
    try:
        make: Any = service_account.Credentials.from_service_account_info
        return make(content, scopes=_SCOPES)
    except (ValueError, TypeError, AttributeError, KeyError, GoogleAuthError):
        # Their messages may quote the key.
        if isinstance(content, dict) and content.get("type") == "authorized_user":
            raise ConfigurationError(
                f"{path} has the credentials of a user, not a service account's key: leave out `credentials`, and run"
                " `earthengine authenticate`"
            ) from None
        raise ConfigurationError(
            f"{path} is not a service account's key, or is incomplete: download one from"
            " https://console.cloud.google.com/iam-admin/serviceaccounts"
        ) from None


def _load_stored() -> Any:
    """Load the client's stored credentials, or the application-default ones.

    Unlike those, credentials that need scopes get them: without, Google gives a service account no token
    (https://google-auth.readthedocs.io/en/latest/reference/google.auth.html#google.auth.default). None are refreshed
    here: a token endpoint that is away for a moment is waited for when the first request is sent.
    """
    import ee.oauth
    import google.auth
    from google.auth.credentials import with_scopes_if_required
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
    from google.oauth2.credentials import Credentials

    stored: dict[str, Any] = {}
    try:
        with contextlib.suppress(OSError):
            stored = ee.oauth.get_credentials_arguments()
        make: Any = Credentials
        # Their advice is wrong here: the project is named by each request.
        ignore_warning(UserWarning, ".*(No project ID|quota project).*")
        found = make(None, **stored) if stored.get("refresh_token") else google.auth.default()[0]
        project = stored.get("quota_project_id") or ee.oauth.get_appdefault_project()
        if project and project != found.quota_project_id and hasattr(found, "with_quota_project"):
            found = found.with_quota_project(project)
        add_scopes: Any = with_scopes_if_required
        return add_scopes(found, _SCOPES)
    except DefaultCredentialsError as error:
        named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        if named:
            text = redact(str(error)).splitlines()[0][:200]
            raise ConfigurationError(f"GOOGLE_APPLICATION_CREDENTIALS ({named}) does not work: {text}") from None
        raise ConfigurationError(f"no Earth Engine credentials found: {_WAYS_OUT}") from None
    except (GoogleAuthError, ValueError, KeyError, TypeError, AttributeError) as error:
        text = redact(str(error))[:200]
        raise ConfigurationError(f"the stored credentials do not work ({text}): {_WAYS_OUT}") from None
