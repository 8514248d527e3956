"""No secret survives."""

from __future__ import annotations

import pytest

from eechips.client.redaction import REDACTED, collect_secrets, redact, redact_named

SECRET = "3f2a9c-7d41e0b2"


@pytest.mark.parametrize(
    "text",
    [
        f"https://earthengine-highvolume.googleapis.com/v1/projects/p/thumbnails/{SECRET}:getPixels",
        f"Max retries exceeded with url: /v1/projects/p/thumbnails/{SECRET}:getPixels (Caused by x)",
        f"GET '/v1/projects/p/tables/{SECRET}:getFeatures'",
        f'{{"name": "projects/p/videoThumbnails/{SECRET}"}}',
        f"projects/p/maps/{SECRET}/tiles/1/2/3",
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
        f'{{"apiKey": "{SECRET} x", "db_password": "{SECRET}"}}',
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}",
        f"eechips scenes --stac 'https://example.com/items.json?zz={SECRET}&expires=1700000000'",
        f"https://example.com/x.tif?exp=1700000000&zz={SECRET}",
        f"https://example.com/x.tif?md5={SECRET}",
    ],
)
def test_secrets_are_hidden(text: str) -> None:
    found = redact(text)
    assert SECRET not in found
    assert redact(found) == found


@pytest.mark.parametrize(
    "text",
    [
        "Image.load: Image asset 'USDA/NAIP/DOQQ/m_1' not found.",
        "User memory limit exceeded.",
        "projects/my-project/assets/tables_of_mine",
        "the key of the region",
        "unexpected token: <",
        "max_tokens=5",
        '{"token": {"of": 1}}',
    ],
)
def test_text_without_secrets_is_unchanged(text: str) -> None:
    assert redact(text) == text


def test_values_with_secret_names_are_redacted_in_other_texts() -> None:
    given = {"token": SECRET, "more": [{"dbPassword": "two words"}, {"tokens": ["kept"]}], "pwd": "x1", "secret": True}
    assert redact_named(given) == {
        "token": REDACTED, "more": [{"dbPassword": REDACTED}, {"tokens": ["kept"]}], "pwd": REDACTED, "secret": True,
    }  # fmt: skip
    assert collect_secrets(given) == {SECRET, "two words"}
    assert (
        redact(f"no luck with {SECRET} nor two words", collect_secrets(given))
        == f"no luck with {REDACTED} nor {REDACTED}"
    )
