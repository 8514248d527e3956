"""Classification of errors of the stores' packages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eechips.errors import StorageError, TransientError
from eechips.storage.store_errors import find_http_status, is_permanent, translate_error


def botocore_error(code: str, status: int) -> Exception:
    exceptions = pytest.importorskip("botocore.exceptions")
    errors = pytest.importorskip("s3fs.errors")
    answer = {"Error": {"Code": code, "Message": f"{code} it is"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    translated: Exception = errors.translate_boto_error(exceptions.ClientError(answer, "PutObject"))
    return translated


def azure_error(name: str, status: int) -> Exception:
    exceptions = pytest.importorskip("azure.core.exceptions")
    error: Any = getattr(exceptions, name)(message=f"{name} it is")
    error.status_code = status
    return error  # type: ignore[no-any-return]


def gcs_error(status: int) -> Exception:
    retry = pytest.importorskip("gcsfs.retry")
    try:
        retry.validate_response(status, json.dumps({"error": {"code": status, "message": "so it is"}}).encode(), "b/x")
    except Exception as error:  # noqa: BLE001 - it is the result
        return error
    raise AssertionError(status)


@pytest.mark.parametrize(
    ("code", "status", "final"),
    [
        ("AccessDenied", 403, True),
        ("NoSuchBucket", 404, True),
        ("ExpiredToken", 400, True),
        ("InvalidArgument", 400, True),
        ("EntityTooLarge", 400, True),
        ("BadDigest", 400, False),
        ("RequestTimeout", 400, False),
        ("SlowDown", 503, False),
        ("InternalError", 500, False),
        ("OperationAborted", 409, False),
    ],
)
def test_s3_errors_are_classified(code: str, status: int, final: bool) -> None:
    assert is_permanent(botocore_error(code, status)) is final


@pytest.mark.parametrize(
    "variables",
    [
        {"AWS_PROFILE": "nobody"},
        {"AWS_CONFIG_FILE": "damaged"},
        {"AWS_DEFAULT_REGION": "eu west"},
        {"AWS_CONFIG_FILE": "login", "AWS_PROFILE": "away"},
        {"AWS_ACCESS_KEY_ID": "id"},
    ],
)
def test_configurations_of_aws_that_only_users_can_mend_are_permanent(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = pytest.importorskip("botocore.session")
    login = "[profile away]\nsso_start_url=https://x.org\nsso_region=a\nsso_account_id=1\nsso_role_name=r\n"
    (tmp_path / "damaged").write_text("no configuration", encoding="utf-8")
    (tmp_path / "login").write_text(login, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Exception, match=r"\S") as raised:
        session.get_session().create_client("s3").list_objects_v2(Bucket="b")
    assert is_permanent(raised.value)


@pytest.mark.parametrize(
    ("name", "values", "final"),
    [
        ("InfiniteLoopConfigError", {"source_profile": "a", "visited_profiles": []}, True),
        ("InvalidRetryModeError", {"provided_retry_mode": "a", "valid_modes": []}, True),
        ("InvalidDefaultsMode", {"mode": "a", "valid_modes": []}, True),
        ("UnknownCredentialError", {"name": "a"}, True),
        ("RefreshWithMFAUnsupportedError", {}, True),
        ("EndpointConnectionError", {"endpoint_url": "https://x.org"}, False),
        ("MetadataRetrievalError", {"error_msg": "a"}, False),
        ("ReadTimeoutError", {"endpoint_url": "https://x.org"}, False),
    ],
)
def test_subclasses_of_errors_of_botocore_are_classified(name: str, values: dict[str, Any], final: bool) -> None:
    exceptions = pytest.importorskip("botocore.exceptions")
    assert is_permanent(getattr(exceptions, name)(**values)) is final
    assert is_permanent(type("Own" + name, (getattr(exceptions, name),), {})(**values)) is final


@pytest.mark.parametrize(
    ("status", "final"), [(400, True), (401, True), (403, True), (404, True), (429, False), (500, False), (503, False)]
)
def test_google_errors_are_classified(status: int, final: bool) -> None:
    assert is_permanent(gcs_error(status)) is final


@pytest.mark.parametrize(
    ("name", "status", "final"),
    [
        ("ClientAuthenticationError", 403, True),
        ("ResourceNotFoundError", 404, True),
        ("HttpResponseError", 400, True),
        ("HttpResponseError", 429, False),
        ("HttpResponseError", 503, False),
    ],
)
def test_azure_errors_are_classified(name: str, status: int, final: bool) -> None:
    error = azure_error(name, status)
    assert is_permanent(error) is final
    assert find_http_status(error) == status


def test_connections_that_fail_may_be_made_later() -> None:
    exceptions = pytest.importorskip("botocore.exceptions")
    aiohttp = pytest.importorskip("aiohttp")
    assert not is_permanent(exceptions.EndpointConnectionError(endpoint_url="http://127.0.0.1:1"))
    assert not is_permanent(exceptions.ReadTimeoutError(endpoint_url="http://127.0.0.1:1"))
    assert not is_permanent(aiohttp.ServerDisconnectedError())
    assert not is_permanent(ConnectionResetError())
    assert not is_permanent(TimeoutError())
    assert not is_permanent(json.JSONDecodeError("a proxy's page", "<html>", 0))
    assert is_permanent(exceptions.NoCredentialsError())


def test_the_message_says_what_and_why_in_a_line() -> None:
    found = translate_error(botocore_error("AccessDenied", 403), "upload s3://bucket/run/a.png")
    assert isinstance(found, StorageError)
    assert str(found) == "could not upload s3://bucket/run/a.png: AccessDenied it is"
    found = translate_error(OSError("first\nsecond"), "list s3://bucket/run")
    assert isinstance(found, TransientError)
    assert str(found) == "could not list s3://bucket/run: first"
    assert translate_error(found, "read x") is found
    assert str(translate_error(TimeoutError(), "read x")) == "could not read x: TimeoutError"


@pytest.mark.parametrize("program", ["/no/such/program", "no-such-program", "no/such/program"])
def test_a_missing_program_that_gives_keys_is_no_missing_bucket(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = pytest.importorskip("botocore.session")
    (tmp_path / "config").write_text(f"[profile a]\ncredential_process = {program} a\n", encoding="utf-8")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_PROFILE", "a")
    with pytest.raises(FileNotFoundError) as raised:
        session.get_session().get_credentials()
    assert f"list s3://b: No such file or directory: {program}" in str(translate_error(raised.value, "list s3://b"))
    for gone in (
        FileNotFoundError("b/x"),
        FileNotFoundError(2, "No such file", "b/x"),
        FileNotFoundError(2, "No", "b"),
    ):
        assert str(translate_error(gone, "list s3://b")) == "could not list s3://b: the bucket does not exist"
