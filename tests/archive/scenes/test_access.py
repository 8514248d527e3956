"""Credentials of scenes: the hosts that receive them, their renewal, and that they are never stored."""

from __future__ import annotations

import base64
import json
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from eechips.archive.downloads.assets import make_unit
from eechips.errors import UsageError
from local_tests.support.function_server import Answer, serve_function
from tests.support.programs import run_program
from tests.support.scene_runs import TIFF, assert_same, catalogue, fetch, items, write
from tests.support.scene_servers import Faults, FileServer, item

pytest.importorskip("pystac_client")

SECRET = "very-secret"


def search_for(folder: Path, secrets: list[str]) -> list[str]:
    """Files of a run that have a secret in them, in whatever form."""
    wanted = [form for each in secrets for form in (each, base64.b64encode(each.encode()).decode(), quote(each))]
    found = []
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        if path.suffix == ".parquet" and data[:4] == b"PAR1":
            import pyarrow.parquet as pq

            data += json.dumps(pq.read_table(path).to_pylist(), default=str).encode()
        found += [f"{path.name}: {each}" for each in wanted if each.encode() in data]
    return found


@pytest.mark.slow
def test_a_login_cookie_of_the_domain_is_sent(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ASF's: the data's host, the login's, and a third one of the data's domain that the login comes back to."""
    seen: dict[str, set[str | None]] = {"data": set(), "login": set(), "auth": set()}

    def data(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        seen["data"].add(headers.get("Authorization"))
        if "asf-urs=open" in headers.get("Cookie", ""):
            return 200, {}, (folder / path[1:]).read_bytes()
        return 302, {"Location": f"{login_url}/oauth/authorize?state={data_url}{path}"}, b""

    def login(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        seen["login"].add(headers.get("Authorization"))
        if "Authorization" not in headers:
            return 200, {"Content-Type": "text/html"}, b"<!DOCTYPE html>\n<html>Earthdata Login</html>"
        state = parse_qs(urlsplit(path).query)["state"][0]
        return 302, {"Location": f"{auth_url}/login?code=7&state={state}", "Set-Cookie": "urs=1"}, b""

    def auth(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        seen["auth"].add(headers.get("Authorization"))
        state = parse_qs(urlsplit(path).query)["state"][0]
        return 302, {"Location": state, "Set-Cookie": "asf-urs=open; Path=/"}, b""

    with serve_function(data) as data_url, serve_function(login) as address, serve_function(auth) as auth_url:
        login_url = address.replace("127.0.0.1", "localhost")
        (tmp_path / "netrc").write_text(f"machine localhost login me password {SECRET}\n")
        (tmp_path / "netrc").chmod(0o600)
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        found = [
            item(f"s{n}", {"B04": {"href": f"{data_url}/s{n}.tif", "type": TIFF, "roles": ["data"]}}) for n in range(6)
        ]
        assert_same(fetch(catalogue(tmp_path, found), tmp_path / "out", auth="netrc"), folder)
        assert seen["data"] == seen["auth"] == {None}
        refused = fetch(catalogue(tmp_path, found[:2]), tmp_path / "refused", retry_delay=0.01)
    assert refused.counts == {"failed_permanent": 2}
    assert "an HTML page, such as a login page" in refused.failures.iloc[0]["error"]
    assert search_for(tmp_path / "out", [SECRET, f"me:{SECRET}", "code=7"]) == []


def test_an_expired_token_is_renewed_during_downloads(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten threads, one token: who is refused first gets another, and all others take that."""
    tokens, refused, opening = Counter[str](), Counter[str](), threading.Lock()
    begun = Counter[str]()

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        with opening:
            if path == "/token":
                form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
                assert form["client_secret"] == SECRET
                tokens[form["grant_type"]] += 1
                given = {
                    "access_token": f"{SECRET}-{sum(tokens.values())}",
                    "expires_in": 3600,
                    "refresh_token": SECRET,
                }
                return 200, {}, json.dumps(given).encode()
            # The second token opens for ever; the first until each file has come half-way.
            is_first = headers["Authorization"] == f"Bearer {SECRET}-1"
            name, data = path[1:], (folder / path[1:]).read_bytes()
            if is_first and begun[name]:
                refused[name] += 1
                return 401, {}, b""
            begun[name] += 1
            first = int(headers["Range"].removeprefix("bytes=").rstrip("-")) if "Range" in headers else 0
            told = {"ETag": f'"{name}"', "Content-Length": str(len(data) - first)}
            if first:
                told["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
            return (206 if first else 200), told, data[first:] if not is_first else data[: len(data) // 2]

    monkeypatch.setenv("EECHIPS_SCENES_CLIENT_ID", "cdse-public")
    monkeypatch.setenv("EECHIPS_SCENES_CLIENT_SECRET", SECRET)
    with serve_function(answer) as url:
        found = [item(f"s{n}", {"B04": {"href": f"{url}/s{n}.tif", "type": TIFF}}) for n in range(6)]
        options = {"auth": "oauth", "token_url": f"{url}/token", "auth_host": "127.0.0.1", "retry_delay": 0.01}
        run = fetch(catalogue(tmp_path, found), tmp_path / "out", **options)
        assert_same(run, folder)
    assert tokens == {"client_credentials": 1, "refresh_token": 1}
    assert sum(refused.values()) >= 1
    assert search_for(tmp_path / "out", [SECRET]) == []


def test_the_url_that_the_credentials_open_is_chosen(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Copernicus has them: in its object store, and by HTTP with a token."""
    monkeypatch.setenv("EECHIPS_SCENES_TOKEN", SECRET)

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        is_open = headers.get("Authorization") == f"Bearer {SECRET}"
        return (200, {}, (folder / path.rpartition("/")[2]).read_bytes()) if is_open else (401, {}, b"")

    with serve_function(answer) as url:
        found = []
        for number in range(2):
            others = {"odd": None, "bad": {"href": "http://[::1"}, "https": {"href": f"{url}/odata/s{number}.tif"}}
            asset = {"href": f"s3://eodata/s{number}.tif", "type": TIFF, "alternate": others}
            found.append(item(f"s{number}", {"B04": asset}))
        stac = catalogue(tmp_path, found)
        assert_same(fetch(stac, tmp_path / "out", auth="bearer", auth_host="127.0.0.1"), folder)
    assert make_unit(found[0], "B04")["href"] == "s3://eodata/s0.tif"


@pytest.mark.parametrize("href", ["abfs://eodata/s0.tif", "oss://eodata/s0.tif"])
def test_another_url_is_chosen_where_the_first_cannot_be_downloaded(href: str) -> None:
    others = {"odd": None, "az": {"href": "az://eodata/s0.tif"}, "https": {"href": "https://x.org/s0.tif"}}
    asset = {"href": href, "type": TIFF, "alternate": others}
    assert make_unit(item("s0", {"B04": asset}), "B04")["href"] == "https://x.org/s0.tif"
    assert make_unit(item("s0", {"B04": asset | {"alternate": {}}}), "B04")["href"] == href


@pytest.mark.parametrize("expiry", ["2999-01-01T00:00:00.1234567Z", "2999-01-01T00:00:00+0000", "soon", None, 7])
def test_planetary_computer_tokens_are_requested(folder: Path, tmp_path: Path, expiry: Any) -> None:
    asked = Counter[str]()

    def sign(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        asked[path] += 1
        token = {"token": f"sv=1&sig={SECRET}", "msft:expiry": expiry}
        return 200, {}, json.dumps(token).encode()

    def blobs(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        parts = urlsplit(path)
        if parse_qs(parts.query).get("sig") != [SECRET]:
            return 403, {}, b""
        return 200, {}, (folder / parts.path[1:]).read_bytes()

    with serve_function(sign) as token_url, serve_function(blobs) as url:
        found = [item(f"s{n}", {"B04": {"href": f"{url}/s{n}.tif", "type": TIFF}}, collection="a b") for n in range(3)]
        options = {"auth": "sas", "token_url": f"{token_url}/token/{{collection}}", "auth_host": "127.0.0.1"}
        assert_same(fetch(catalogue(tmp_path, found), tmp_path / "out", **options), folder)
    assert set(asked) == {"/token/a%20b"}
    assert asked.total() == 1 if expiry not in (7,) else asked.total() >= 1
    assert search_for(tmp_path / "out", [SECRET]) == []


def test_urls_signed_by_the_catalogue_are_used_and_not_stored(folder: Path, tmp_path: Path) -> None:
    """They are used while they open, and written down nowhere; later there are none."""
    with FileServer(folder, Faults(lifetime=30.0, damaged={"s1.tif": 3})) as server:
        found = items(server)
        for each in found:
            asset = each["assets"]["B04"]
            path, _ = server.sign(urlsplit(asset["href"]).path)
            asset |= {"href": server.url + path, "alternate": {"https": {"href": server.url + path}}}
            each["links"] = [{"rel": "self", "href": f"{server.url}/{each['id']}?token={SECRET}"}]
        stac = catalogue(tmp_path, found)
        run = fetch(stac, tmp_path / "out")
        assert run.counts == {"done": 5, "failed_permanent": 1}
        signatures = [parse_qs(urlsplit(each["assets"]["B04"]["href"]).query)["sig"][0] for each in found]
        assert search_for(tmp_path / "out", [SECRET, *signatures]) == []
        (run.path / "scenes/s2/B04.tif").unlink()
        for each in found:
            each["assets"]["B04"]["href"] = each["assets"]["B04"]["href"].partition("?")[0]
        again = fetch(catalogue(tmp_path, found), tmp_path / "out")
    failed = again.failures.set_index("error_class")["error"]
    assert "HTTP 403: set `auth`" in failed["PermanentError"]


@pytest.mark.slow
@pytest.mark.parametrize("refusal", [(403, b""), (400, b"<Error><Code>ExpiredToken</Code></Error>")])
def test_expired_signatures_of_a_catalogue_are_renewed(
    folder: Path, tmp_path: Path, refusal: tuple[int, bytes]
) -> None:
    """While files come, and between two commands: the catalogue is asked for others, once for all."""
    asked, served = Counter[str](), Counter[str]()
    answering_ = threading.Lock()
    key = [1]

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        parts = urlsplit(path)
        with answering_:
            asked[parts.path] += 1
            if parts.path == "/items.json":
                found = [item(f"s{n}", {"B04": {"href": f"{url}/s{n}.tif?sig={SECRET}{key[0]}"}}) for n in range(6)]
                return 200, {}, json.dumps({"type": "FeatureCollection", "features": found}).encode()
            if parts.query != f"sig={SECRET}{key[0]}":
                return refusal[0], {}, refusal[1]
            served[parts.path] += 1
            if served.total() == 3:
                key[0] = 2
            return 200, {}, (folder / parts.path[1:]).read_bytes()

    with serve_function(answer) as url:
        run = fetch(f"{url}/items.json", tmp_path / "out", in_flight=2)
        assert_same(run, folder)
        assert asked["/items.json"] == 2
        (run.path / run.units["file"][4]).unlink()
        key[0] = 3
        assert_same(fetch(f"{url}/items.json", tmp_path / "out"), folder)
        assert asked["/items.json"] == 3
        assert fetch(f"{url}/items.json", tmp_path / "out").counts == {"done": 6}
        assert asked["/items.json"] == 3  # of what is here nobody is asked
    assert search_for(tmp_path / "out", [SECRET]) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "refusal", [(403, b""), (410, b""), (401, b""), (498, b""), (400, b'{"message": "This link has expired."}')]
)
def test_links_with_parameters_of_any_name_are_renewed_and_kept_nowhere(
    folder: Path, tmp_path: Path, refusal: tuple[int, bytes]
) -> None:
    """As nginx' ``secure_link`` and many a portal: one path for all files, and a signature that few files outlive."""
    asked, opened, deciding = Counter[str](), Counter[int](), threading.Lock()
    key = [1]

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        parts = urlsplit(path)
        with deciding:
            asked[parts.path] += 1
            if parts.path == "/items.json":
                found = [item(f"s{n}", {"B04": link(n), "thumb": {"href": "https://x.org/t.png"}}) for n in range(6)]
                return 200, {}, json.dumps({"type": "FeatureCollection", "features": found}).encode()
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if query.get("zz") != f"{SECRET}{key[0]}":
                return refusal[0], {}, refusal[1]
            opened[key[0]] += 1
            key[0] += opened[key[0]] == 3
            return 200, {}, (folder / f"s{query['id']}.tif").read_bytes()

    def link(number: int) -> dict[str, Any]:
        href = f"{url}/download?id={number}&zz={SECRET}{key[0]}&at=17"
        return {"href": href, "type": TIFF, "roles": ["data"], "title": f"from {url}", "source": href}

    with serve_function(answer) as url:
        run = fetch(f"{url}/items.json?page={SECRET}", tmp_path / "out", in_flight=3)
        assert_same(run, folder)
        assert asked["/items.json"] in (2, 3)
        (run.path / run.units["file"][4]).unlink()
        key[0] = 7
        assert_same(fetch(f"{url}/items.json?page={SECRET}", tmp_path / "out"), folder)
        assert search_for(tmp_path / "out", [SECRET, "id=4"]) == []
        with pytest.raises(UsageError, match="holds another"):
            fetch(f"{url}/items.json?page=2", tmp_path / "out")
        kept = fetch(f"{url}/items.json", tmp_path / "kept", keep_query="id,at")
    assert kept.units["unit"][4]["href"] == f"{url}/download?id=4&at=17"
    assert search_for(tmp_path / "kept", [SECRET]) == []


@pytest.mark.slow
def test_a_large_file_outlives_any_number_of_links(tmp_path: Path) -> None:
    """Each answer is cut after a part, and the next needs another link."""
    write(tmp_path / "files" / "s0.tif", 0, count=3)
    data = (tmp_path / "files" / "s0.tif").read_bytes()
    key, part = [1], 100_000

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        parts = urlsplit(path)
        if parts.path == "/items.json":
            found = [item("s0", {"B04": {"href": f"{url}/s0.tif?h={key[0]}", "type": TIFF}})]
            return 200, {}, json.dumps({"type": "FeatureCollection", "features": found}).encode()
        if parts.query != f"h={key[0]}":
            return 403, {}, b""
        key[0] += 1
        first = int(headers["Range"].removeprefix("bytes=").rstrip("-")) if "Range" in headers else 0
        told = {"ETag": '"1"', "Content-Length": str(len(data) - first)}
        told |= {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"} if first else {}
        return (206 if first else 200), told, data[first : first + part]

    with serve_function(answer) as url:
        run = fetch(f"{url}/items.json", tmp_path / "out", retry_delay=0.01)
    assert_same(run, tmp_path / "files")
    assert key[0] - 1 == -(-len(data) // part) > 3


@pytest.mark.slow
def test_a_stored_query_is_renewed_after_a_refusal(folder: Path, tmp_path: Path) -> None:
    key = [1]

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        parts = urlsplit(path)
        if parts.path == "/items.json":
            found = [item(f"s{n}", {"B04": {"href": f"{url}/s{n}.tif?v={key[0]}", "type": TIFF}}) for n in range(6)]
            return 200, {}, json.dumps({"type": "FeatureCollection", "features": found}).encode()
        if parts.query != f"v={key[0]}":
            return 403, {}, b""
        return 200, {}, (folder / parts.path[1:]).read_bytes()

    with serve_function(answer) as url:
        run = fetch(f"{url}/items.json", tmp_path / "out", keep_query="*")
        assert run.units["unit"][0]["href"].endswith("s0.tif?v=1")
        for file in run.units["file"][:2]:
            (run.path / file).unlink()
        key[0] = 2
        assert_same(fetch(f"{url}/items.json", tmp_path / "out", keep_query="*"), folder)


@pytest.mark.slow
def test_an_unreachable_catalogue_fails_units_transiently(folder: Path, tmp_path: Path) -> None:
    is_away = [False]

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        parts = urlsplit(path)
        if parts.path == "/items.json":
            found = [item(f"s{n}", {"B04": {"href": f"{url}/s{n}.tif?k={SECRET}", "type": TIFF}}) for n in range(6)]
            answered = json.dumps({"type": "FeatureCollection", "features": found}).encode()
            return (503, {}, b"") if is_away[0] else (200, {}, answered)
        if parts.query != f"k={SECRET}":
            return 403, {}, b""
        return 200, {}, (folder / parts.path[1:]).read_bytes()

    with serve_function(answer) as url:
        run = fetch(f"{url}/items.json", tmp_path / "out")
        (run.path / run.units["file"][4]).unlink()
        is_away[0] = True
        failed = fetch(f"{url}/items.json", tmp_path / "out", retries=1, retry_delay=0.01)
        assert failed.counts == {"done": 5, "failed_transient": 1}
        assert "has expired" in failed.failures.iloc[0]["error"]
        is_away[0] = False
        assert_same(fetch(f"{url}/items.json", tmp_path / "out"), folder)


@pytest.mark.slow
def test_a_file_that_is_forbidden_does_not_keep_others_from_new_links(folder: Path, tmp_path: Path) -> None:
    """Two of six never open; links of the others run out twice meanwhile."""
    key, opened, asked, deciding = [1], Counter[int](), Counter[str](), threading.Lock()

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        parts = urlsplit(path)
        with deciding:
            asked[parts.path] += 1
            if parts.path == "/items.json":
                found = [item(f"s{n}", {"B04": {"href": f"{url}/s{n}.tif?h={key[0]}", "type": TIFF}}) for n in range(6)]
                return 200, {}, json.dumps({"type": "FeatureCollection", "features": found}).encode()
            if parts.query != f"h={key[0]}" or parts.path in ("/s0.tif", "/s3.tif"):
                return 403, {}, b""
            opened[key[0]] += 1
            key[0] += opened[key[0]] == 2
            return 200, {}, (folder / parts.path[1:]).read_bytes()

    with serve_function(answer) as url:
        run = fetch(f"{url}/items.json", tmp_path / "out", in_flight=1)
    assert run.counts == {"done": 4, "failed_permanent": 2}
    assert asked["/items.json"] <= 7


def test_an_unencrypted_url_fails_alone(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret is sent there, and the other scenes come."""
    monkeypatch.setenv("EECHIPS_SCENES_TOKEN", SECRET)

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if path == "/s1.tif":
            return 302, {"Location": "http://data.example.com/s1.tif"}, b""
        is_open = headers.get("Authorization") == f"Bearer {SECRET}"
        return (200, {}, (folder / path[1:]).read_bytes()) if is_open else (401, {}, b"")

    with serve_function(answer) as url:
        hrefs = ["http://data.example.com/s0.tif", *(f"{url}/s{n}.tif" for n in range(1, 6))]
        found = [item(f"s{n}", {"B04": {"href": href, "type": TIFF}}) for n, href in enumerate(hrefs)]
        options = {"auth": "bearer", "auth_host": "127.0.0.1,data.example.com"}
        run = fetch(catalogue(tmp_path, found), tmp_path / "out", **options)
    assert run.counts == {"done": 4, "failed_permanent": 2}
    told = "http://data.example.com/s{}.tif is not https: no secrets are sent to it"
    assert sorted(run.failures["error"]) == [told.format(0), told.format(1)]


@pytest.mark.slow
def test_refused_signatures_are_renewed_a_bounded_number_of_times(folder: Path, tmp_path: Path) -> None:
    asked = Counter[str]()

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        asked[urlsplit(path).path] += 1
        if path != "/items.json":
            return 403, {}, b""
        found = [item(f"s{n}", {"B04": {"href": f"{url}/s{n}.tif?sig={asked.total()}"}}) for n in range(6)]
        return 200, {}, json.dumps({"type": "FeatureCollection", "features": found}).encode()

    with serve_function(answer) as url:
        run = fetch(f"{url}/items.json", tmp_path / "out", in_flight=1)
    assert run.counts == {"failed_permanent": 6}
    assert asked["/items.json"] <= 1 + 6
    assert max(count for path, count in asked.items() if path != "/items.json") <= 3


COMMANDS: list[tuple[list[str], int]] = [
    (["--auth", "bearer"], 0),
    (["--auth", "basic"], 0),
    (["--auth", "oauth", "--token-url", "{url}/token?api_key=very-secret"], 0),
    (["--auth", "oauth", "--token-url", "{url}/refuses?token=very-secret"], 1),
    (["--auth", "sas", "--token-url", "{url}/sas/{{collection}}?subscription-key=very-secret"], 0),
    (["--auth", "sas", "--token-url", "{url}/nothing?sig=very-secret"], 1),
    ([], 1),
]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("words", "status"), COMMANDS, ids=[" ".join(words)[:40] for words, _ in COMMANDS])
def test_no_secret_is_shown_or_kept(folder: Path, tmp_path: Path, words: list[str], status: int) -> None:
    """The command as people type it, ``--debug`` as well: terminal, logs, ledger, manifests, items."""

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        parts = urlsplit(path)
        if parts.path == "/token":
            return 200, {}, json.dumps({"access_token": f"{SECRET}-t", "refresh_token": f"{SECRET}-r"}).encode()
        if parts.path.startswith("/sas/"):
            return 200, {}, json.dumps({"token": f"sig={SECRET}"}).encode()
        if parts.path in ("/refuses", "/nothing"):
            return 400, {}, f"your {SECRET} is wrong".encode()
        if parts.path == "/items.json":
            if f"token={SECRET}" not in parts.query:
                return 401, {}, b""
            found = [item(f"s{n}", {"B04": {"href": f"{url}/s{n}.tif", "type": TIFF}}) for n in range(2)]
            return 200, {}, json.dumps({"type": "FeatureCollection", "features": found}).encode()
        is_open = f"sig={SECRET}" in parts.query or SECRET in headers.get("Authorization", "")
        is_open = is_open or "Basic" in headers.get("Authorization", "")
        if not is_open:
            return 403, {"Location": f"{url}/?sig={SECRET}"}, f"{SECRET} needed".encode()
        if parts.path == "/s0.tif" and not answered.get(path):
            answered[path] = 1
            return 302, {"Location": f"{url}/s0.tif?sig={SECRET}&X-Amz-Signature={SECRET}"}, b""
        data = (folder / parts.path[1:]).read_bytes()
        return 200, {"Content-Length": str(len(data))}, data

    answered: dict[str, int] = {}
    secrets = tmp_path / "secrets"
    secrets.write_text(
        "".join(f"{name}={SECRET}\n" for name in ("token", "username", "password", "client_id", "client_secret"))
    )
    with serve_function(answer) as url:
        command = [sys.executable, "-m", "eechips", "--debug", "scenes", "--stac", f"{url}/items.json?token={SECRET}"]
        own = [word.format(url=url) for word in words]
        if "--auth" in words:
            own += ["--auth-host", "127.0.0.1"]
        command += [*own, "--secrets", str(secrets), "--out", str(tmp_path / "out"), "--retries", "1"]
        done = run_program(*command)
    assert done.returncode == status, done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert base64.b64encode(f"{SECRET}:{SECRET}".encode()).decode() not in done.stdout + done.stderr
    assert search_for(tmp_path / "out", [SECRET, f"{SECRET}:{SECRET}"]) == []
