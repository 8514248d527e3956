"""Find the credentials and the project, say what to do without them, and send credentials to Google only, unless the
user allows another host.

They are in the files that Google's tools write, or of the machine, in the order of the Earth Engine client: its own
file, then application-default credentials (https://developers.google.com/earth-engine/guides/auth). Tokens are
requested in :mod:`eechips.client.access.access_token`, when the first request is sent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eechips.errors import ConfigurationError
from eechips.processes.warning_filters import ignore_warning
from eechips.storage.untrusted_files import parse_json
from eechips.web.redaction import redact
from eechips.web.urls import is_google, is_loopback, split_checked

_SCOPES = ("https://www.googleapis.com/auth/earthengine", "https://www.googleapis.com/auth/cloud-platform")
_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
_NONE_FOUND = (
    "no Earth Engine credentials found: run `earthengine authenticate` (in a notebook: ee.Authenticate()), name a file"
    " of credentials (`credentials`), or run without an account (`local`)"
)
_KINDS = frozenset(
    {
        "service_account",
        "authorized_user",
        "external_account",
        "external_account_authorized_user",
        "impersonated_service_account",
    }
)
"""Types of files: https://google.aip.dev/auth/4110, and those that impersonate a service account."""
_TOKEN_ADDRESSES = ("token_url", "service_account_impersonation_url")
"""Fields of addresses to which secrets of this machine are sent in exchange for a token."""


def load_credentials(path: Path) -> Any:
    """Read the credentials of a file that the user names: of any kind, also that of `earthengine authenticate`.

    Addresses in the file have to be Google's. A file that somebody else has written could send a secret of this machine
    to others: https://cloud.google.com/docs/authentication/external/externally-sourced-credentials.

    Raises:
        ConfigurationError: if there are none, or the file is incomplete. Its text quotes nothing of the file but its
            kind and the host of an address.
    """
    content = _read(path)
    for address in _token_addresses(content):
        if not is_google(address):
            raise ConfigurationError(
                f"{path} exchanges its tokens at {_host(address)}, which is not Google's: if you trust the"
                f" file, set {_VARIABLE} to its path instead of `credentials`"
            )
    return _make(path, content)


def load_default_credentials() -> Any:
    """Return the credentials that the Earth Engine client has stored, or the application-default ones.

    Raises:
        ConfigurationError: if there are none, or a file is incomplete; says what to do.
    """
    import ee.oauth

    stored, gcloud = Path(ee.oauth.get_credentials_path()), _gcloud_file()
    named = os.environ.get(_VARIABLE)
    content = _read(stored) if stored.is_file() else {}
    if content.get("refresh_token"):
        credentials = _make(stored, content)
    elif named:
        try:
            credentials = _make(Path(named), _read(Path(named)))
        except ConfigurationError as error:
            raise ConfigurationError(f"{_VARIABLE} does not work: {error}") from None
    elif gcloud.is_file():
        credentials = _make(gcloud, _read(gcloud))
    else:
        credentials = _load_of_machine()
    # As the client does: what `earthengine set_project` has stored comes first, then gcloud's.
    project = content.get("project") or (_read(gcloud).get("quota_project_id") if gcloud.is_file() else None)
    if project and project != credentials.quota_project_id and hasattr(credentials, "with_quota_project"):
        credentials = credentials.with_quota_project(project)
    return credentials


def _gcloud_file() -> Path:
    """Return the path of what `gcloud auth application-default login` writes, as the Earth Engine client finds it."""
    from google.auth import _cloud_sdk

    find: Any = _cloud_sdk.get_application_default_credentials_path
    return Path(find())


def _load_of_machine() -> Any:
    """Return the credentials of a machine of Google Cloud, with its project."""
    import google.auth
    from google.auth.credentials import with_scopes_if_required
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

    try:
        credentials, project = google.auth.default()
    except DefaultCredentialsError:
        raise ConfigurationError(_NONE_FOUND) from None
    except GoogleAuthError as error:
        raise ConfigurationError(f"the credentials of this machine do not work: {redact(str(error))[:200]}") from None
    if project and not credentials.quota_project_id and hasattr(credentials, "with_quota_project"):
        credentials = credentials.with_quota_project(project)
    add_scopes: Any = with_scopes_if_required
    return add_scopes(credentials, _SCOPES)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the credentials {path}: {error.strerror or error}") from None
    except ValueError:
        raise ConfigurationError(f"{path} has no credentials: it is not JSON{_remedy(path)}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} has no credentials: it is no JSON object{_remedy(path)}")
    return content


def _make(path: Path, content: Mapping[str, Any]) -> Any:
    """Make credentials of a file's content; service accounts get scopes, without which they get no token.

    https://googleapis.dev/python/google-auth/latest/reference/google.auth.html#google.auth.default
    """
    import google.auth
    from google.auth.credentials import with_scopes_if_required
    from google.auth.exceptions import GoogleAuthError

    kind = content.get("type")
    if kind is None and content.get("refresh_token"):
        return _make_stored(content)
    if kind not in _KINDS:
        what = f"its type is {redact(str(kind))[:40]}" if kind is not None else "it names no type"
        raise ConfigurationError(f"{path} has no credentials: {what}{_remedy(path)}")
    # The project is named by each request. The files are the user's own, or have been checked.
    ignore_warning(UserWarning, ".*(No project ID|quota project).*")
    ignore_warning(DeprecationWarning, ".*load_credentials_from_dict.*")
    load: Any = google.auth.load_credentials_from_dict
    add_scopes: Any = with_scopes_if_required
    try:
        return add_scopes(load(content)[0], _SCOPES)
    except (GoogleAuthError, ValueError, TypeError, AttributeError, KeyError):
        # Their messages may quote the key.
        raise ConfigurationError(f"{path} is incomplete or damaged, as credentials of {kind}{_remedy(path)}") from None


def _make_stored(content: Mapping[str, Any]) -> Any:
    """Make a user's credentials of the content of the client's own file, as ``ee.oauth.get_credentials_arguments``."""
    import ee.oauth
    from google.oauth2.credentials import Credentials

    make: Any = Credentials
    return make(
        None,
        refresh_token=content["refresh_token"],
        token_uri=ee.oauth.TOKEN_URI,
        client_id=content.get("client_id", ee.oauth.CLIENT_ID),
        client_secret=content.get("client_secret", ee.oauth.CLIENT_SECRET),
        scopes=content.get("scopes", ee.oauth.SCOPES),
        quota_project_id=content.get("project"),
    )


def _remedy(path: Path) -> str:
    """Return how to write a file of credentials anew, the end of a sentence."""
    import ee.oauth

    if path == Path(ee.oauth.get_credentials_path()):
        return "; write it anew with `earthengine authenticate`"
    if path == _gcloud_file():
        return "; write it anew with `gcloud auth application-default login`"
    return "; for the key of a service account, see https://console.cloud.google.com/iam-admin/serviceaccounts"


def _host(address: str) -> str:
    try:
        return split_checked(address).hostname or "no host"
    except ValueError:
        return "what is no address"


def _token_addresses(content: Mapping[str, Any]) -> Iterator[str]:
    for name in _TOKEN_ADDRESSES:
        if name in content:
            yield str(content[name])
    source = content.get("source_credentials")
    if isinstance(source, dict):
        yield from _token_addresses(source)


PROJECT_VARIABLE = "EECHIPS_PROJECT"
_GOOGLES_VARIABLE = "GOOGLE_CLOUD_PROJECT"
_SIGN_IN = "sign in again with `earthengine authenticate --force`"
_SIGN_IN_WITH_GCLOUD = "sign in again with `gcloud auth application-default login`"
_SERVICE_ACCOUNTS = "https://console.cloud.google.com/iam-admin/serviceaccounts"


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
