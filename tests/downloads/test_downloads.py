"""Downloads: URLs, conditions, validation, partial files, bandwidth, signatures."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

import eechips
from eechips.client.http_messages import Timeouts
from eechips.downloads.access_secrets import Secrets, read_secrets
from eechips.downloads.authentication import Auth, make_signer
from eechips.downloads.cql2 import cql2, cql2_text, meets
from eechips.downloads.criteria import Search
from eechips.downloads.document_reader import DocumentReader
from eechips.downloads.expected_file import Checksum, ExpectedFile, md5_from_headers, parse_multihash
from eechips.downloads.host_sessions import HostSessions
from eechips.downloads.integrity import QUARANTINE, quarantine, release
from eechips.downloads.partial import FileVersion, PartialFile, claim_partial, forget, parse_content_range
from eechips.downloads.search import items
from eechips.downloads.signers import Signer, matches_host
from eechips.downloads.transfer_limits import BandwidthLimiter, DiskBudget, read_with_timeout
from eechips.errors import ConfigurationError, PermanentError, StorageError, TransientError, UsageError
from eechips.jobs.scenes.download import remove_if_empty
from eechips.planning.image_filters import parse_condition
from eechips.staging import new_writer
from eechips.urls import (
    display_url,
    file_suffix,
    host_of,
    identity_url,
    is_signed,
    local_path,
    strip_signature,
)
from eechips.windows.locations import RasterLocation
from eechips.windows.versions import read_version
from tests.support.function_server import Answer, answering
from tests.support.scene_servers import item

SIGNED = [
    "https://a.blob.core.windows.net/c/x.tif?st=2020&se=2021&sp=r&sv=2020-08-04&sr=c&sig=SECRET%3D",
    "https://b.s3.amazonaws.com/x.tif?X-Amz-Algorithm=A&X-Amz-Credential=SECRET&X-Amz-Signature=SECRET",
    "https://storage.googleapis.com/b/x.tif?X-Goog-Algorithm=A&X-Goog-Credential=SECRET&X-Goog-Signature=SECRET",
    "https://d1.cloudfront.net/x.tif?Expires=1&Signature=SECRET&Key-Pair-Id=SECRET",
    "https://user:SECRET@example.com/x.tif",
    "https://example.com/x.tif?access_token=SECRET",
    "https://example.com/x.tif?md5=SECRET&exp=1700000000",
    "https://example.com/x.tif?zz=SECRET&valid-until=2030-01-01",
]


@pytest.mark.parametrize("address", SIGNED)
def test_signatures_are_stripped_from_urls(address: str) -> None:
    assert "SECRET" in address
    assert "SECRET" not in strip_signature(address)
    assert strip_signature(address).partition("?")[0] == display_url(address)
    assert is_signed(address) or "@" in address
    assert file_suffix(address) == "tif"


def test_only_named_query_parameters_are_stored() -> None:
    for address in ("s3://bucket/a b/x.tif", "/data/x.tif", "https://example.com/x.tif"):
        assert strip_signature(address) == identity_url(address) == address
    address = "https://x.org/y.tif?collection=a%20b&sig=1"
    assert strip_signature(address) == "https://x.org/y.tif"
    assert strip_signature(address, ("collection",)) == "https://x.org/y.tif?collection=a%20b"
    assert strip_signature(address, "*") == address


def test_urls_that_differ_by_query_stay_distinct() -> None:
    first, second = (identity_url(f"https://x.org/search?q={name}&md5=abc") for name in ("a", "b"))
    assert first != second
    assert "q=a" not in first
    assert identity_url("https://x.org/search?q=a&md5=def") == first
    assert identity_url("https://x.org/search?q=a&md5=def", ("q",)) == "https://x.org/search?q=a"


@pytest.mark.parametrize(
    ("address", "suffix"),
    [("https://x.org/a/B04.JP2?x=1.5", "jp2"), ("s3://b/k.tar.gz", "gz"), ("https://x.org/download", ""),
     ("https://x.org/v1.0/file", ""), ("https://x.org/a.b%20c", "")],
)  # fmt: skip
def test_suffixes_of_urls_are_found(address: str, suffix: str) -> None:
    assert file_suffix(address) == suffix


def test_urls_of_files_and_hosts_are_parsed() -> None:
    assert local_path("file:///a%20b/x.tif") == Path("/a b/x.tif")
    assert local_path("x.tif") == Path("x.tif")
    assert local_path("https://x.org/x.tif") is None
    assert host_of("https://u:p@X.org:8080/y") == "x.org:8080"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("eo:cloud_cover < 20", {"op": "<", "args": [{"property": "eo:cloud_cover"}, 20]}),
        ("platform != sentinel-2a", {"op": "<>", "args": [{"property": "platform"}, "sentinel-2a"]}),
        ("grid:code = '13TDE'", {"op": "=", "args": [{"property": "grid:code"}, "13TDE"]}),
        ("proj:epsg = '32613'", {"op": "=", "args": [{"property": "proj:epsg"}, "32613"]}),
        ("flag != TRUE", {"op": "<>", "args": [{"property": "flag"}, True]}),
        (
            "landsat:wrs_path = 033",
            {
                "op": "or",
                "args": [
                    {"op": "=", "args": [{"property": "landsat:wrs_path"}, 33]},
                    {"op": "=", "args": [{"property": "landsat:wrs_path"}, "033"]},
                ],
            },
        ),
    ],
)
def test_conditions_become_cql2(text: str, wanted: dict[str, Any]) -> None:
    one = parse_condition(text)
    assert cql2([one]) == wanted
    assert cql2([one, one]) == {"op": "and", "args": [wanted, wanted]}
    assert cql2([]) is None


NAMES = ["eo:cloud_cover", "gsd", "platform", "landsat:wrs_path", "view.off-nadir", "flag", "id"]
VALUES = st.sampled_from([0, 1, 10, 33, 20.5, -3, True, False, "033", "33", "sentinel-2a", "O'Brien", "", "true", None])
WORDS = st.sampled_from(
    ["0", "1", "10", "033", "33", "20.5", "-3", "1e1", "true", "FALSE", "sentinel-2a", "'033'", "'true'", '"O\'Brien"']
)


@st.composite
def conditions_as_typed(draw: st.DrawFn) -> str:
    name, sign = draw(st.sampled_from(NAMES)), draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "in"]))
    if sign == "in":
        return f"{name} in ({', '.join(draw(st.lists(WORDS, min_size=1, max_size=3)))})"
    return f"{name} {sign} {draw(WORDS)}"


@given(
    texts=st.lists(conditions_as_typed(), min_size=1, max_size=3),
    properties=st.dictionaries(st.sampled_from(NAMES[:-1]), VALUES),
)
def test_conditions_agree_with_cql2(texts: list[str], properties: dict[str, Any]) -> None:
    """The oracle is the Rust library of that name: what an API is asked, and what is looked at here, are the same.

    It takes names with a dot for paths, even in quotes, and finds nothing: they are told to it with another sign.
    """
    oracle = pytest.importorskip("cql2")
    dotted, plain = "view.off-nadir", "view_off-nadir"
    conditions = [parse_condition(text) for text in texts]
    item = {"type": "Feature", "id": "33", "geometry": None, "properties": properties}
    renamed = {
        **item,
        "properties": {plain if name == dotted else name: value for name, value in properties.items()},
    }
    asked = json.loads(json.dumps(cql2(conditions)).replace(dotted, plain))
    text = str(cql2_text(conditions)).replace(dotted, plain)
    for expression in (oracle.Expr(asked), oracle.parse_text(text)):
        try:
            wanted = expression.matches(renamed)
        except Exception:  # noqa: BLE001 - "could not reduce expression to boolean" has no class of its own
            wanted = None
        if wanted is not None:
            assert meets(item, conditions) is wanted
        elif all(condition.sign != "!=" for condition in conditions):
            assert not meets(item, conditions)  # null, or a number beside a text: not true


@given(st.floats(-1e6, 1e6), st.integers(-1000, 1000), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]))
def test_conditions_are_evaluated_locally(found: float, bound: int, sign: str) -> None:
    condition = parse_condition(f"x {sign} {bound}")
    python = {"=": "==", "!=": "!="}.get(sign, sign)
    assert meets({"properties": {"x": found}}, [condition]) == eval(f"{found!r} {python} {bound!r}")  # the oracle
    assert not meets({"properties": {}}, [condition])


def test_conditions_on_strings_are_evaluated() -> None:
    item = {"properties": {"platform": "landsat-8", "path": "033", "flags": [1]}}
    assert meets(item, [parse_condition("platform in (landsat-8, landsat-9)"), parse_condition("path = 033")])
    assert not meets(item, [parse_condition("platform > m")])
    assert not meets(item, [parse_condition("flags < 3")])


@pytest.mark.parametrize(
    ("prefix", "algorithm"),
    [("1220", "sha256"), ("1114", "sha1"), ("1340", "sha512"), ("d50110", "md5"), ("1620", "sha3_256")],
)
@given(data=st.binary())
def test_multihashes_are_parsed(prefix: str, algorithm: str, data: bytes) -> None:
    digest = hashlib.new(algorithm, data).hexdigest()
    assert parse_multihash(prefix + digest) == Checksum(algorithm, digest)
    assert parse_multihash(prefix + digest[:-2]) is None


@given(st.text(max_size=80) | st.binary(max_size=40).map(bytes.hex))
def test_invalid_multihashes_are_ignored(text: str) -> None:
    found = parse_multihash(text)
    assert found is None or text.strip().lower().endswith(found.digest)


def test_md5_is_read_from_s3_headers() -> None:
    md5 = hashlib.md5(b"x").hexdigest()
    s3 = {"ETag": f'"{md5}"', "x-amz-request-id": "1"}
    assert md5_from_headers(s3) == md5
    assert md5_from_headers({**s3, "x-amz-server-side-encryption": "AES256"}) == md5
    assert md5_from_headers({**s3, "x-amz-server-side-encryption": "aws:kms"}) is None
    assert md5_from_headers({**s3, "ETag": f'"{md5}-3"'}) is None  # in parts
    assert md5_from_headers({"ETag": f'"{md5}"'}) is None  # of whatever


def test_expected_files_are_read_from_items() -> None:
    asset = {"type": "image/tiff; application=geotiff; profile=cloud-optimized", "file:size": 5, "proj:shape": [3, 4]}
    promise = ExpectedFile.of(asset | {"eo:bands": [{"name": "a"}]}, {"proj:epsg": 32613}, "tif")
    assert (promise.driver, promise.shape, promise.bands, promise.crs) == ("GTiff", (3, 4), 1, "EPSG:32613")
    assert ExpectedFile.from_json(json.loads(json.dumps(promise.to_json()))) == promise
    assert not ExpectedFile.of({"type": "application/json"}, {}, "json").is_raster
    assert ExpectedFile.of({}, {}, "tif").is_raster


def test_content_ranges_are_parsed() -> None:
    assert parse_content_range("bytes 5-9/20") == (5, 10, 20)
    assert parse_content_range("bytes 5-9/*") == (5, 10, None)
    assert parse_content_range("bytes */20") is None
    assert parse_content_range(None) is None


def test_versions_are_compared_by_validators() -> None:
    old, new = "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:01 GMT"
    assert FileVersion.of({"ETag": '"a"', "Last-Modified": old, "Date": new}, 1).validator == '"a"'
    assert FileVersion.of({"ETag": 'W/"a"', "Last-Modified": old, "Date": new}, 1).validator is None
    assert FileVersion.of({"Last-Modified": old, "Date": new}, 1).validator == old
    assert FileVersion.of({"Last-Modified": old, "Date": old}, 1).validator is None  # may change within the second
    assert FileVersion.of({"Last-Modified": old}, 1).validator is None
    assert not FileVersion(5, '"a"', None).is_same(FileVersion(6, '"a"', None))
    assert not FileVersion(5, '"a"', None).is_same(FileVersion(5, '"b"', None))
    assert FileVersion(5, '"a"', None).is_same(FileVersion(5, None, old))


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=50), st.booleans()), min_size=1, max_size=8))
def test_an_interrupted_download_resumes(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[bytes, bool]]
) -> None:
    path = tmp_path_factory.mktemp("part") / "partial" / "x.data"
    whole = b"".join(piece for piece, _ in pieces)
    partial = PartialFile(path, ["md5"])
    partial.begin(FileVersion(len(whole), '"a"', None))
    for piece, is_killed in pieces:
        if is_killed:
            partial.close()
            partial = PartialFile(path, ["md5"])
        partial.write(piece)
    assert partial.is_complete
    partial.close()
    assert path.read_bytes() == whole
    assert partial.digest() == hashlib.sha256(whole).hexdigest()
    assert partial.digest("md5") == hashlib.md5(whole).hexdigest()


def test_a_partial_file_without_a_valid_record_is_discarded(tmp_path: Path) -> None:
    partial = PartialFile(tmp_path / "partial" / "x.data")
    partial.begin(FileVersion(10, '"a"', None))
    partial.write(b"12345")
    partial.close()
    assert PartialFile(tmp_path / "partial" / "x.data").size == 5
    assert PartialFile(tmp_path / "partial" / "x.data", ["md5"]).size == 0
    note = json.loads((tmp_path / "partial" / "x.json").read_text())
    (tmp_path / "partial" / "x.json").write_text(json.dumps({**note, "boot": "another"}))
    assert PartialFile(tmp_path / "partial" / "x.data").size == 0
    (tmp_path / "partial" / "x.json").write_text("{")
    assert PartialFile(tmp_path / "partial" / "x.data").size == 0


def test_failures_are_counted_across_processes(tmp_path: Path) -> None:
    partial = PartialFile(tmp_path / "partial" / "x.data")
    partial.begin(FileVersion(1, None, None))
    partial.write(b"1")
    partial.reset(failed=True)
    assert PartialFile(tmp_path / "partial" / "x.data").failures == 1
    assert not (tmp_path / "partial" / "x.data").exists()


BEGIN = """
import sys
from pathlib import Path
from eechips.downloads.partial import FileVersion, PartialFile, claim_partial
from eechips.staging import new_writer
with claim_partial(Path(sys.argv[1]), new_writer()) as path:
    partial = PartialFile(path)
    partial.begin(FileVersion(10, '"a"', None))
    partial.write(b"12345")
    print("begun", flush=True)
    sys.stdin.read()
"""


def test_a_part_is_taken_over_once_its_writer_has_ended(tmp_path: Path) -> None:
    folder, writer = tmp_path / "partial" / "x", new_writer()
    with subprocess.Popen(
        [sys.executable, "-c", BEGIN, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"begun\n"
        with claim_partial(folder, writer) as path:
            assert PartialFile(path).size == 0
        forget(folder, writer)
        assert len(list(folder.iterdir())) == 2
        other.kill()
    with claim_partial(folder, writer) as path, claim_partial(folder, writer) as second:
        assert (PartialFile(path).size, PartialFile(second).size) == (5, 0)
        forget(folder, writer)
        assert path.is_file()
    with claim_partial(folder, new_writer()) as path:
        assert PartialFile(path).size == 5  # a later run of the same process
    forget(folder, writer)
    assert not folder.exists()


@given(st.lists(st.integers(1, 200_000), min_size=1, max_size=50), st.floats(1e5, 1e7))
def test_the_rate_is_kept(counts: list[int], rate: float) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    bucket = BandwidthLimiter(rate, clock=lambda: now[0], sleep=sleep)
    for count in counts:
        bucket.consume(count)
    assert now[0] >= sum(counts) / rate - 0.25 - 1e-6
    assert now[0] <= sum(counts) / rate + 1e-6


def test_without_a_rate_limit_no_read_waits() -> None:
    bucket = BandwidthLimiter(None, sleep=lambda seconds: pytest.fail("waited"))
    bucket.consume(10**12)
    assert bucket.read_size(1 << 19) == 1 << 19
    assert BandwidthLimiter(1e5).read_size(1 << 19) == 25_000


@pytest.mark.parametrize(("piece", "is_slow"), [(1, True), (80, True), (400, False)])
def test_a_host_that_trickles_bytes_times_out(piece: int, is_slow: bool) -> None:
    """Each piece takes 20 s to come, and 1,000 s to be written; 1,000 bytes must come in 60 s."""
    now = [0.0]
    body = BytesIO(bytes(4000))

    def read() -> bytes:
        now[0] += 20.0
        return body.read(piece)

    came = 0
    with pytest.raises(TransientError, match="bytes arrived in") if is_slow else contextlib.nullcontext():
        for data in read_with_timeout(read, 60.0, 1000, lambda: now[0]):
            came += len(data)
            now[0] += 1000.0
    assert came == (4 * piece if is_slow else 4000)


def test_a_download_larger_than_the_disk_is_refused(tmp_path: Path) -> None:
    room = DiskBudget(tmp_path, free=lambda _: 1_000_000_000)
    with room.reserve(500_000_000):
        with pytest.raises(StorageError, match=r"1\.0 GB left"), room.reserve(500_000_000):
            pass
        with room.reserve(400_000_000):
            pass
    with room.reserve(500_000_000) as written:
        written(400_000_000)
        with room.reserve(500_000_000):
            pass
    with room.reserve(0) as written:
        written(5)
    with room.reserve(930_000_000):
        pass


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
    with hosts.get(signer.sign(url, "c").url, {}, signer.headers) as response:
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

    with answering(login) as login_url, answering(data) as address:
        data_url = address.replace("127.0.0.1", "localhost")
        (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login me password {written}\n")
        (tmp_path / "netrc").chmod(0o600)
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        signer = make_signer(Auth(kind="netrc"), Secrets({}), hosts)
        assert get(hosts, signer, f"{data_url}/x.tif") == (200, b"pixels")
        assert seen == [("data", None), ("login", right), ("data", None), ("data", None)]
        assert get(hosts, signer, f"{data_url}/x.tif") == (200, b"pixels")  # the session is kept
        assert len(seen) == 5


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "cp1252"])
def test_netrc_files_of_any_encoding_are_read(
    hosts: HostSessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coding: str
) -> None:
    password = "pässwörd" if sys.version_info >= (3, 11) else "password"  # Python 3.10 reads ASCII only
    text = f"machine URS.Earthdata.NASA.gov\r\n  login me\r\n  password {password}\r\ndefault login x password y\r\n"
    (tmp_path / "netrc").write_bytes(text.encode(coding))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    signer = make_signer(Auth(kind="netrc"), Secrets({}), hosts)
    expected = "Basic " + base64.b64encode(f"me:{password}".encode()).decode()
    assert signer.headers("https://urs.earthdata.nasa.gov/oauth") == {"Authorization": expected}
    assert signer.headers("http://urs.earthdata.nasa.gov/oauth") == {}
    assert signer.headers("https://example.com/") == {}
    assert signer.headers("https://default/") == {}


def test_an_unreadable_netrc_is_reported(hosts: HostSessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for content, reason in {b"machine \xe4 " + b"#" * 5000: "not in UTF-8", b"secret": "malformed"}.items():
        (tmp_path / "netrc").write_bytes(content)
        with pytest.raises(ConfigurationError, match=reason) as raised:
            make_signer(Auth(kind="netrc"), Secrets({}), hosts)
        assert "secret" not in str(raised.value)


def test_google_objects_are_requested_over_http(hosts: HostSessions) -> None:
    signer = make_signer(Auth(), Secrets({}), hosts)
    assert signer.sign("gs://bucket/a%20b/c.tif", "c").url == "https://storage.googleapis.com/bucket/a%20b/c.tif"


@pytest.mark.parametrize("kind", ["bearer", "basic"])
def test_a_secret_does_not_follow_a_redirection(hosts: HostSessions, kind: Any) -> None:
    seen: dict[str, str | None] = {}

    def elsewhere(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        seen["elsewhere"] = headers.get("Authorization")
        return 200, {}, b"x"

    def first(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        seen["first"] = headers.get("Authorization")
        return 307, {"Location": f"{other}/x"}, b""

    with answering(elsewhere) as address, answering(first) as url:
        other = address.replace("127.0.0.1", "localhost")
        secrets = Secrets({"token": "t", "username": "u", "password": "p"})
        signer = make_signer(Auth(kind=kind, hosts=("127.0.0.1",)), secrets, hosts)
        assert get(hosts, signer, f"{url}/x") == (200, b"x")
    assert seen["first"] == {"bearer": "Bearer t", "basic": "Basic dTpw"}[kind]
    assert seen["elsewhere"] is None


def test_secrets_are_not_sent_in_the_clear(hosts: HostSessions) -> None:
    signer = make_signer(Auth(kind="bearer", hosts=("example.com",)), Secrets({"token": "t"}), hosts)
    with pytest.raises(PermanentError, match="not https"):
        signer.headers("http://example.com/x")
    assert signer.headers("https://example.com/x") == {"Authorization": "Bearer t"}


def test_endless_redirects_are_refused(hosts: HostSessions) -> None:
    with (
        answering(lambda path, headers, body: (302, {"Location": "/again"}, b"")) as url,
        pytest.raises(PermanentError, match="redirects"),
        hosts.get(url, {}, lambda _: {}),
    ):
        pass
    with (
        answering(lambda path, headers, body: (302, {"Location": "file:///etc/passwd"}, b"")) as url,
        pytest.raises(PermanentError, match="not an http"),
        hosts.get(url, {}, lambda _: {}),
    ):
        pass


def test_an_unreachable_host_is_transient(hosts: HostSessions) -> None:
    with pytest.raises(TransientError) as caught, hosts.get("http://127.0.0.1:9/x?sig=SECRET", {}, lambda _: {}):
        pass
    assert "SECRET" not in str(caught.value)
    assert "127.0.0.1:9" in str(caught.value)


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

    with answering(answer) as url:
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
    with answering(lambda path, headers, body: (401, {}, b"{}")) as url:
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

    with answering(answer) as url:
        auth = Auth(kind="sas", token_url=f"{url}/{way}", hosts=("*.blob.example.com",))
        signer = make_signer(auth, Secrets({}), hosts, clock=lambda: now[0])
        href = "https://a.blob.example.com/x.tif"
        assert signer.sign("https://other.example.com/x.tif", "c").url == "https://other.example.com/x.tif"
        assert signer.sign(href, "c").url == signer.sign(href, "c").url == f"{href}?sig=1"
        now[0] += 95.0
        assert signer.sign(href, "c").url == f"{href}?sig=2"
        assert signer.renew(href, "c")
        assert signer.sign(href, "c").url == f"{href}?sig=3"
        assert "sig" not in repr(signer.sign(href, "c"))
    wanted = "/token/c" if "token" in way else "/sign?href=https%3A%2F%2Fa.blob.example.com%2Fx.tif"
    assert asked == [wanted] * 3


def test_s3_urls_are_signed_for_requester_pays(hosts: HostSessions, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("botocore")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    anonymous = make_signer(Auth(), Secrets({}), hosts).sign("s3://bucket/a/x.tif", "c")
    assert anonymous.url == "https://bucket.s3.eu-central-1.amazonaws.com/a/x.tif"
    with pytest.raises(ConfigurationError, match="bills"):
        make_signer(Auth(requester_pays=True), Secrets({}), hosts).sign("s3://bucket/a/x.tif", "c")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    signer = make_signer(Auth(requester_pays=True), Secrets({}), hosts)
    paid = signer.sign("s3://bucket/a/x.tif", "c").url
    query = parse_qs(urlsplit(paid).query)
    assert urlsplit(paid).netloc == "bucket.s3.eu-central-1.amazonaws.com"
    assert query["X-Amz-SignedHeaders"] == ["host;x-amz-request-payer"]
    assert signer.headers(paid) == {"x-amz-request-payer": "requester"}
    assert signer.headers("https://bucket.s3.eu-central-1.amazonaws.com/a/x.tif") == {}
    assert "very-secret" not in paid


@pytest.mark.parametrize(
    "options",
    [{"kind": "magic"}, {"kind": "oauth", "hosts": ("x",)}, {"kind": "bearer"}, {"token_url": "https://x.org"}],
)
def test_impossible_authentication_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Auth(**options)


def test_conditions_are_sent_to_an_api_with_cql2(tmp_path: Path) -> None:
    """It is asked for the items of a second page as well, and what it does not choose by is looked at here."""
    bodies: list[dict[str, Any]] = []

    def feature(number: int) -> dict[str, Any]:
        properties = {"datetime": "2020-06-01T00:00:00Z", "eo:cloud_cover": 10 * number}
        place = {"type": "Point", "coordinates": [number, 0]}
        found = {"type": "Feature", "stac_version": "1.0.0", "id": f"i{number}", "collection": "c", "links": []}
        return {**found, "geometry": place, "properties": properties, "assets": {"a": {"href": "a.tif"}}}

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if not path.startswith("/search"):
            core = "https://api.stacspec.org/v1.0.0"
            classes = [f"{core}/core", f"{core}/item-search", f"{core}/item-search#filter"]
            links = [{"rel": "search", "href": f"{url}/search", "type": "application/geo+json", "method": "POST"}]
            landing = {"type": "Catalog", "stac_version": "1.0.0", "id": "top", "description": "", "links": links}
            return 200, {}, json.dumps({**landing, "conformsTo": classes}).encode()
        bodies.append(json.loads(body))
        page = bodies[-1].get("page", 1)
        more = {"rel": "next", "href": f"{url}/search", "method": "POST", "merge": True, "body": {"page": 2}}
        features = [feature(number) for number in ((0, 1) if page == 1 else (1, 2))]
        found = {"type": "FeatureCollection", "features": features, "links": [more] if page == 1 else []}
        return 200, {"Content-Type": "application/geo+json"}, json.dumps(found).encode()

    with answering(answer) as url, HostSessions(1, 5.0, 5.0) as hosts:
        conditions = (parse_condition("eo:cloud_cover < 20"), parse_condition("eo:cloud_cover >= 0"))
        search = Search(
            stac=url,
            collections=("c",),
            region=shapely.box(-1, -1, 5, 1),
            start=dt.datetime(2020, 6, 1, tzinfo=dt.timezone.utc),
            end=dt.datetime(2020, 7, 1, tzinfo=dt.timezone.utc),
            conditions=conditions,
        )
        found = list(items(search, DocumentReader(hosts, make_signer(Auth(), Secrets({}), hosts))))
    assert [item["id"] for item in found] == ["i0", "i1"]
    first, second = bodies
    assert first["filter"] == cql2(conditions)
    assert first["filter-lang"] == "cql2-json"
    assert first["collections"] == ["c"]
    assert first["datetime"] == "2020-06-01T00:00:00Z/2020-06-30T23:59:59.999Z"
    assert shapely.equals(shapely.geometry.shape(first["intersects"]), shapely.box(-1, -1, 5, 1))
    assert second["page"] == 2


@pytest.mark.parametrize(("status", "page"), [(200, {"links": []}), (200, []), (404, {}), (200, "x")])
def test_invalid_api_responses_are_reported(status: int, page: Any, hosts: HostSessions) -> None:
    signer = make_signer(Auth(), Secrets({}), hosts)
    with (
        answering(lambda path, headers, body: (status, {}, json.dumps(page).encode())) as url,
        pytest.raises(ConfigurationError, match="not a STAC catalogue"),
    ):
        list(items(Search(stac=url), DocumentReader(hosts, signer)))


@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/x", "http://168.63.129.16/x", "http://[fd20:ce::254]/x", "http://[64:ff9b::a9fe:a9fe]/x",
     "http://[::ffff:169.254.169.254]/x", "https://[2002:a9fe:a9fe::1]/x", "http://2852039166/x", "http://0xa9fea9fe/x"],
)  # fmt: skip
def test_redirects_to_cloud_metadata_services_are_refused(target: str, hosts: HostSessions) -> None:
    with answering(lambda path, headers, body: (302, {"Location": target}, b"")) as url:
        for start in (url, target):
            with pytest.raises(PermanentError, match="hand out its credentials"), hosts.get(start, {}, lambda _: {}):
                pass
        with pytest.raises(PermanentError, match="hand out its credentials"):
            read_version(RasterLocation(f"/vsicurl/{url}/a.tif", "http", f"{url}/a.tif"), Timeouts())


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

    with answering(answer) as url:
        for name, value in {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "very-secret"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        assets = {"a": {"href": "s3://bucket/a.bin", "roles": ["data"]}}
        path = tmp_path / "items.json"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": [item("one", assets)]}))
        run = eechips.scenes(str(path), out=tmp_path / "out", quiet=True)
    assert run.counts == {"done": 1}
    assert asked == list(dict.fromkeys(["eu-central-1", region]))


def test_release_keeps_the_quarantine_of_other_units(tmp_path: Path) -> None:
    """Threads put things there and take them away at once."""

    def others(number: int) -> None:
        for _ in range(200):
            release(tmp_path, f"{number:016x}")

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(others, number) for number in range(3)]
        for number in range(100, 150):
            arrived = tmp_path / f"{number}.data"
            arrived.write_bytes(b"wrong")
            kept = quarantine(tmp_path, f"{number:016x}", arrived, "tif", {"reason": "it is wrong"})
            assert kept.read_bytes() == b"wrong"
            release(tmp_path, f"{number:016x}")
            assert not kept.exists()
        for each in done:
            each.result()
    remove_if_empty(tmp_path)
    assert not (tmp_path / QUARANTINE).exists()


def test_an_item_nested_too_deep_is_reported_and_the_others_are_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = item("one", assets={"data": {"href": "https://127.0.0.1:9/x.tif"}})
    lines = [json.dumps(known), '{"id": ' + "[" * 100_000, json.dumps({**known, "id": "two"})]
    (tmp_path / "items.ndjson").write_text("\n".join(lines))
    planned = eechips.scenes(str(tmp_path / "items.ndjson"), out=tmp_path / "out", dry_run=True, quiet=True)
    assert planned.units == 2
    assert "items.ndjson:2: not JSON: its values are nested too deep" in caplog.text
