"""Find credentials, and send them to Google only, unless the user allows another host."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from eechips.client.credential_files import load_credentials, load_default_credentials
from eechips.errors import ConfigurationError, UsageError
from eechips.web.redaction import redact
from eechips.web.urls import is_google, is_loopback

HIGH_VOLUME_ENDPOINT = "https://earthengine-highvolume.googleapis.com"
"""For many small automated requests: https://developers.google.com/earth-engine/guides/processing_environments."""

ENDPOINT_VARIABLE = "EECHIPS_ENDPOINT"
PROJECT_VARIABLE = "EECHIPS_PROJECT"
_GOOGLES_VARIABLE = "GOOGLE_CLOUD_PROJECT"
_SIGN_IN = "sign in again with `earthengine authenticate --force`"
_SIGN_IN_WITH_GCLOUD = "sign in again with `gcloud auth application-default login`"
_SERVICE_ACCOUNTS = "https://console.cloud.google.com/iam-admin/serviceaccounts"


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
        raise UsageError(
            f"the endpoint (`endpoint` or {ENDPOINT_VARIABLE}) must be an http or https address, not '{redact(url)}'"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            f"the endpoint (`endpoint` or {ENDPOINT_VARIABLE}) must be a plain address, without user name, password or"
            " query"
        )
    return url.rstrip("/")


def find_credentials(endpoint: str, key_file: Path | None, *, send_anywhere: bool = False) -> Any:
    """Return the credentials for an endpoint, or None where none are to be sent.

    Google's hosts over https get those that the user names, else the client's stored ones, else the application-default
    ones. Other hosts, and servers of this machine, get none, unless ``send_anywhere``.

    Args:
        key_file: key file of credentials, as the user names it.
        send_anywhere: the user's consent to send credentials to a host that is not Google's.

    Raises:
        ConfigurationError: if there are none, or those there are do not work.
    """
    if not is_google(endpoint) and not send_anywhere:
        if key_file is not None and not is_loopback(endpoint):
            raise ConfigurationError(
                f"refused to send credentials to {endpoint}: it is not https at *.googleapis.com;"
                " `send_credentials` allows it"
            )
        return None
    return load_credentials(key_file) if key_file is not None else load_default_credentials()


def find_project(named: str | None, credentials: Any) -> str | None:
    """Return the project whose quota is used; None if nothing names one.

    ``EECHIPS_PROJECT`` comes before the project that is stored with the credentials, as by `earthengine set_project`,
    and ``GOOGLE_CLOUD_PROJECT`` after it: the Earth Engine client does not read that variable, and others put it before
    the project of a key (https://googleapis.dev/python/google-auth/latest/reference/google.auth.html#google.auth.default).
    The last is the project of the OAuth client that a user has signed in with, as in ``ee.Initialize()``; those of
    Google's own tools do not have Earth Engine enabled.

    Args:
        credentials: credentials of google.auth, or None.
    """
    return (
        named
        or os.environ.get(PROJECT_VARIABLE)
        or getattr(credentials, "quota_project_id", None)
        or os.environ.get(_GOOGLES_VARIABLE)
        or getattr(credentials, "project_id", None)
        or _project_of_client(credentials)
    )


def is_project(name: str) -> bool:
    """Return whether a name fits the addresses of the service, whose discovery document has ``^projects/[^/]+$``."""
    return not re.search(r"[/\s?#]", name)


def missing_project(what: str = "no Google Cloud project") -> ConfigurationError:
    """Make the error of a run without a project that Earth Engine takes; ``what`` is the matter."""
    return ConfigurationError(
        f"{what}: name one that is registered for Earth Engine (`project`, {PROJECT_VARIABLE}, or"
        " `earthengine set_project ID`), or run without an account (`local`)"
    )


def describe_credentials(credentials: Any, endpoint: str) -> str:
    """Return the kind of credentials and their owner, without secrets.

    Args:
        credentials: google.auth credentials, or None.
        endpoint: endpoint that they are sent to.
    """
    if credentials is None:
        reason = "it is this machine" if is_loopback(endpoint) else "it is not https at one of Google's hosts"
        return f"none are sent to {endpoint}: {reason}"
    account = getattr(credentials, "service_account_email", None)
    if account:
        kind = "the machine's service account" if account == "default" else f"service account {account}"
        whose = getattr(credentials, "project_id", None)
    elif getattr(credentials, "refresh_token", None):
        user = getattr(credentials, "account", None)
        origin = "stored by `earthengine authenticate`" if _is_stored(credentials) else "application-default"
        kind = f"a user's, {origin}" + (f", {user}" if user else "")
        whose = getattr(credentials, "quota_project_id", None)
    else:
        kind, whose = type(credentials).__module__.rpartition(".")[2].replace("_", " "), None
    return kind + (f", of project {whose}" if whose else "")


def find_cure(credentials: Any) -> str:
    """Return what to do when Google issues no token for credentials of google.auth, a clause."""
    if getattr(credentials, "refresh_token", None):
        return _SIGN_IN if _is_stored(credentials) or not _is_of_gcloud(credentials) else _SIGN_IN_WITH_GCLOUD
    kind = type(credentials).__module__
    if kind.startswith("google.auth.compute_engine"):
        return "give the machine a service account that may use Earth Engine, with the scope cloud-platform"
    if kind == "google.oauth2.service_account":
        return f"make another key of the service account at {_SERVICE_ACCOUNTS}, and name its file (`credentials`)"
    return "correct the file of the credentials, and what it names: source, pool, service account"


def _is_stored(credentials: Any) -> bool:
    """Return whether a user's credentials are those of the client's own file, and not application-default ones."""
    import ee.oauth

    try:
        stored = ee.oauth.get_credentials_arguments().get("refresh_token")
    except (OSError, ValueError):
        return False
    return stored is not None and bool(stored == credentials.refresh_token)


def _is_of_gcloud(credentials: Any) -> bool:
    """Return whether a user has signed in with gcloud's OAuth client, or that of another tool of Google's."""
    import ee.oauth

    number = ee.oauth.project_number_from_credentials(credentials) or ""
    return bool(ee.oauth.is_sdk_project(number))


def _project_of_client(credentials: Any) -> str | None:
    import ee.oauth

    number = ee.oauth.project_number_from_credentials(credentials) or ""
    is_own = getattr(credentials, "client_id", None) != ee.oauth.CLIENT_ID and not _is_of_gcloud(credentials)
    return number if is_own and number.isdecimal() else None
