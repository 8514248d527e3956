"""Authentication of downloads: secrets, netrc, OAuth, signatures, and redirects that must not receive them."""

from __future__ import annotations

import base64
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

import eechips
from eechips.archive.downloads.host_sessions import HostSessions
from eechips.archive.downloads.signers import Secrets, Signer, matches_host, read_secrets
from eechips.archive.downloads.token_signers import Auth, make_signer
from eechips.archive.windows.locations import RasterLocation
from eechips.archive.windows.versions import read_version
from eechips.client.http.http_messages import Timeouts
from eechips.errors import ConfigurationError, PermanentError, TransientError, UsageError
from local_tests.support.function_server import Answer, serve_function
from tests.support.scene_servers import item


def test_secrets_come_from_a_file_and_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text("# mine\ntoken = abc=1\n\nusername=u\n")
    found = read_secrets(file, {"EECHIPS_SCENES_USERNAME": "other"})
    assert (found.get("token"), found.get("username"), found.get("password")) == ("abc=1", "other", None)
    assert "abc" not in repr(found)
    file.write_text('{"token": "x"}')
    assert read_secrets(file, {}).get("token") == "x"
    for content in ("token", "{", "key=1"):
        file.write_text(content + "\n")
        with pytest.raises(ConfigurationError):
            read_secrets(file, {})
    with pytest.raises(ConfigurationError, match="EECHIPS_SCENES_PASSWORD"):
        found.need("password", "--auth basic")
    with pytest.raises(ConfigurationError, match="EECHIPS_SCENES_TOKEN has a line break") as raised:
        read_secrets(None, {"EECHIPS_SCENES_TOKEN": "hidden\n"})
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "hosts", "wanted"),
    [
        ("https://data.example.com/x", ["data.example.com"], True),
        ("https://DATA.example.com:8443/x", ["data.example.com"], True),
        ("https://data.example.com:8443/x", ["data.example.com:443"], False),
        ("https://a.b.example.com/x", ["*.example.com"], True),
        ("https://example.com/x", ["*.example.com"], False),
        ("https://evilexample.com/x", ["*.example.com"], False),
        ("https://example.com.evil.org/x", ["example.com", "*.example.com"], False),
        ("https://evil.org/@example.com", ["example.com"], False),
        ("https://example.com@evil.org/x", ["example.com"], False),
    ],
)
def test_secrets_match_their_hosts_only(url: str, hosts: list[str], wanted: bool) -> None:
    assert matches_host(url, hosts) is wanted


@pytest.fixture
def hosts() -> Iterator[HostSessions]:
    with HostSessions(4, 5.0, 5.0) as found:
        yield found


def get(hosts: HostSessions, signer: Signer, url: str) -> tuple[int, bytes]:
    with hosts.get(signer.sign(url, "c"), {}, signer.headers) as response:
        return response.status_code, response.content


def test_a_login_by_redirections_shows_each_host_its_own(
    hosts: HostSessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NASA's Earthdata: the data's host sends to the login's, which wants a password, and that sends back."""
    seen: list[tuple[str, str | None]] = []
    password, written = "very secret", '"very secret"'
    if sys.version_info < (3, 11):  # whose netrc knows no quotes
        password = written = "very-secret"
    right = "Basic " + base64.b64encode(f"me:{password}".encode()).decode()

    def login(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        seen.append(("login", headers.get("Authorization")))
        if headers.get("Authorization") != right:
            return 401, {}, b""
        return 302, {"Location": parse_qs(urlsplit(path).query)["to"][0] + "/oauth?code=7"}, b""

    def data(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        seen.append(("data", headers.get("Authorization")))
        if path.startswith("/oauth"):
            return 302, {"Location": "/x.tif", "Set-Cookie": "session=open; Path=/"}, b""
        if "session=open" in headers.get("Cookie", ""):
            return 200, {}, b"pixels"
        return 302, {"Location": f"{login_url}/authorize?to={data_url}"}, b""

    with serve_function(login) as login_url, serve_function(data) as address:
        data_url = address.replace("127.0.0.1", "localhost")
        (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login me password {written}\n")
        (tmp_path / "netrc").chmod(0o600)
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        signer = make_signer(Auth(kind="netrc"), Secrets({}), hosts)
        assert get(hosts, signer, f"{data_url}/x.tif") == (200, b"pixels")
        assert seen == [("data", None), ("login", right), ("data", None), ("data", None)]
        assert get(hosts, signer, f"{data_url}/x.tif") == (200, b"pixels")  # the session is kept
        assert len(seen) == 5


def test_the_entry_of_a_host_in_netrc_is_sent_to_it(
    hosts: HostSessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = "pässwörd" if sys.version_info >= (3, 11) else "password"  # Python 3.10 reads ASCII only
    text = f"machine URS.Earthdata.NASA.gov\r\n  login me\r\n  password {password}\r\ndefault login x password y\r\n"
    (tmp_path / "netrc").write_bytes(text.encode())
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    signer = make_signer(Auth(kind="netrc"), Secrets({}), hosts)
    expected = "Basic " + base64.b64encode(f"me:{password}".encode()).decode()
    assert signer.headers("https://urs.earthdata.nasa.gov/oauth") == {"Authorization": expected}
    assert signer.headers("http://urs.earthdata.nasa.gov/oauth") == {}
    assert signer.headers("https://example.com/") == {}
    assert signer.headers("https://default/") == {}


def test_an_unreadable_netrc_is_reported(hosts: HostSessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for content, reason in {b"machine \xe4": "not in UTF-8", b"secret": "malformed"}.items():
        (tmp_path / "netrc").write_bytes(content)
        with pytest.raises(ConfigurationError, match=reason) as raised:
            make_signer(Auth(kind="netrc"), Secrets({}), hosts)
        assert "secret" not in str(raised.value)


def test_google_objects_are_requested_over_http(hosts: HostSessions) -> None:
    signer = make_signer(Auth(), Secrets({}), hosts)
    assert signer.sign("gs://bucket/a%20b/c.tif", "c") == "https://storage.googleapis.com/bucket/a%20b/c.tif"


@pytest.mark.parametrize("kind", ["bearer", "basic"])
def test_a_secret_does_not_follow_a_redirection(hosts: HostSessions, kind: Any) -> None:
    seen: dict[str, str | None] = {}

    def elsewhere(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        seen["elsewhere"] = headers.get("Authorization")
        return 200, {}, b"x"

    def first(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        seen["first"] = headers.get("Authorization")
        return 307, {"Location": f"{other}/x"}, b""

    with serve_function(elsewhere) as address, serve_function(first) as url:
        other = address.replace("127.0.0.1", "localhost")
        secrets = Secrets({"token": "t", "username": "u", "password": "p"})
        signer = make_signer(Auth(kind=kind, hosts=("127.0.0.1",)), secrets, hosts)
        assert get(hosts, signer, f"{url}/x") == (200, b"x")
    assert seen["first"] == {"bearer": "Bearer t", "basic": "Basic dTpw"}[kind]
    assert seen["elsewhere"] is None


@pytest.mark.parametrize(
    ("method", "status", "has_secret"), [("GET", 307, True), ("POST", 307, False), ("POST", 303, True)]
)
def test_a_redirected_request_other_than_get_has_no_secret(
    hosts: HostSessions, method: str, status: int, has_secret: bool
) -> None:
    """Else a catalogue would choose what the user's token changes on another host."""
    sent: list[str | None] = []

    def other(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        sent.append(headers.get("Authorization"))
        return 200, {}, b"{}"

    with (
        serve_function(other) as there,
        serve_function(lambda *_: (status, {"Location": f"{there}/orders"}, b"")) as url,
        hosts.get(url, {}, lambda _: {"Authorization": "Bearer t"}, method=method, body=b"{}") as response,
    ):
        assert response.status_code == 200
    assert sent == ["Bearer t" if has_secret else None]


def test_secrets_are_not_sent_in_the_clear(hosts: HostSessions) -> None:
    signer = make_signer(Auth(kind="bearer", hosts=("example.com",)), Secrets({"token": "t"}), hosts)
    with pytest.raises(PermanentError, match="not https"):
        signer.headers("http://example.com/x")
    assert signer.headers("https://example.com/x") == {"Authorization": "Bearer t"}


def test_endless_redirects_are_refused(hosts: HostSessions) -> None:
    with (
        serve_function(lambda path, headers, body: (302, {"Location": "/again"}, b"")) as url,
        pytest.raises(PermanentError, match="redirects"),
        hosts.get(url, {}, lambda _: {}),
    ):
        pass
    with (
        serve_function(lambda path, headers, body: (302, {"Location": "file:///etc/passwd"}, b"")) as url,
        pytest.raises(PermanentError, match="not an http"),
        hosts.get(url, {}, lambda _: {}),
    ):
        pass


def test_an_unreachable_host_is_transient(hosts: HostSessions) -> None:
    with pytest.raises(TransientError) as caught, hosts.get("http://127.0.0.1:9/x?sig=SECRET", {}, lambda _: {}):
        pass
    assert "SECRET" not in str(caught.value)
    assert re.fullmatch(r"127\.0\.0\.1:9: connection failed: \w+: .*Connection refused", str(caught.value))


def test_oauth_tokens_are_refreshed(hosts: HostSessions) -> None:
    asked: list[dict[str, str]] = []
    now = [1000.0]

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        asked.append(form)
        if form["grant_type"] == "refresh_token" and len(asked) > 2:
            return 400, {}, b'{"error": "invalid_grant"}'
        token = {"access_token": f"token{len(asked)}", "expires_in": 100, "refresh_token": "again"}
        return 200, {"Content-Type": "application/json"}, json.dumps(token).encode()

    with serve_function(answer) as url:
        auth = Auth(kind="oauth", hosts=("data.example.com",), token_url=f"{url}/token")
        signer = make_signer(auth, Secrets({"client_id": "i", "client_secret": "s"}), hosts, clock=lambda: now[0])
        target = "https://data.example.com/x"
        assert signer.headers("https://other.example.com/x") == {}
        assert asked == []
        assert signer.headers(target) == signer.headers(target) == {"Authorization": "Bearer token1"}
        now[0] += 95.0  # a tenth of its time is left as a margin
        assert signer.headers(target) == {"Authorization": "Bearer token2"}
        assert signer.renew(target, "")  # the refresh token has run out: all over again
        assert signer.headers(target) == {"Authorization": "Bearer token4"}
    assert [form["grant_type"] for form in asked] == [
        "client_credentials", "refresh_token", "refresh_token", "client_credentials",
    ]  # fmt: skip
    assert asked[0]["client_secret"] == "s"


def test_refused_oauth_credentials_stop_the_run(hosts: HostSessions) -> None:
    with serve_function(lambda path, headers, body: (401, {}, b"{}")) as url:
        auth = Auth(kind="oauth", hosts=("127.0.0.1",), token_url=f"{url}/token")
        given = Secrets({"client_id": "cdse-public", "username": "u", "password": "very secret"})
        with pytest.raises(ConfigurationError, match="no token was issued") as caught:
            make_signer(auth, given, hosts).headers("http://127.0.0.1/x")
    assert "very secret" not in str(caught.value)


@pytest.mark.parametrize("way", ["token/{collection}", "sign"])
def test_sas_tokens_are_cached_and_renewed(hosts: HostSessions, way: str) -> None:
    now, asked = [time.time()], []

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        asked.append(path)
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now[0] + 100.0))
        query = f"sig={len(asked)}"
        found = {"token": query, "msft:expiry": until}
        if path.startswith("/sign"):
            found = {"href": parse_qs(urlsplit(path).query)["href"][0] + "?" + query, "msft:expiry": until}
        return 200, {}, json.dumps(found).encode()

    with serve_function(answer) as url:
        auth = Auth(kind="sas", token_url=f"{url}/{way}", hosts=("*.blob.example.com",))
        signer = make_signer(auth, Secrets({}), hosts, clock=lambda: now[0])
        href = "https://a.blob.example.com/x.tif"
        assert signer.sign("https://other.example.com/x.tif", "c") == "https://other.example.com/x.tif"
        assert signer.sign(href, "c") == signer.sign(href, "c") == f"{href}?sig=1"
        now[0] += 95.0
        assert signer.sign(href, "c") == f"{href}?sig=2"
        assert signer.renew(href, "c")
        assert signer.sign(href, "c") == f"{href}?sig=3"
    wanted = "/token/c" if "token" in way else "/sign?href=https%3A%2F%2Fa.blob.example.com%2Fx.tif"
    assert asked == [wanted] * 3


def test_an_endpoint_is_asked_when_it_says(hosts: HostSessions) -> None:
    """As Azure API Management, which the Planetary Computer's is behind (policy ``rate-limit``)."""
    told = b'{"statusCode": 429, "message": "Rate limit is exceeded. Try again in 3600 seconds."}'
    asked: list[str] = []

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        asked.append(path)
        return 429, {"Retry-After": "3600"}, told

    with serve_function(answer) as url:
        signer = make_signer(Auth(kind="sas", token_url=f"{url}/{{collection}}"), Secrets({}), hosts)
        with pytest.raises(TransientError, match=r"HTTP 429: the host asks to wait 60 min") as caught:
            signer.sign("https://a.blob.core.windows.net/x.tif", "c")
    assert (asked, caught.value.retry_after) == (["/c"], 3600.0)


def test_s3_urls_are_signed_for_requester_pays(hosts: HostSessions, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("botocore")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    for name in (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"),
        *("AWS_NO_SIGN_REQUEST", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
    ):
        monkeypatch.delenv(name, raising=False)
    anonymous = make_signer(Auth(), Secrets({}), hosts).sign("s3://bucket/a/x.tif", "c")
    assert anonymous == "https://bucket.s3.eu-central-1.amazonaws.com/a/x.tif"
    with pytest.raises(ConfigurationError, match="bills"):
        make_signer(Auth(requester_pays=True), Secrets({}), hosts).sign("s3://bucket/a/x.tif", "c")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    signer = make_signer(Auth(requester_pays=True), Secrets({}), hosts)
    paid = signer.sign("s3://bucket/a/x.tif", "c")
    query = parse_qs(urlsplit(paid).query)
    assert urlsplit(paid).netloc == "bucket.s3.eu-central-1.amazonaws.com"
    assert query["X-Amz-SignedHeaders"] == ["host;x-amz-request-payer"]
    assert signer.headers(paid) == {"x-amz-request-payer": "requester"}
    assert signer.headers("https://bucket.s3.eu-central-1.amazonaws.com/a/x.tif") == {}
    assert "very-secret" not in paid
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")  # keys that have expired close public buckets
    assert make_signer(Auth(), Secrets({}), hosts).sign("s3://bucket/a/x.tif", "c") == anonymous
    with pytest.raises(ConfigurationError, match="bills"):
        make_signer(Auth(requester_pays=True), Secrets({}), hosts).sign("s3://bucket/a/x.tif", "c")


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"AWS_PROFILE": "nobody"}, r"profile \(nobody\)"),
        ({"AWS_PROFILE": "away"}, "SSO Token"),
        ({"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": ""}, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_DEFAULT_REGION": "eu west"}, "eu west"),
        ({"AWS_ENDPOINT_URL": "u:pw@127.0.0.1"}, "AWS_ENDPOINT_URL is no URL"),
    ],
)
def test_an_unusable_configuration_of_aws_is_reported(
    variables: dict[str, str], reason: str, hosts: HostSessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("botocore")
    sso = "sso_start_url=https://x.awsapps.com/start\nsso_region=us-east-1\nsso_account_id=1\nsso_role_name=r\n"
    (tmp_path / "config").write_text(f"[profile away]\n{sso}", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    keys = {} if "AWS_PROFILE" in variables else {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "very-secret"}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_NO_SIGN_REQUEST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**keys, **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=reason) as raised:
        make_signer(Auth(), Secrets({}), hosts).sign("s3://bucket/a/x.tif", "c")
    assert "pw" not in str(raised.value)


@pytest.mark.parametrize(
    "options",
    [{"kind": "magic"}, {"kind": "oauth", "hosts": ("x",)}, {"kind": "bearer"}, {"token_url": "https://x.org"}],
)
def test_impossible_authentication_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Auth(**options)


@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/x", "http://168.63.129.16/x", "http://[fd20:ce::254]/x", "http://[64:ff9b::a9fe:a9fe]/x",
     "http://[::ffff:169.254.169.254]/x", "https://[2002:a9fe:a9fe::1]/x", "http://2852039166/x", "http://0xa9fea9fe/x"],
)  # fmt: skip
def test_redirects_to_cloud_metadata_services_are_refused(target: str, hosts: HostSessions) -> None:
    with serve_function(lambda path, headers, body: (302, {"Location": target}, b"")) as url:
        for start in (url, target):
            with pytest.raises(PermanentError, match="hand out its credentials"), hosts.get(start, {}, lambda _: {}):
                pass
        with pytest.raises(PermanentError, match="hand out its credentials"):
            read_version(RasterLocation(f"/vsicurl/{url}/a.tif", "http", f"{url}/a.tif"), Timeouts())


def scenes_of_bucket(endpoint: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> eechips.Run:
    """Fetch an object of a store that speaks S3's protocol."""
    for name, value in {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "very-secret"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    assets = {"a": {"href": "s3://bucket/a.bin", "roles": ["data"]}}
    path = folder / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [item("one", assets)]}))
    return eechips.scenes(str(path), out=folder / "out", quiet=True)


@pytest.mark.slow
@pytest.mark.parametrize("region", ["default region", "x@example.com/#", "-", ""])
def test_a_region_that_no_bucket_can_have_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    pytest.importorskip("botocore")
    with serve_function(lambda *_: (403, {"x-amz-bucket-region": region}, b"")) as url:
        run = scenes_of_bucket(url, tmp_path, monkeypatch)
    (failure,) = eechips.failures(run)["error"]
    assert "denies access with HTTP 403" in failure
    assert "AWS credentials that may read it, with `requester_pays` where the reader pays" in failure


@pytest.mark.slow
@pytest.mark.parametrize("region", ["eu-central-1", "us-west-2"])
def test_redirects_to_the_region_of_a_bucket_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    """Return the response of S3 to a signature for another region (API reference, error responses)."""
    pytest.importorskip("botocore")
    asked: list[str] = []

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        signed = parse_qs(urlsplit(path).query)["X-Amz-Credential"][0].split("/")[2]
        asked.append(signed)
        if signed == region:
            return 200, {}, b"pixels"
        told = f"<Error><Code>AuthorizationQueryParametersError</Code><Region>{region}</Region></Error>"
        return 400, {}, told.encode()

    with serve_function(answer) as url:
        run = scenes_of_bucket(url, tmp_path, monkeypatch)
    assert run.counts == {"done": 1}
    assert asked == list(dict.fromkeys(["eu-central-1", region]))
