"""Credentials are sent to Google alone, over https."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import eechips
from eechips.client.access.credentials import find_credentials, find_project, is_project
from eechips.client.access.endpoint import check_endpoint
from eechips.engine.config import RunConfig
from eechips.errors import ConfigurationError, UsageError
from eechips.web.urls import is_google, is_loopback

GOOGLE = "https://earthengine-highvolume.googleapis.com"


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path_factory.mktemp("key") / "key.json"
    content = {
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": "robot@my-project.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("url", "google", "loopback"),
    [
        (GOOGLE, True, False),
        ("https://earthengine.googleapis.com:443/x", True, False),
        ("http://earthengine.googleapis.com", False, False),
        ("https://earthengine.googleapis.com.evil.example", False, False),
        ("https://evil-googleapis.com", False, False),
        ("https://googleapis.com.", False, False),
        ("https://earthengine.googleapis.com:8443", False, False),
        ("https://evil.example\\.googleapis.com", False, False),
        ("https://evil.example\\@earthengine.googleapis.com", False, False),
        ("https://earthengine.googleapis.com:99999", False, False),
        ("https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b:generateAccessToken", True, False),
        ("http://127.0.0.1:8080", False, True),
        ("http://[::1]:8080", False, True),
        ("http://localhost", False, True),
        ("http://localhost.evil.example", False, False),
        ("http://127.0.0.1.evil.example", False, False),
    ],
)
def test_hosts_of_google_and_loopback_are_recognised(url: str, google: bool, loopback: bool) -> None:
    assert (is_google(url), is_loopback(url)) == (google, loopback)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://localhost:1", "https://ee.example", "http://ee.example"])
def test_credentials_are_not_sent_to_other_hosts(url: str) -> None:
    assert find_credentials(url, None) is None


def test_a_key_is_not_sent_elsewhere_unless_allowed(key_file: Path) -> None:
    for url in ("https://ee.example", "http://earthengine.googleapis.com"):
        with pytest.raises(ConfigurationError, match="refused to send credentials"):
            find_credentials(url, key_file)
    assert find_credentials("https://ee.example", key_file, send_anywhere=True) is not None
    assert find_credentials("http://127.0.0.1:1", key_file) is None  # a local Earth Engine needs none
    assert find_credentials("http://127.0.0.1:1", key_file, send_anywhere=True) is not None


def test_the_key_of_a_service_account_is_read(key_file: Path) -> None:
    credentials = find_credentials(GOOGLE, key_file)
    assert find_project(None, credentials) == "my-project"
    assert "https://www.googleapis.com/auth/earthengine" in credentials.scopes


def test_bad_keys_are_refused_without_quoting_them(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    with pytest.raises(ConfigurationError, match="cannot read the credentials"):
        find_credentials(GOOGLE, path)
    path.write_text("not json")
    with pytest.raises(ConfigurationError, match="not JSON"):
        find_credentials(GOOGLE, path)
    for content, told in (
        ({"private_key": "5ecre7"}, "names no type"),
        ([], "no JSON object"),
        ({"type": "service_account", "private_key": "5ecre7"}, "is incomplete or damaged"),
        ({"type": "a key", "private_key": "5ecre7"}, "its type is a key"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(ConfigurationError, match=told) as caught:
            find_credentials(GOOGLE, path)
        assert "5ecre7" not in str(caught.value)


def test_missing_credentials_are_reported_with_both_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(ConfigurationError) as caught:
        find_credentials(GOOGLE, None)
    assert str(caught.value) == (
        "no Earth Engine credentials found: run `earthengine authenticate` (in a notebook: ee.Authenticate()), name a"
        " file of credentials (`credentials`), or run without an account (`local`)"
    )


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x",
        "x",
        "http://",
        "http://x:99999",
        "http://x:0",
        "http://[::1",
        "http://a b",
        "http://a\\b",
        "https://u:p@x",
        "https://x/?key=1",
        "",
    ],
)
def test_impossible_endpoints_are_refused(url: str) -> None:
    with pytest.raises(UsageError, match="must be") as caught:
        check_endpoint(url)
    assert "u:p" not in str(caught.value)


def test_the_trailing_slash_of_an_endpoint_is_removed() -> None:
    assert check_endpoint("http://127.0.0.1:1/") == "http://127.0.0.1:1"


@pytest.mark.parametrize("name", ["ee-me", "my-project-123", "example.com:my-project", "projekt-ä"])
def test_ids_of_projects_fit_an_address(name: str) -> None:
    assert is_project(name)


@pytest.mark.parametrize("name", ["../x", "projects/ee-me", "a b", "a?b", "a#b", "a\n"])
def test_ids_that_would_change_an_address_are_none(name: str) -> None:
    assert not is_project(name)


def test_the_endpoint_of_the_variable_is_that_of_runs_and_named_in_its_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EECHIPS_ENDPOINT", "http://127.0.0.1:9000/")
    assert RunConfig(out=tmp_path).service == "http://127.0.0.1:9000"
    assert RunConfig(out=tmp_path, endpoint="http://127.0.0.1:9001").service == "http://127.0.0.1:9001"
    monkeypatch.setenv("EECHIPS_ENDPOINT", "nonsense")
    with pytest.raises(UsageError, match=r"`endpoint` or EECHIPS_ENDPOINT.* not 'nonsense'"):
        eechips.images(dataset="NAIP", roi=(-105.5, 39.7, -105.0, 40.1), out=tmp_path)
