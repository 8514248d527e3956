"""Test that no secret leaves eechips: each form of a secret, through each exit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from google.auth.exceptions import RefreshError, TransportError
from rasterio.errors import RasterioIOError

from eechips.archive.downloads.document_reader import describe_error
from eechips.archive.windows.gdal_errors import classify_gdal, describe_missing
from eechips.client.error_classification import (
    classify_exception,
    classify_response,
    parse_error,
    raising_recipe_errors,
)
from eechips.engine.results.outcome_records import failed
from eechips.engine.run_log import LOG_NAME, RunLog
from eechips.errors import RecipeError, StorageError
from eechips.manifest.manifest_columns import WorkUnit
from eechips.web.redaction import REDACTED, collect_secrets, is_redacted, redact, redact_json
from local_tests.support.parameters import slow_except

SECRET = "3f2a9c-7d41e0b2"
KEY = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"
UNIT = WorkUnit(0, "0" * 64, "{}", "unit")


FORMS = [
    f"https://earthengine-highvolume.googleapis.com/v1/projects/p/thumbnails/{SECRET}:getPixels",
    f"Max retries exceeded with url: /v1/projects/p/thumbnails/{SECRET}:getPixels (Caused by x)",
    f"GET '/v1/projects/p/tables/{SECRET}:getFeatures'",
    f'{{"name": "projects/p/videoThumbnails/{SECRET}"}}',
    f"projects/p/maps/{SECRET}/tiles/1/2/3",
    f"https://login.example/?url=https%3A%2F%2Fx.googleapis.com%2Fv1%2Fprojects%2Fp%2Fthumbnails%2F{SECRET}%3AgetPixels",
    f"%252Fthumbnails%252f{SECRET}%253AgetPixels",
    f"GOCSPX-{SECRET}-0123456",
    f"Authorization: Bearer ya29.{SECRET}",
    f"ya29.{SECRET}.x",
    f"refresh_token={SECRET}&grant_type=refresh_token",
    f'"client_secret": "{SECRET}"',
    f"'private_key_id': '{SECRET}'",
    f"https://x.googleapis.com/v1?key={SECRET}",
    f"http://user:{SECRET}@proxy.example/",
    f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n",
    f"eechips run r.py -p token={SECRET}",
    f"eechips run r.py -p password='{SECRET} x' -p DB_SECRET={SECRET}",
    f"--client-secret {SECRET} --api-key '{SECRET}'",
    f"--verbose-token --api-key {SECRET}",
    f'{{"apiKey": "{SECRET} x", "db_password": "{SECRET}"}}',
    f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}",
    f"eechips scenes --stac 'https://example.com/items.json?zz={SECRET}&expires=1700000000'",
    f"https://example.com/x.tif?exp=1700000000&zz={SECRET}",
    f"https://example.com/x.tif?md5={SECRET}",
    f"https://b.s3.amazonaws.com/k?X-Amz-Credential={SECRET}%2Fus&X-Amz-Signature={SECRET}",
    f"https://b.s3.amazonaws.com/k?AWSAccessKeyId={SECRET}&Signature={SECRET}&Expires=1",
    f"s3://b/k?X-Amz-Security-Token={SECRET}",
    f"https://storage.googleapis.com/b/k?X-Goog-Signature={SECRET}&GoogleAccessId={SECRET}",
    f"https://a.blob.core.windows.net/c/k?sv=2022&sp=r&sig={SECRET}",
    f"https://d.cloudfront.net/k?Policy={SECRET}&Key-Pair-Id={SECRET}",
    f"https://example.com/k?sas={SECRET};code={SECRET}#access_token={SECRET}",
    f"https://example.com/x?my_session={SECRET}",
    f"https://example.com/x?valid_to=9&zz={SECRET}",
    f"https://{SECRET}@example.com/k",
    f"s3://user:{SECRET}@bucket/k",
    f"simplecache::https://x/a?sig={SECRET}",
    f"https://x/sign?href=https%3A%2F%2Fa.blob.core.windows.net%2Fc%3Fsv%3D2022%26sig%3D{SECRET}",
    f"/vsicurl?url=https%3a%2f%2fme%3a{SECRET}%40x%2fa.tif",
    f"https%3A%2F%2Fx%2Fa%3Ftoken%3D{SECRET}",
    f'{{"url": "https:\\/\\/me:{SECRET}@x\\/a?sv=1\\u0026sig={SECRET}"}}',
    f"Authorization: token {SECRET}",
    f"Authorization: AWS4-HMAC-SHA256 Credential={SECRET}/s3, Signature={SECRET}",
    f"X-Api-Key: {SECRET}",
    f"password: {SECRET}",
    f"no login: PASSWORD : '{SECRET}'",
    f"db_password = {SECRET}",
    f'password="{SECRET} x"',
    f"password: 'x {SECRET}'",
    f'client_secret: "x {SECRET}"',
    f'secret = "{SECRET}"',
    f"https://example.com/k?user=me&pass={SECRET}",
    f"https%3A%2F%2Fx%2Fa%3Fpass%3D{SECRET}",
    f"Ocp-Apim-Subscription-Key: {SECRET}",
    f"{{'X-Amz-Security-Token': '{SECRET}', 'Cookie': 'a={SECRET}; b={SECRET}'}}",
    json.dumps({"private_key": KEY}),
    json.dumps(
        {"key": json.dumps({"private_key": f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----"})}
    ),
    json.dumps(json.dumps({"type": "service_account", "private_key_id": SECRET, "client_secret": SECRET})),
]
"""Names of thumbnails and tables, signed URLs, passwords and tokens in URLs, headers, keys in JSON."""


def _write_log(text: str, folder: Path) -> str:
    with RunLog(folder) as log:
        log.write("retry", message=text)
    return (folder / LOG_NAME).read_text()


def _record_failure(text: str, _: Path) -> str:
    try:
        with raising_recipe_errors():
            raise ValueError(text)
    except RecipeError as error:
        return str(failed(UNIT, error).record)


def _stop_run(text: str, _: Path) -> str:
    return str(failed(UNIT, StorageError(text)).fatal)


def _receive_error(text: str, _: Path) -> str:
    body = parse_error(json.dumps({"error": {"message": text}}).encode())
    return "".join(str(classify_response(status, body)) for status in (400, 401, 403, 404, 429, 503))


def _lose_connection(text: str, _: Path) -> str:
    return str(classify_exception(requests.ConnectionError(text)))


def _refuse_credentials(text: str, _: Path) -> str:
    return "".join(str(classify_exception(kind(text))) for kind in (RefreshError, TransportError))


def _describe_run(text: str, _: Path) -> str:
    return json.dumps(redact_json({"parameters": {"note": [text]}}))


def _fail_in_gdal(text: str, _: Path) -> str:
    return str(classify_gdal(RasterioIOError(text), "https://example.com/a.tif")) + describe_missing([text])


def _fail_in_store(text: str, _: Path) -> str:
    return describe_error(OSError(text))


EXITS = [
    _write_log,
    _record_failure,
    _stop_run,
    _receive_error,
    _lose_connection,
    _refuse_credentials,
    _describe_run,
    _fail_in_gdal,
    _fail_in_store,
]


@pytest.mark.parametrize("leave", EXITS)
def test_no_exit_shows_a_secret(leave: Callable[[str, Path], str], tmp_path: Path) -> None:
    for number, text in enumerate(FORMS):
        (folder := tmp_path / str(number)).mkdir()
        assert SECRET not in leave(text, folder), text


def test_redaction_is_idempotent() -> None:
    for text in FORMS:
        found = redact(text)
        assert REDACTED in found, text
        assert is_redacted(found), text
        assert not is_redacted(text), text


@pytest.mark.parametrize(
    "name", ["-p access_token=", "DB_PASSWORD=", "--api-key ", "https://x/a?token=", "https://x/a?key="]
)
def test_the_end_of_a_sentence_is_no_part_of_a_secret_that_was_removed(name: str) -> None:
    """Messages are redacted again where they are printed."""
    for end in (")", "). More", ": more", ".", ""):
        assert redact(f"({name}{REDACTED}{end}") == f"({name}{REDACTED}{end}"
    assert redact(f"{name}{REDACTED}!rest") == f"{name}{REDACTED}"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("C:/run:2024@home/x and /mnt/c:d/run:2024@home", "C:/run:2024@home/x and /mnt/c:d/run:2024@home"),
        ("https://x/a.json?n=1&author=me&page_token_count=", "https://x/a.json?n=1&author=me&page_token_count="),
        ("https://x/a.json?token=s3cret", "https://x/a.json?token=***"),
        ("https://x/a?sv=2022&sp=r&sig=s%2F&se=2030", "https://x/a?sv=2022&sp=r&sig=***&se=2030"),
        ("https://x/a?X-Amz-Signature=s&X-Amz-Expires=9", "https://x/a?***"),
        ("https://x/a?X-Goog-Signature=s&GoogleAccessId=me", "https://x/a?X-Goog-Signature=***&GoogleAccessId=***"),
        ("https://x/a?apikey=s&api_key=s&subscription-key=s", "https://x/a?apikey=***&api_key=***&subscription-key=***"),
        ("https://me:s3cret@x/a", "https://***@x/a"),
        ("there is no file https:/me:s3cret@x/a", "there is no file https:/***@x/a"),  # as a path
        ("s3://me:s3cret@x/a", "s3://me:***@x/a"),
        ("abfs://container@account.dfs.core.windows.net/a", "abfs://container@account.dfs.core.windows.net/a"),
        ("could not read https://x/a?sig=s, nor http://y:z@q", "could not read https://x/a?sig=*** nor http://***@q"),
        ("/data/key=a/b.json", "/data/key=a/b.json"),
        ("https://x/s?u=https%3A%2F%2Fy%3Fsig%3Ds%26n%3D1&m=2", "https://x/s?u=https%3A%2F%2Fy%3Fsig%3D***%26n%3D1&m=2"),
        ("https%3A%2F%2Fme%3As3cret%40x%2Fa", "https%3A%2F%2F***%40x%2Fa"),
    ],
)  # fmt: skip
def test_only_secrets_of_urls_are_redacted(address: str, expected: str) -> None:
    assert redact(address) == expected
    assert is_redacted(expected) == (expected != address)


@pytest.mark.slow
@pytest.mark.parametrize("head", slow_except(["", "?", "--", "x://"], ""))
def test_long_texts_are_redacted(head: str) -> None:
    """Time grows with their length: if it grew with its square, one of them would take minutes to hours."""
    for part in (
        "x-",
        "-",
        "a.",
        "token",
        "--token",
        "x-x.",
        "://",
        "://x?e",
        "?token",
        "\\",
        '\\"',
        "key= ",
        "%26token",
        "%3a%2f%2f",
        "https%3a%2f%2fa",
        "%3Fa.a-",
        "-----BEGIN ",
    ):
        found = redact(head + part * (100_000 // len(part)) + f"\n--x-token {SECRET}")
        assert found.endswith(f"\n--x-token {REDACTED}"), part


def test_redacted_json_can_be_parsed() -> None:
    text = json.dumps({"request": json.dumps({"client_secret": SECRET, "scope": "a"}), "unit": 3})
    assert json.loads(json.loads(redact(text))["request"])["scope"] == "a"
    assert json.loads(redact(text))["unit"] == 3


@pytest.mark.parametrize("message", ["the header lacks token=", "client_secret = ", "token=a", "password: 'a b'"])
def test_json_with_a_message_that_names_a_secret_can_be_parsed(message: str) -> None:
    """The quotation mark at the end of the message is that of the JSON, as are those of the next members."""
    for form in ('{"error": %s, "unit": 3}', '{"of":{"error":%s},"unit":3}', '[[%s], "b"]'):
        text, expected = form % json.dumps(message), json.loads(form % json.dumps(redact(message)))
        assert json.loads(redact(text)) == expected
        assert json.loads(json.loads(redact(json.dumps({"line": text})))["line"]) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Image.load: Image asset 'USDA/NAIP/DOQQ/m_1' not found.",
        "User memory limit exceeded.",
        "projects/my-project/assets/tables_of_mine",
        "the key of the region",
        "Basic volcanic rocks",
        "soil: basic   volcanic.",
        "a bearer of ultra-mafic (basic) rocks",
        "unexpected token: <",
        "max_tokens=5",
        "if token == 5: signature=forest, spectral_signature: bare soil",
        "https://x/a?orbit_pass=ascending",
        "https://x/a?pass=DESCENDING&n=1 and https%3A%2F%2Fx%2Fa%3Fpass%3Dascending",
        "A password is needed",
        "eechips sample NAIP --points tables/plots.csv --out outputs/maps/one-two",
        "there is no file /home/me/projects/corn/maps/harvest/2020.tif or ~/projects/corn/tables/harvest.csv",
        '{"token": {"of": 1}}',
    ],
)
def test_text_without_secrets_is_unchanged(text: str) -> None:
    assert redact(text) == text


def test_values_with_secret_names_are_redacted_in_other_texts() -> None:
    given = {"token": SECRET, "more": [{"dbPassword": "two words"}, {"tokens": ["kept"]}], "pwd": "x1", "secret": True}
    assert redact_json(given) == {
        "token": REDACTED, "more": [{"dbPassword": REDACTED}, {"tokens": ["kept"]}], "pwd": REDACTED, "secret": True,
    }  # fmt: skip
    assert collect_secrets(given) == {SECRET, "two words"}
    assert (
        redact(f"no luck with {SECRET} nor two words", collect_secrets(given))
        == f"no luck with {REDACTED} nor {REDACTED}"
    )


def test_values_of_arguments_with_secret_names_are_redacted() -> None:
    given = {"arguments": ["--api-key", SECRET, "--verbose-token", "--size", "64", "in.csv"]}
    assert redact_json(given)["arguments"] == ["--api-key", REDACTED, "--verbose-token", "--size", "64", "in.csv"]
    assert collect_secrets(given) == {SECRET}


@pytest.mark.parametrize(
    "token",
    [
        "AIza" + "S" * 35, "PLAK" + "0f" * 16, "ghp_" + "a1" * 18, "github_pat_" + "a1" * 20, "hf_" + "aB" * 17,
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjMifQ.c2lnbmF0dXJl",
    ],
)  # fmt: skip
def test_tokens_without_a_name_are_redacted_by_their_form(token: str) -> None:
    assert redact(f"refused {token}, sorry") == "refused ***, sorry"
    assert redact(f"my{token}") == f"my{token}"
