"""Keys of AWS that a profile takes from services, programs and files, which may fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import eechips
from eechips.archive.downloads.access_denial import parse_region_hint
from eechips.archive.downloads.signers import S3Signer, Signer
from eechips.errors import ConfigurationError, PermanentError, TransientError
from local_tests.support.function_server import serve_function
from tests.support.scene_servers import item

pytest.importorskip("botocore")
pytestmark = pytest.mark.slow  # each makes a session of botocore, which reads its description of the services

CONFIG = """
[profile role]
role_arn = arn:aws:iam::123456789012:role/reader
source_profile = source
[profile source]
aws_access_key_id = id
aws_secret_access_key = very-secret
[profile no-program]
credential_process = /no/such/program
[profile text]
credential_process = echo very-secret
[profile list]
credential_process = echo []
[profile login]
credential_process = sh -c "echo The login has expired >&2; exit 1"
[profile half]
credential_process = echo '{"Version": 1, "AccessKeyId": "id"}'
[profile slash]
aws_access_key_id = id
aws_secret_access_key = very-secret
endpoint_url = http://u:very-secret/x@host
[profile store]
credential_process = /no/such/program
endpoint_url = https://store.example.org
[profile no-token]
role_arn = arn:aws:iam::123456789012:role/reader
web_identity_token_file = /no/such/token
[profile endpoint]
aws_access_key_id = id
aws_secret_access_key = very-secret
endpoint_url = user:very-secret@127.0.0.1
"""

Configure = Callable[..., None]


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Return a function that sets variables, where no others of AWS are set."""

    def change(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    for name in (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_NO_SIGN_REQUEST"),
        *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS"),
    ):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "config").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "damaged").write_text("no configuration", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    change(
        HOME=str(tmp_path),
        AWS_CONFIG_FILE="config",
        AWS_SHARED_CREDENTIALS_FILE="none",
        AWS_EC2_METADATA_DISABLED="true",
        AWS_MAX_ATTEMPTS="1",
        AWS_DEFAULT_REGION="eu-central-1",
    )
    return change


def sign(*, requester_pays: bool = False) -> str:
    return S3Signer(Signer(), requester_pays).sign("s3://bucket/a/x.tif", "c")


def told_by_sts(code: str) -> bytes:
    """Return an error as the API reference of STS has it (common errors)."""
    return f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code></Error></ErrorResponse>".encode()


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (503, told_by_sts("ServiceUnavailable"), TransientError),
        (400, told_by_sts("Throttling"), TransientError),
        (400, told_by_sts("IDPCommunicationError"), TransientError),
        (200, b"<html><br>Sign in</html>", TransientError),
        (403, told_by_sts("AccessDenied"), ConfigurationError),
    ],
)
def test_errors_of_the_service_of_keys_are_told_apart(
    status: int, content: bytes, kind: type[Exception], configure: Configure
) -> None:
    with serve_function(lambda *_: (status, {"Content-Type": "text/xml"}, content)) as url:
        configure(AWS_PROFILE="role", AWS_ENDPOINT_URL_STS=url)
        with pytest.raises(kind):
            sign()


def test_a_service_of_keys_that_cannot_be_reached_fails_its_units_only(configure: Configure, tmp_path: Path) -> None:
    configure(AWS_PROFILE="role", AWS_ENDPOINT_URL_STS="http://127.0.0.1:1")
    assets = {"a": {"href": "s3://bucket/a.bin", "roles": ["data"]}}
    for name in ("m", "n"):
        (tmp_path / f"{name}.bin").write_bytes(b"pixels")
        assets[name] = {"href": str(tmp_path / f"{name}.bin"), "roles": ["data"]}
    (tmp_path / "items.json").write_text(json.dumps([item("one", assets)]))
    run = eechips.scenes(str(tmp_path / "items.json"), out=tmp_path / "out", quiet=True, retries=0)
    assert run.counts == {"done": 2, "failed_transient": 1}
    assert "AWS gives no keys" in run.failures["error"].iloc[0]


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"AWS_PROFILE": "no-program"}, "/no/such/program"),
        ({"AWS_PROFILE": "text"}, "prints no JSON"),
        ({"AWS_PROFILE": "list"}, "list"),
        ({"AWS_PROFILE": "login"}, "The login has expired"),
        ({"AWS_PROFILE": "half"}, "'SecretAccessKey'"),
        ({"AWS_PROFILE": "slash"}, "endpoint_url of the profile is no URL"),
        ({"AWS_PROFILE": "source", "AWS_ENDPOINT_URL": "http://u:very-secret/x@host"}, "AWS: AWS_ENDPOINT_URL is no"),
        ({"AWS_PROFILE": "source", "AWS_ENDPOINT_URL": "http://u:very-secret#x@host"}, "AWS: AWS_ENDPOINT_URL is no"),
        ({"AWS_PROFILE": "role", "AWS_ENDPOINT_URL_STS": "http://u:very-secret/x@host"}, "AWS_ENDPOINT_URL_STS is no"),
        ({"AWS_PROFILE": "source", "AWS_MAX_ATTEMPTS": "abc", "AWS_ENDPOINT_URL_DYNAMODB": "x:1"}, "AWS_MAX_ATTEMPTS"),
        ({"AWS_PROFILE": "no-token"}, "/no/such/token"),
        ({"AWS_PROFILE": "endpoint"}, "endpoint_url of the profile is no URL"),
        ({"AWS_PROFILE": "source", "AWS_MAX_ATTEMPTS": "abc"}, "AWS: AWS_MAX_ATTEMPTS: "),
        ({"AWS_METADATA_SERVICE_TIMEOUT": "abc"}, "AWS: AWS_METADATA_SERVICE_TIMEOUT: "),
        ({"AWS_PROFILE": "role", "AWS_ENDPOINT_URL_STS": "127.0.0.1"}, "AWS: AWS_ENDPOINT_URL_STS is no URL"),
        ({"AWS_PROFILE": "source", "AWS_ENDPOINT_URL": "http://u:very-secret@a b"}, "AWS: AWS_ENDPOINT_URL is no URL"),
    ],
)
def test_the_reason_of_an_unusable_configuration_is_named(
    variables: dict[str, str], reason: str, configure: Configure
) -> None:
    configure(**variables)
    with pytest.raises(ConfigurationError, match=reason) as raised:
        sign()
    assert "very-secret" not in str(raised.value)
    assert "no keys with AWS_NO_SIGN_REQUEST=YES" in str(raised.value)


@pytest.mark.parametrize("variables", [{"AWS_SHARED_CREDENTIALS_FILE": "damaged"}, {"AWS_PROFILE": "no-program"}])
def test_public_buckets_need_no_keys(variables: dict[str, str], configure: Configure) -> None:
    configure(AWS_NO_SIGN_REQUEST="YES", **variables)
    assert sign() == "https://bucket.s3.eu-central-1.amazonaws.com/a/x.tif"


@pytest.mark.parametrize("variables", [{}, {"AWS_SHARED_CREDENTIALS_FILE": "damaged"}])
def test_requests_without_keys_go_to_the_endpoint_of_the_profile(
    variables: dict[str, str], configure: Configure
) -> None:
    configure(AWS_NO_SIGN_REQUEST="YES", AWS_PROFILE="store", **variables)
    assert sign() == "https://store.example.org/bucket/a/x.tif"


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"AWS_PROFILE": "missing"}, r"\(missing\).*unset AWS_PROFILE"),
        ({"AWS_CONFIG_FILE": "damaged"}, "damaged"),
        ({"AWS_PROFILE": "endpoint"}, "endpoint_url of the profile is no URL"),
        ({"AWS_PROFILE": "store", "AWS_MAX_ATTEMPTS": "abc"}, "AWS_MAX_ATTEMPTS"),
    ],
)
def test_requests_go_nowhere_if_the_endpoint_of_the_profile_cannot_be_known(
    variables: dict[str, str], reason: str, configure: Configure
) -> None:
    configure(AWS_NO_SIGN_REQUEST="YES", **variables)
    with pytest.raises(ConfigurationError, match=reason):
        sign()


def test_variables_that_are_set_are_not_recommended(configure: Configure) -> None:
    configure(AWS_NO_SIGN_REQUEST="YES", AWS_DEFAULT_REGION="eu west")
    with pytest.raises(ConfigurationError, match="eu west") as raised:
        sign()
    assert "AWS_NO_SIGN_REQUEST" not in str(raised.value)
    configure(AWS_PROFILE="source", AWS_DEFAULT_REGION="eu-central-1")
    with pytest.raises(ConfigurationError, match="unset AWS_NO_SIGN_REQUEST"):
        sign(requester_pays=True)


def test_a_region_that_a_host_states_fails_the_unit(configure: Configure) -> None:
    configure(AWS_PROFILE="source")
    signer = S3Signer(Signer(), requester_pays=False)
    signer.sign("s3://bucket/x", "c")
    assert signer.renew("s3://bucket/x", "c", "123")
    with pytest.raises(PermanentError, match="states the region 123"):
        signer.sign("s3://bucket/x", "c")


@pytest.mark.parametrize(("region", "has_one"), [("123", False), ("1-2", False), ("us-east-1", True), ("1a", True)])
def test_a_region_has_a_letter(region: str, has_one: bool) -> None:
    expected = region if has_one else None
    assert parse_region_hint({"x-amz-bucket-region": region}) == expected
    assert parse_region_hint({}, f"<Region>{region}</Region>".encode()) == expected
