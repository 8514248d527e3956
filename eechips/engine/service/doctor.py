"""Examine versions, credentials, project, endpoint, clock, quota and disk for ``eechips doctor``, each by a function; a
run itself makes checks of its own.

A check raises no error: problems are its result, with advice.
"""

from __future__ import annotations

import contextlib
import platform
import re
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Any, Literal

from eechips.client.access.access_token import Authorizer
from eechips.client.access.connection import ServiceTarget
from eechips.client.access.credentials import describe_credentials, find_credentials
from eechips.client.error_classification import classify_exception
from eechips.client.quota.permits import announces_restriction
from eechips.client.quota.stored_limits import load_learned_limit
from eechips.client.retry import RetryPolicy
from eechips.engine.config import RunConfig
from eechips.engine.costs.cost_descriptions import describe_month
from eechips.engine.results.result_stores import existing_folder, free_bytes
from eechips.engine.service.doctor_requests import REQUESTS, Answer, send_trials
from eechips.engine.service.local_server import local_earth_engine
from eechips.engine.service.quota_connection import list_sharing_runs, quota_place
from eechips.engine.service.served_archives import ServedArchives, send_control
from eechips.engine.service.session import find_target
from eechips.errors import ConfigurationError, EechipsError, PermanentError, TransientError, UnknownServiceError
from eechips.files.temporary_names import new_writer
from eechips.option_fields import filled, takes
from eechips.storage import ObjectStore, is_address, local_path
from eechips.text.formatting import format_count, format_duration
from eechips.text.timestamps import present
from eechips.web.redaction import redact

_SERVE = "run `eechips serve` with the same assets and archives to see more"
State = Literal["ok", "warning", "failed", "skipped"]
"""``failed``: a run would fail. ``warning``: it would work, but not well. ``skipped``: unknown."""

_SLOW = 2.0  # seconds that a trivial request may take
_LITTLE_SPACE, _NO_SPACE = 2_000_000_000, 100_000_000  # bytes
_MOST_TEXT = 120  # letters of what another run says of itself
_TRIAL = ".eechips-doctor"  # name of a temporary object in a store
_SKEW, _GREAT_SKEW = 10.0, 300.0  # seconds; tokens are good from 5 minutes before they are made, at most
_REQUIREMENT = re.compile(r"^([\w.-]+)(?:\[.*\])?\s*(?:>=\s*([\d.]+))?[^;]*(?:;\s*(.+))?$")
_IS_LOCAL = re.compile(r"extra == ['\"]local['\"]")

_NO_ACCOUNT = "or run without an account, with `local`"
_AUTHENTICATE = f"run `earthengine authenticate --force`, give a file of them with `credentials`, {_NO_ACCOUNT}"
_NAME_A_PROJECT = (
    "register a project at https://code.earthengine.google.com/register and name it with `project` or"
    f" EECHIPS_PROJECT, {_NO_ACCOUNT}"
)
_CHECK_NETWORK = "check the network, the proxy (HTTPS_PROXY) and the address given with `endpoint`"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check.

    Attributes:
        detail: what was found, without secrets.
        advice: what to do; empty if all is well.
    """

    name: str
    state: State
    detail: str
    advice: str = ""


@takes(RunConfig)
def doctor(*, out: str | Path = "outputs", **options: Any) -> list[Finding]:
    """Find what would keep a run from working: versions, credentials, project, endpoint, quota, disk, clock.

    A few small requests are sent; no pixels are computed.

    Args:
        out: folder, or URL of an object store, of the results.
        options: fields of ``RunConfig``.

    Returns:
        The findings, in the order in which a run would fail.

    Raises:
        UsageError: if an option is wrong.

    Example:
        >>> [finding for finding in eechips.doctor(project="my-project") if finding.state != "ok"]
    """
    place: dict[str, Any] = (
        {"results": str(out), "out": Path("outputs")} if is_address(str(out)) else {"out": Path(out)}
    )
    if options.get("credentials") is not None:
        options["credentials"] = local_path(options["credentials"])
    return examine(filled(RunConfig, {**options, **place}))


def examine(config: RunConfig, now: Callable[[], datetime] = present) -> list[Finding]:
    """Run all checks for a configuration, in the order in which a run would fail.

    With ``local``, a local Earth Engine runs meanwhile. A few small requests are sent: no pixels are computed.

    Args:
        now: the present time, UTC.
    """
    findings = [check_python(), check_packages(local=config.is_local), check_disk(config.out)]
    if config.results is not None and is_address(config.results):
        findings.append(check_store(ObjectStore(config.results)))
    with contextlib.ExitStack() as stack:
        endpoint = config.service
        if config.is_local:
            try:
                server = local_earth_engine(config.local_assets, in_flight=REQUESTS, archive=config.archives)
                endpoint = stack.enter_context(server).url
                findings += check_archives(endpoint) if config.archives else []
            except ConfigurationError as error:
                return [*findings, Finding("endpoint", "failed", str(error), _SERVE)]
        return findings + _examine_service(config, endpoint, now)


def _examine_service(config: RunConfig, endpoint: str, now: Callable[[], datetime]) -> list[Finding]:
    credentials, project, target = check_account(config, endpoint)
    if target is not None and target.credentials is not None:
        credentials = check_token(credentials, target.credentials)
        if credentials.state == "failed":
            project, target = replace(project, state="skipped"), None
    answers = send_trials(target or ServiceTarget(endpoint, "", None), now)
    if target is not None:
        credentials, project = _as_answered(credentials, project, answers[-1])
    return [
        credentials,
        project,
        check_endpoint(endpoint, answers),
        check_clock(answers),
        check_mode(answers),
        check_quota(endpoint, target.project if target is not None else None),
        check_runs(config, endpoint, target.project if target is not None else None),
        Finding("compute", "ok", describe_month(now())),
    ]


def check_archives(url: str) -> list[Finding]:
    """Ask for an image of each open archive of a local Earth Engine that has datasets, which is one search.

    A run fails if none has any.
    """
    advice = "check the network, a proxy (HTTPS_PROXY) and the archive's address"
    try:
        archives = ServedArchives.ask(url).archives
    except ConfigurationError as error:
        return [Finding("archive", "failed", *_told(error, advice))]
    findings = []
    without: State = "warning" if any(archive["datasets"] for archive in archives) else "failed"
    for archive in archives:
        if not archive["datasets"]:
            detail = f"{archive['title']} serves no dataset"
            findings.append(Finding("archive", without, detail, "choose an archive that has your dataset (--archive)"))
            continue
        named = f"v1/projects/earthengine-public/assets/{archive['datasets'][0]['id']}:listImages?pageSize=1"
        try:
            send_control(url, named)
        except (OSError, ValueError) as error:
            findings.append(Finding("archive", "failed", str(error), advice))
        else:
            findings.append(Finding("archive", "ok", f"{archive['title']} answers"))
    return findings


def check_python() -> Finding:
    """Compare this Python with the oldest supported version."""
    least = (metadata("eechips")["Requires-Python"] or "").removeprefix(">=")
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if _release(platform.python_version()) < _release(least):
        return Finding("python", "failed", detail, f"install Python {least} or newer")
    return Finding("python", "ok", detail)


def check_packages(*, local: bool) -> Finding:
    """Compare the installed packages with the required versions; with ``local`` also the local Earth Engine's."""
    packages, wrong = [f"eechips {version('eechips')}"], []
    required = [*(requires("eechips") or ()), *(_requires_local() if local else ())]
    for requirement in required:
        parts = _REQUIREMENT.match(requirement)
        if parts is None or (parts[3] and not (local and _IS_LOCAL.fullmatch(parts[3].strip()))):
            continue
        name, least = parts[1], parts[2] or "0"
        try:
            installed = version(name)
        except PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        listed = f"{name} {installed}"
        packages += [] if listed in packages else [listed]
        if _release(installed) < _release(least):
            wrong.append(f"{name} is {installed}, older than {least}")
    if wrong:
        extra = "eechips[local]" if local else "eechips"
        return Finding("packages", "failed", "; ".join(wrong), f"pip install --upgrade '{extra}'")
    return Finding("packages", "ok", ", ".join(packages))


def _requires_local() -> list[str]:
    """Return the requirements of the local Earth Engine; none if it is missing, which its own line says."""
    try:
        return requires("eechips-local") or []
    except PackageNotFoundError:
        return []


def check_disk(out: Path) -> Finding:
    """Check the free space for the results in a folder, there or not, and the permission to write them."""
    folder = out.absolute()
    elsewhere = "choose another folder with `out`"
    try:
        folder = existing_folder(folder)
        free = free_bytes(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding("disk", "failed", f"{folder} cannot be written: {error.strerror or error}", elsewhere)
    detail = f"{free / 1e9:,.1f} GB free in {folder}"
    if free < _LITTLE_SPACE:
        return Finding("disk", "failed" if free < _NO_SPACE else "warning", detail, f"make room, or {elsewhere}")
    return Finding("disk", "ok", detail)


def check_store(store: ObjectStore) -> Finding:
    """Check whether the object store, perhaps empty, answers; write an object to it, and remove it again."""
    advice = "name a bucket that exists with `out`, and give the store's own tools the right to write there"
    try:
        store.check()
        store.discard(store.stage(_TRIAL, b"eechips doctor", str(new_writer())))
    except EechipsError as error:
        return Finding("store", "failed", redact(str(error)), advice)
    return Finding("store", "ok", f"{store.url} can be listed and written")


def check_account(config: RunConfig, endpoint: str) -> tuple[Finding, Finding, ServiceTarget | None]:
    """Check credentials and project as a run would find them, without a request.

    Returns:
        The findings on credentials and project, and the target of requests; None if there is none.
    """
    try:
        target = find_target(config, endpoint)
    except ConfigurationError as missing:
        try:
            loaded_credentials = find_credentials(endpoint, config.credentials, send_anywhere=config.send_credentials)
        except ConfigurationError as error:
            project = Finding("project", "skipped", "not looked for: there are no credentials")
            return Finding("credentials", "failed", *_told(error, _AUTHENTICATE)), project, None
        project = Finding("project", "failed", str(missing).partition(":")[0], _NAME_A_PROJECT)
        return Finding("credentials", "ok", describe_credentials(loaded_credentials, endpoint)), project, None
    return (
        Finding("credentials", "ok", describe_credentials(target.credentials, endpoint)),
        Finding("project", "ok", target.project),
        target,
    )


def check_token(finding: Finding, credentials: Any) -> Finding:
    """Check whether Google issues a token for credentials of google.auth."""
    try:
        Authorizer(credentials).authorize({})
    except Exception as error:  # what google.auth and the network raise is the finding; all else is raised again
        problem = classify_exception(error)
        if problem is None:
            raise
        if isinstance(problem, ConfigurationError):
            return Finding(finding.name, "failed", *_told(problem, _AUTHENTICATE))
        return Finding(finding.name, "skipped", f"{finding.detail}; not tried: {problem}", _CHECK_NETWORK)
    return finding


def check_endpoint(endpoint: str, answers: Sequence[Answer]) -> Finding:
    """Check whether the service is reachable, and its latency."""
    last = answers[-1]
    if last.error is not None and last.status is None:
        return Finding("endpoint", "failed", f"cannot reach {endpoint}: {last.error}", _CHECK_NETWORK)
    if isinstance(last.error, UnknownServiceError):
        detail = f"{endpoint} refuses requests (HTTP {last.status}: {last.error})"
        return Finding("endpoint", "failed", detail, "find out what the message means; eechips does not know it")
    if isinstance(last.error, PermanentError) or 300 <= (last.status or 0) < 400:
        return Finding("endpoint", "failed", f"{endpoint} is not Earth Engine: {last.error}", _CHECK_NETWORK)
    if last.error is not None and not isinstance(last.error, ConfigurationError):
        asked = last.error.retry_after if isinstance(last.error, TransientError) else None
        if asked is not None and asked > RetryPolicy().longest_wait:
            detail = f"{endpoint} asks to wait {format_duration(asked)} ({last.error})"
            return Finding("endpoint", "failed", detail, "run the command after that")
        again = "try again later; https://status.earthengine.app says whether the service has trouble"
        return Finding("endpoint", "warning", f"{endpoint} answers: {last.error}", again)
    latency = statistics.median(answer.seconds for answer in answers)
    detail = f"{endpoint} answers in {latency * 1000:,.0f} ms (median of {len(answers)})"
    if latency > _SLOW:
        return Finding("endpoint", "warning", detail, "runs are slow, not wrong: check the network")
    return Finding("endpoint", "ok", detail)


def check_clock(answers: Sequence[Answer]) -> Finding:
    """Compare this machine's clock with the ``Date`` of a response (whole seconds, RFC 9110, 6.6.1)."""
    offsets = [answer.clock_offset for answer in answers if answer.clock_offset is not None]
    if not offsets:
        return Finding("clock", "skipped", "no response had a date")
    offset = statistics.median(offsets)
    if abs(offset) <= _SKEW:
        return Finding("clock", "ok", f"within {_SKEW:.0f} s of the server's")
    detail = f"{abs(offset):,.0f} s {'ahead of' if offset > 0 else 'behind'} the server's"
    state: State = "failed" if abs(offset) > _GREAT_SKEW else "warning"
    return Finding("clock", state, detail, "set the clock: credentials are refused if it is off by minutes")


def check_mode(answers: Sequence[Answer]) -> Finding:
    """Check whether the service restricts the project."""
    if answers[-1].status is None:
        return Finding("mode", "skipped", "unknown: there was no response")
    if any(announces_restriction(answer.headers) for answer in answers):
        detail = "restricted: the project's compute quota of this month is used up, and few requests run at once"
        advice = "wait for the next month, or see https://developers.google.com/earth-engine/guides/noncommercial_tiers"
        return Finding("mode", "warning", detail, advice)
    return Finding("mode", "ok", "not restricted")


def check_quota(endpoint: str, project: str | None) -> Finding:
    """Report the quota that earlier runs have learned."""
    learned = load_learned_limit(endpoint, project) if project is not None else None
    if learned is None:
        return Finding("quota", "ok", "not measured yet: the first run measures it")
    detail = f"{format_count(learned.in_flight, 'request')} in flight, learned {learned.seen}"
    return Finding("quota", "ok", detail + (", in restricted mode" if learned.restricted else ""))


def check_runs(config: RunConfig, endpoint: str, project: str | None) -> Finding:
    """List the other runs that share the quota."""
    place = quota_place(config, endpoint)
    if project is None or place is None:
        return Finding("runs", "ok", "runs with these options do not share a quota")
    try:
        runs, slots = list_sharing_runs(place, endpoint, project)
    except (EechipsError, OSError) as error:
        return Finding(
            "runs", "failed", f"{place}: {redact(str(error))}", "name another place with EECHIPS_QUOTA_FOLDER"
        )
    if not runs:
        return Finding("runs", "ok", f"no other run uses the quota of {project} ({place})")
    listing = "; ".join(f"{_plain(run.about)}: {run.slots} of {format_count(slots, 'slot')}" for run in runs)
    others = f"{format_count(len(runs), 'other run')} {'uses' if len(runs) == 1 else 'use'}"
    return Finding("runs", "ok", f"{others} the quota of {project} ({place}): {listing}")


def _plain(text: str) -> str:
    """Return a text of another user for the terminal: without control characters, and not long."""
    return "".join(letter for letter in redact(text) if letter.isprintable())[:_MOST_TEXT]


def _as_answered(credentials: Finding, project: Finding, answer: Answer) -> tuple[Finding, Finding]:
    """Return the findings on credentials and project, after a request with them."""
    if answer.error is None:
        return credentials, replace(project, detail=f"{project.detail}, which may use Earth Engine")
    if answer.status is None or not isinstance(answer.error, ConfigurationError):
        return credentials, replace(
            project, state="skipped", detail=f"{project.detail}, which the service did not mention"
        )
    if answer.status == 401:
        return Finding("credentials", "failed", *_told(answer.error, _AUTHENTICATE)), replace(project, state="skipped")
    return credentials, Finding("project", "failed", *_told(answer.error, _NAME_A_PROJECT))


def _told(error: EechipsError, advice: str) -> tuple[str, str]:
    """Return the error and the advice: that of the message if it names a parameter, else the given one."""
    text = str(error)
    for match in (
        re.match(r"(.*?)(?: The run stops; its results are kept\.)? To resume: (.*)", text),
        re.match(r"((?:[^:(]|\([^)]*\)|:\S)*): (.*(?:--|`).*)", text),
    ):
        if match is not None:
            return match[1], match[2]
    return text, advice


def _release(text: str) -> tuple[int, ...]:
    """Return the numbers of a version, without trailing zeros: 2.0 is 2."""
    numbers = [int(number) for number in re.findall(r"\d+", (re.match(r"[\d.]*", text) or [""])[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
