"""Replace what clients of Earth Engine call on Google's hosts, while tests use the local one."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

_CATALOGUE = "https://earthengine-stac.storage.googleapis.com/catalog"
"""Where Google publishes the catalogue of datasets: https://developers.google.com/earth-engine/datasets/catalog"""


def do_nothing(*_: Any, **__: Any) -> None:
    """Take the place of ``ee.Reset``."""


def initialize_only(url: str, initialize: Callable[..., None]) -> Callable[..., None]:
    """Return what replaces ``ee.Initialize``: it initialises a transport of the caller to this server, and a client
    that ``ee.data.reset`` has left without a connection. Otherwise it does nothing.
    """
    import ee
    from google.auth.credentials import AnonymousCredentials

    from eechips_local.server_process import PROJECT

    def take_place(*arguments: Any, **options: Any) -> None:
        if options.get("url") == url and options.get("http_transport") is not None:
            initialize(*arguments, **options)
        elif not ee.data.is_initialized():
            initialize(AnonymousCredentials(), url=url, project=PROJECT)  # type: ignore[no-untyped-call]

    return take_place


def keep_credentials(environment: pytest.MonkeyPatch) -> None:
    """Make authentication of the client do nothing, and credentials empty, however the tested code does it."""
    import ee
    import google.auth
    from google.auth.credentials import AnonymousCredentials
    from google.oauth2 import service_account

    from eechips_local.server_process import PROJECT

    class LocalCredentials(AnonymousCredentials):
        """Credentials that are not needed, with what scripts ask of a service account's."""

        project_id = PROJECT
        service_account_email = ""

    def authenticate(*_: Any, **__: Any) -> bool:
        return True

    def credentials(*_: Any, **__: Any) -> Any:
        return LocalCredentials()  # type: ignore[no-untyped-call]

    def default(*_: Any, **__: Any) -> tuple[Any, None]:
        return credentials(), None

    environment.setattr(ee, "Authenticate", authenticate)
    environment.setattr(ee, "ServiceAccountCredentials", credentials)
    environment.setattr(ee.data, "get_persistent_credentials", credentials)
    environment.setattr(google.auth, "default", default)
    environment.setattr(google.auth._default, "default", default)
    for name in ("from_service_account_file", "from_service_account_info"):
        environment.setattr(service_account.Credentials, name, credentials)
    environment.setenv("EARTHENGINE_PROJECT", os.environ.get("EARTHENGINE_PROJECT", PROJECT))  # pytest-gee asks for it


def redirect_catalogue(environment: pytest.MonkeyPatch, address: str) -> None:
    """Send requests for Google's catalogue of datasets to a local one: clients have its address as a constant.

    Args:
        environment: where the functions of HTTP clients are replaced.
        address: address of the local catalogue.
    """
    import urllib.request

    import requests

    def local(url: Any) -> Any:
        text = str(url)
        return address + text.removeprefix(_CATALOGUE) if text.startswith(f"{_CATALOGUE}/") else url

    request = requests.Session.request
    open_url = urllib.request.OpenerDirector.open

    def request_locally(session: requests.Session, method: str, url: str, *values: Any, **options: Any) -> Any:
        return request(session, method, local(url), *values, **options)

    def open_locally(opener: Any, fullurl: Any, *values: Any, **options: Any) -> Any:
        if isinstance(fullurl, urllib.request.Request):
            fullurl.full_url = local(fullurl.full_url)
        return open_url(opener, local(fullurl), *values, **options)

    environment.setattr(requests.Session, "request", request_locally)
    environment.setattr(urllib.request.OpenerDirector, "open", open_locally)
    if find_spec("aiohttp") is None:
        return
    import aiohttp

    request_soon = aiohttp.ClientSession._request

    async def request_locally_soon(session: Any, method: str, url: Any, **options: Any) -> Any:
        return await request_soon(session, method, local(url), **options)

    environment.setattr(aiohttp.ClientSession, "_request", request_locally_soon)
