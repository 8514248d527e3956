"""Signatures: made when they are needed, renewed before they expire, sent to their own hosts, shown to nobody."""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from eechips_local.archives.archive_errors import ArchiveError, ArchiveRefusedError
from eechips_local.archives.archive_list import CDSE, EARTH_SEARCH, LANDSATLOOK, LPCLOUD, PLANETARY_COMPUTER
from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.archives.hosts.s3_signature import S3Keys, sign_s3
from eechips_local.archives.hosts.signed_addresses import hide_signature
from eechips_local.archives.hosts.signing import Signer
from local_tests.support.loopback import QuietServer, serving
from local_tests.support.stopped_clock import StoppedClock

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc).timestamp()
BLOB = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/10/T/ET/B04.tif"


class Tokens:
    """A service that gives tokens by number: how it answers, and what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.clock = StoppedClock(NOON)
        self.life = 2700.0
        self.answers: list[tuple[int, dict[str, str], Any]] = []
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")


@contextmanager
def token_service() -> Iterator[Tokens]:
    """Serve tokens until the end of the block."""
    tokens = Tokens()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            tokens.asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            expiry = datetime.fromtimestamp(tokens.clock.time() + tokens.life, timezone.utc)
            token = f"sv=2020&se=2099&sig=secret{len(tokens.asked)}"
            good = {"msft:expiry": f"{expiry:%Y-%m-%dT%H:%M:%SZ}", "token": token, "access_token": "bearer-secret"}
            status, headers, found = tokens.answers.pop(0) if tokens.answers else (200, {}, good)
            body = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - a name of http.server

        def log_message(self, *_: object) -> None:
            pass

    with QuietServer(("127.0.0.1", 0), Handler) as server, serving(server) as tokens.url:
        yield tokens


def planetary(tokens: Tokens, **options: Any) -> Signer:
    """A signer whose tokens come from loopback."""
    description = ArchiveDescription(
        name="mirror",
        title="A mirror",
        hosts=("*.blob.core.windows.net", tokens.host),
        signing="planetary-computer",
        token_api=tokens.url,
    )
    return Signer(description, options.pop("environment", {}), clock=tokens.clock, **{"patience": 2.0, **options})


def test_one_token_a_collection_serves_all_its_files_and_threads() -> None:
    with token_service() as tokens:
        signer = planetary(tokens)
        found: list[str] = []
        threads = [threading.Thread(target=lambda: found.append(signer.sign(BLOB, "s2").url)) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(found) == {f"{BLOB}?sv=2020&se=2099&sig=secret1"}
        assert signer.sign(BLOB, "landsat-c2-l2").url.endswith("secret2")
        assert [path for _, path, _ in tokens.asked] == ["/s2", "/landsat-c2-l2"]


def test_a_token_is_renewed_before_it_expires_and_where_a_host_refuses_it() -> None:
    with token_service() as tokens:
        signer = planetary(tokens)
        assert signer.sign(BLOB, "s2").url.endswith("secret1")
        tokens.clock.advance(2400.0)  # 300 s are left, of 2700
        assert signer.sign(BLOB, "s2").url.endswith("secret1")
        tokens.clock.advance(40.0)
        second = signer.sign(BLOB, "s2")
        assert second.url.endswith("secret2")
        third = signer.sign(BLOB, "s2", second)  # in the second in which it was made, too
        assert third.url.endswith("secret3")
        assert signer.sign(BLOB, "s2", second).url.endswith("secret3")  # another thread has got it meanwhile
        assert len(tokens.asked) == 3


def test_a_token_serves_to_its_end_where_no_other_is_to_be_had() -> None:
    with token_service() as tokens:
        signer = planetary(tokens, patience=0.2)
        signer.sign(BLOB, "s2")
        tokens.clock.advance(2600.0)
        tokens.answers = [(503, {}, {})] * 5
        assert signer.sign(BLOB, "s2").url.endswith("secret1")
        tokens.clock.advance(200.0)
        tokens.answers = [(503, {}, {})] * 5
        with pytest.raises(ArchiveError) as caught:
            signer.sign(BLOB, "s2")
        assert "secret" not in str(caught.value)


def test_too_many_requests_wait_as_long_as_the_service_says() -> None:
    with token_service() as tokens:
        tokens.answers = [(429, {}, b'{"message": "Rate limit is exceeded. Try again in 1 seconds."}')]
        signer = planetary(tokens, patience=5.0)
        assert signer.sign(BLOB, "s2").url.endswith("secret2")
        (counts,) = signer.counts().values()
        assert (counts.requests, counts.refusals) == (2, 1)
        assert tokens.clock.waits == [1.0]
        tokens.answers = [(429, {"Retry-After": "3600"}, {})]
        with pytest.raises(ArchiveError, match="HTTP 429"):
            signer.sign(BLOB, "other")
        assert len(tokens.asked) == 3


@pytest.mark.parametrize(
    "answer",
    [
        {}, [], b"<html>Log in</html>", {"token": "a"}, {"token": 1, "msft:expiry": "2099-01-01T00:00:00Z"},
        {"token": "a\r\nHost: evil", "msft:expiry": "2099-01-01T00:00:00Z"}, {"token": "a", "msft:expiry": "soon"},
        b"[" * 60_000,
    ],
)  # fmt: skip
def test_what_is_no_token_is_not_used(answer: Any) -> None:
    with token_service() as tokens:
        tokens.answers = [(200, {}, answer)] * 20
        with pytest.raises(ArchiveError):
            planetary(tokens, patience=0.1).sign(BLOB, "s2")


@pytest.mark.parametrize(
    "href",
    [
        "https://evil.example/B04.tif", "https://blob.core.windows.net.evil.example/B04.tif", "ftp://127.0.0.1/a",
        "https://evilblob.core.windows.net.example/a", "file:///etc/passwd", "/etc/passwd", "https://a@b.blob.core.windows.net/c",
        "http://sentinel2l2a01.blob.core.windows.net:8080/a", "https://x.blob.core.windows.net\\@evil.example/a",
        "http://169.254.169.254/latest/meta-data/", "s3://sentinel-cogs/a", "https://a.blob.core.windows.net/\r\nX: y",
    ],
)  # fmt: skip
def test_other_hosts_get_neither_a_request_nor_a_token(href: str) -> None:
    with token_service() as tokens:
        with pytest.raises(ArchiveRefusedError):
            Signer(
                ArchiveDescription(
                    name="x", title="x", hosts=("*.blob.core.windows.net",), signing="planetary-computer",
                    token_api=tokens.url,
                )
            ).sign(href, "s2")  # fmt: skip
        assert tokens.asked == []


def test_a_host_of_this_machine_gets_no_token_of_a_service_elsewhere() -> None:
    """Whoever serves own scenes, "like" the Planetary Computer, waited for a service that they do not need."""
    mine = replace(PLANETARY_COMPUTER, api="", file="items.parquet", hosts=("127.0.0.1:8000",))
    request = Signer(mine, {}, patience=0.0).sign("http://127.0.0.1:8000/scene.tif", "naip")
    assert (request.url, dict(request.headers)) == ("http://127.0.0.1:8000/scene.tif", {})
    with token_service() as tokens:  # a mirror as a whole is signed as the archive
        own = f"{tokens.url}/scene.tif"
        assert planetary(tokens).sign(own, "naip").url == f"{own}?sv=2020&se=2099&sig=secret1"


def test_public_accounts_and_signed_addresses_get_no_token() -> None:
    with token_service() as tokens:
        signer = planetary(tokens)
        for url in ("https://ai4edatasetspublicassets.blob.core.windows.net/assets/a.png", f"{BLOB}?sv=2019&sig=own"):
            assert signer.sign(url, "s2").url == url
        assert tokens.asked == []


def test_a_collection_without_a_token_is_an_error_that_is_not_repeated() -> None:
    with token_service() as tokens:
        tokens.answers = [(404, {}, {})]
        with pytest.raises(ArchiveRefusedError, match="HTTP 404"):
            planetary(tokens).sign(BLOB, "none")
        assert len(tokens.asked) == 1


def test_the_name_of_a_collection_cannot_leave_the_service_s_path() -> None:
    with token_service() as tokens:
        planetary(tokens).sign(BLOB, "../admin?x=1#")
        assert tokens.asked[0][1] == "/..%2Fadmin%3Fx%3D1%23"


def test_nothing_secret_is_shown_or_pickled() -> None:
    with token_service() as tokens:
        signer = planetary(tokens)
        signed = signer.sign(BLOB, "s2")
        assert "secret" not in repr(signed)
        assert b"secret" not in pickle.dumps(signer.__reduce__()[1][0])
        signer._arguments = (signer._arguments[0], None, *signer._arguments[2:])  # the process's own environment
    assert "abc" not in repr(S3Keys("abc", "abc", "abc"))
    copy = pickle.loads(pickle.dumps(Signer(PLANETARY_COMPUTER)))
    assert copy.sign("https://ai4edatasetspublicassets.blob.core.windows.net/a", "s2").headers == {}


NASA = "https://data.lpdaac.earthdatacloud.nasa.gov/lp-prod-protected/HLSL30.020/a.B04.tif"


def earthdata(tokens: Tokens, environment: dict[str, str]) -> Signer:
    """A signer for NASA's files whose tokens come from loopback."""
    description = ArchiveDescription(
        name="mirror", title="A mirror of NASA's", hosts=(tokens.host, "data.lpdaac.earthdatacloud.nasa.gov",
               "evil.example"),
        signing="earthdata", token_api=tokens.url,
    )  # fmt: skip
    return Signer(description, environment, patience=1.0, clock=tokens.clock)


def test_earthdata_s_token_goes_to_nasa_s_hosts_only() -> None:
    with token_service() as tokens:
        signer = earthdata(tokens, {"EARTHDATA_TOKEN": "mine"})
        assert signer.sign(NASA, "HLSL30_2.0").headers == {"Authorization": "Bearer mine"}
        assert signer.sign("https://evil.example/a.tif", "HLSL30_2.0").headers == {}
        assert tokens.asked == []
    real = Signer(LPCLOUD, {"EARTHDATA_TOKEN": "mine"})
    assert real.sign(NASA, "c").headers == {"Authorization": "Bearer mine"}


@pytest.mark.parametrize(
    ("archive", "href"),
    [
        (LPCLOUD, "http://data.lpdaac.earthdatacloud.nasa.gov/a.tif"),
        (PLANETARY_COMPUTER, BLOB.replace("https", "http")),
    ],
)
def test_no_token_is_sent_in_clear_text(archive: ArchiveDescription, href: str) -> None:
    with pytest.raises(ArchiveRefusedError, match="is not encrypted: no token is sent"):
        Signer(archive, {"EARTHDATA_TOKEN": "mine"}, patience=0.0).sign(href, "c")


def netrc(folder: Path, text: str) -> str:
    path = folder / "netrc"
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_earthdata_s_token_is_made_of_a_name_and_a_password(tmp_path: Path) -> None:
    path = netrc(tmp_path, "machine 127.0.0.1 login me password word\n")
    with token_service() as tokens:
        for environment in ({"NETRC": path}, {"NETRC": path, "EARTHDATA_USERNAME": "me", "EARTHDATA_PASSWORD": "word"}):
            signer = earthdata(tokens, environment)
            for _ in range(2):
                signed = signer.sign(f"{tokens.url}/a.tif", "c")
                assert signed.headers == {"Authorization": "Bearer bearer-secret"}
            method, address, headers = tokens.asked.pop()
            assert (method, address) == ("POST", "/api/users/find_or_create_token")
            assert headers["authorization"] == "Basic bWU6d29yZA=="
            assert tokens.asked == []
        with pytest.raises(ArchiveRefusedError, match="EARTHDATA_TOKEN"):
            earthdata(tokens, {"NETRC": str(tmp_path / "none")}).sign(NASA, "c")


def test_a_description_of_others_leads_no_credentials_elsewhere(tmp_path: Path) -> None:
    """It names the user's kinds of credentials, and a service and files at hosts of its own, on this machine too."""
    mine = {
        "NETRC": netrc(tmp_path, "machine urs.earthdata.nasa.gov login me password word\ndefault login a password b\n"),
        "EARTHDATA_USERNAME": "me", "EARTHDATA_PASSWORD": "word", "PC_SDK_SUBSCRIPTION_KEY": "key",
        "CDSE_ACCESS_KEY_ID": "C1", "CDSE_SECRET_ACCESS_KEY": "C2",
        "AWS_REQUEST_PAYER": "requester", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s",
    }  # fmt: skip
    with token_service() as tokens:
        with pytest.raises(ArchiveRefusedError, match=r"EARTHDATA_TOKEN.*`default` is sent to no host"):
            earthdata(tokens, mine).sign(NASA, "c")
        assert tokens.asked == []
        own = f"{tokens.url}/a.tif"
        assert earthdata(tokens, {**mine, "EARTHDATA_TOKEN": "mine"}).sign(own, "c").headers == {}
        planetary(tokens, environment=mine).sign(BLOB, "s2")
        assert "ocp-apim-subscription-key" not in tokens.asked.pop()[2]
        for signing in ("cdse", "requester-pays"):
            theirs = ArchiveDescription(name="x", title="x", hosts=(tokens.host,), signing=signing)  # type: ignore[arg-type]
            assert Signer(theirs, mine).sign("s3://usgs-landsat/a.tif", "c").headers == {}


@pytest.mark.parametrize(
    "host",
    ["ec2-3-4-5-6.us-west-2.compute.amazonaws.com", "usgs-landsat.s3.theirs.s3.us-west-2.amazonaws.com",
     "usgs-landsat.s3-theirs.s3.amazonaws.com", "usgs-landsat.s3.us-west-2.amazonaws.com.evil.example",
     "usgs-landsat.s3.dualstack.s3.us-west-2.amazonaws.com"],
)  # fmt: skip
def test_readers_pay_at_no_bucket_of_a_similar_name(host: str) -> None:
    """A request for usgs-landsat was signed, and paid, for the bucket usgs-landsat.s3.theirs."""
    keys = {"AWS_REQUEST_PAYER": "requester", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s"}
    theirs = replace(LANDSATLOOK, hosts=(host,))
    assert Signer(theirs, keys).sign("s3://usgs-landsat/a.tif", "c").headers == {}
    for own in (
        "s3.us-west-2.amazonaws.com",
        "usgs-landsat.s3.amazonaws.com",
        "usgs-landsat.s3-us-west-2.amazonaws.com",
        "usgs-landsat.s3.dualstack.us-west-2.amazonaws.com",
    ):
        assert Signer(replace(theirs, hosts=(own,)), keys).sign("s3://usgs-landsat/a.tif", "c").headers


@pytest.mark.parametrize(
    ("signing", "service", "href"),
    [("earthdata", "http://urs.earthdata.nasa.gov", "https://data.lpdaac.earthdatacloud.nasa.gov/a.tif"),
     ("planetary-computer", "http://planetarycomputer.microsoft.com/api/sas/v1/token", BLOB)],
)  # fmt: skip
def test_no_login_is_sent_in_clear_text(signing: Any, service: str, href: str, tmp_path: Path) -> None:
    theirs = replace(LPCLOUD, signing=signing, token_api=service, hosts=(*LPCLOUD.hosts, "*.blob.core.windows.net"))
    mine = {"EARTHDATA_USERNAME": "me", "EARTHDATA_PASSWORD": "word", "PC_SDK_SUBSCRIPTION_KEY": "key"}
    with pytest.raises(ArchiveRefusedError, match="is not encrypted: no token is sent"):
        Signer(theirs, mine, patience=0.0).sign(href, "c")


def test_s3_signatures_equal_amazon_s_example() -> None:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, "GET Object"
    keys = S3Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    moment = datetime(2013, 5, 24, tzinfo=timezone.utc)
    headers = sign_s3(
        "https://examplebucket.s3.amazonaws.com/test.txt", keys, "us-east-1", moment, {"range": "bytes=0-9"}
    )
    assert headers["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


def test_readers_pay_only_where_they_have_said_so() -> None:
    keys = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    href = "s3://usgs-landsat/collection02/level-2/LC08 a/B4.TIF"
    for environment in ({}, keys, {"AWS_REQUEST_PAYER": "requester", "AWS_SHARED_CREDENTIALS_FILE": "/none"}):
        with pytest.raises(ArchiveRefusedError, match="AWS_REQUEST_PAYER=requester"):
            Signer(LANDSATLOOK, environment).sign(href, "landsat-c2l2-sr")
    signed = Signer(LANDSATLOOK, {**keys, "AWS_REQUEST_PAYER": "requester"}).sign(href, "landsat-c2l2-sr")
    assert signed.url == "https://usgs-landsat.s3.us-west-2.amazonaws.com/collection02/level-2/LC08%20a/B4.TIF"
    assert signed.headers["x-amz-request-payer"] == "requester"
    assert "/us-west-2/s3/aws4_request" in signed.headers["Authorization"]
    assert "x-amz-request-payer;x-amz-security-token" in signed.headers["Authorization"]


def test_open_buckets_get_no_signature() -> None:
    environment = {"AWS_REQUEST_PAYER": "requester", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s"}
    signed = Signer(EARTH_SEARCH, environment).sign("s3://copernicus-dem-30m/N45/DEM.tif", "cop-dem-glo-30")
    assert signed.url == "https://copernicus-dem-30m.s3.eu-central-1.amazonaws.com/N45/DEM.tif"
    assert signed.headers == {}
    cog = "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/a/B04.tif"
    assert Signer(EARTH_SEARCH, environment).sign(cog, "sentinel-2-l2a").headers == {}
    for href in ("s3://evil-bucket/a", "s3://usgs-landsat/../a", "s3://usgs-landsat/a?x", "s3:///a", "s3://a/b"):
        with pytest.raises(ArchiveRefusedError):
            Signer(EARTH_SEARCH, environment).sign(href, "landsat-c2-l2")


def test_keys_of_cdse_are_its_own(tmp_path: Path) -> None:
    href = "s3://eodata/Sentinel-2/MSI/L2A/B04_10m.jp2"
    aws = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SHARED_CREDENTIALS_FILE": "/none"}
    with pytest.raises(ArchiveRefusedError, match="CDSE_ACCESS_KEY_ID"):
        Signer(CDSE, aws).sign(href, "sentinel-2-l2a")
    path = tmp_path / "credentials"
    path.write_text("[cdse]\naws_access_key_id = C1\naws_secret_access_key = C2\n")
    for environment in (
        {"CDSE_ACCESS_KEY_ID": "C1", "CDSE_SECRET_ACCESS_KEY": "C2"},
        {"AWS_SHARED_CREDENTIALS_FILE": str(path)},
    ):
        signed = Signer(CDSE, environment).sign(href, "sentinel-2-l2a")
        assert signed.url == "https://eodata.dataspace.copernicus.eu/eodata/Sentinel-2/MSI/L2A/B04_10m.jp2"
        assert "Credential=C1/" in signed.headers["Authorization"]
        assert "/default/s3/" in signed.headers["Authorization"]


def test_signatures_equal_botocore_s() -> None:
    auth = pytest.importorskip("botocore.auth", reason="botocore is not installed")
    request = pytest.importorskip("botocore.awsrequest").AWSRequest
    credentials = pytest.importorskip("botocore.credentials").Credentials
    url = "https://usgs-landsat.s3.us-west-2.amazonaws.com/a%20b/c%2Bd.tif"
    made = sign_s3(
        url, S3Keys("AKIA", "s/+", "t"), "us-west-2", datetime.now(timezone.utc), {"x-amz-request-payer": "requester"}
    )
    sent = request("GET", url, headers={"x-amz-request-payer": "requester"})
    signer = auth.S3SigV4Auth(credentials("AKIA", "s/+", "t"), "s3", "us-west-2")
    sent.context["timestamp"] = made["x-amz-date"]
    sent.headers["X-Amz-Security-Token"] = "t"
    sent.headers["X-Amz-Content-SHA256"] = made["x-amz-content-sha256"]
    sent.headers["X-Amz-Date"] = made["x-amz-date"]
    text = signer.string_to_sign(sent, signer.canonical_request(sent))
    assert made["Authorization"].endswith(f"Signature={signer.signature(text, sent)}")


@pytest.mark.parametrize(
    ("href", "shown"),
    [
        ("https://a.example/b.tif?sv=1&sig=abc", "https://a.example/b.tif"),
        ("https://a.example/b.tif?X-Amz-Signature=abc#c", "https://a.example/b.tif"),
        ("https://a.example/b.tif?version=3", "https://a.example/b.tif?version=3"),
        ("https://a.example/b.tif", "https://a.example/b.tif"),
    ],
)
def test_signatures_of_catalogues_are_not_recorded(href: str, shown: str) -> None:
    assert hide_signature(href) == shown
