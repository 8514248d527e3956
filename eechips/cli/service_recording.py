"""Record what the service answers to the probes: ``eechips record-service``."""

from __future__ import annotations

import datetime as dt
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from eechips.cli.group import FAILURES, INTERRUPTED, OneSentence
from eechips.cli.terminal import ask, echo, replace_line
from eechips.client.credentials import HIGH_VOLUME_ENDPOINT
from eechips.commands.command import VerbCommand
from eechips.commands.parameters import HELP, LocalPath, Names
from eechips.errors import UsageError
from eechips.files.temporary_files import temporary_folder
from eechips.text.formatting import format_count

if TYPE_CHECKING:
    from eechips.probes.probe import Probe, ProbeResult
    from eechips.probes.results_file import ServiceResults
    from eechips_local.recording.recording_folder import RecordingFolder
    from eechips_local.recording.upstream import Upstream

_SECRETS = ("refresh_token", "client_secret", "token", "service_account_email", "signer_email", "account")
_MEGABYTE = 1_000_000
_SHOWN = 20  # answers with another result than expected


@click.command("record-service", cls=VerbCommand, context_settings=HELP)
@click.option("--project", envvar="EECHIPS_PROJECT", show_envvar=True, help="As for a run.")
@click.option("--credentials", type=LocalPath(dir_okay=False), metavar="FILE", help="As for a run.")
@click.option(
    "--endpoint", default=HIGH_VOLUME_ENDPOINT, show_default=True, metavar="URL", help="Service that is recorded."
)
@click.option("--send-credentials", is_flag=True, help="As for a run.")
@click.option(
    "--out",
    type=LocalPath(file_okay=False),
    default="service-recording",
    show_default=True,
    metavar="DIR",
    help="Folder of the recording; the archive beside it has its name and .zip.",
)
@click.option("--groups", type=Names(), help="Only these groups of probes, such as types,files. [default: all]")
@click.option(
    "--export", "has_consent", is_flag=True, help="Also export an asset of one pixel to the project, and delete it."
)
@click.option("--yes", is_flag=True, help="Do not ask before the start.")
def record_service_command(
    project: str | None,
    credentials: Path | None,
    endpoint: str,
    send_credentials: bool,
    out: Path,
    groups: tuple[str, ...] | None,
    has_consent: bool,
    yes: bool,
) -> None:
    """Record how Earth Engine answers some 300 small questions, and pack the answers into one file.

    The file tells the developers of eechips what they cannot know without an account. It has no credentials, and
    neither your name nor that of your project: it is searched for them before it is packed. Attach it to an issue.

    Takes some ten minutes and at most 0.1 EECU-hours. Nothing is written to your project without --export. Ctrl-C
    stops; the same command resumes.

    \b
    Examples:
      eechips record-service --project my-project
      eechips record-service --project my-project --groups types,files
      eechips-local replay service-recording.zip
      eechips-local compare service-recording.zip
    """
    try:
        from eechips.client.credentials import find_credentials, find_project, missing_project
        from eechips_local.assets.asset_errors import AssetWriteError
        from eechips_local.protocol.request_errors import UnavailableError
        from eechips_local.recording.google_credentials import open_upstream
        from eechips_local.recording.recording_folder import RecordingError, create_recording
        from eechips_local.recording.upstream import CredentialsError
    except ModuleNotFoundError as error:
        raise OneSentence(f"{error.name} is not installed: pip install 'eechips[local]'") from error
    from eechips.probes.probe_run import MOST_EECU_SECONDS, list_groups, select_probes

    unknown = set(groups or ()) - set(list_groups())
    if unknown:
        raise click.UsageError(f"--groups: there is no {min(unknown)!r}; choose from {', '.join(list_groups())}.")
    probes = select_probes(groups or (), has_consent=has_consent)
    try:
        upstream, owner = open_upstream(endpoint, credentials, send_anywhere=send_credentials)
    except ValueError as error:
        raise click.UsageError(f"--endpoint: {error}") from error
    except (CredentialsError, UnavailableError) as error:
        raise OneSentence(str(error)) from error
    loaded_credentials = find_credentials(endpoint, credentials, send_anywhere=send_credentials)
    project = find_project(project, loaded_credentials)
    if not project:
        raise missing_project()
    host = urlsplit(endpoint).hostname or endpoint
    echo(f"Asks {host} {format_count(len(probes), 'question')}, for the project {project}.")
    echo(f"Credentials: {owner or 'none'}.")
    echo("Subjects: functions, types, small files, regions, datasets, errors; each command on a few chips.")
    echo(f"Takes some ten minutes, and at most {MOST_EECU_SECONDS / 3600:g} EECU-hours.")
    echo("Exports an asset of one pixel to the project, and deletes it." if has_consent
               else "Writes nothing to the project.")  # fmt: skip
    if not yes and not ask(f"Write the answers to {out}, and start?", default=True):
        raise click.exceptions.Exit(FAILURES)
    known = [project, *(str(value) for name in _SECRETS if (value := getattr(loaded_credentials, name, None)))]
    try:
        _record(create_recording(out), upstream, project, host, probes, known)
    except (RecordingError, AssetWriteError) as error:
        raise OneSentence(str(error)) from error


def _record(
    recording: RecordingFolder, upstream: Upstream, project: str, host: str, probes: list[Probe], known: list[str]
) -> None:
    """Ask the probes through a recorder, and pack the recording."""
    from eechips.probes.probe_client import ProbeClient
    from eechips.probes.probe_run import ask_probes
    from eechips_local.recording.placeholders import Placeholders

    service_results = _open_results(recording.folder, host)
    left = sum(probe.name not in service_results.results for probe in probes)
    if left < len(probes):
        echo(f"{len(probes) - left:,} of them {'is' if len(probes) - left == 1 else 'are'} answered already.")
    with _recorder(recording, upstream) as url, temporary_folder() as scratch:
        placeholders = Placeholders(project, (url,))
        client = ProbeClient(url, project, scratch)
        try:
            is_whole = ask_probes(
                client, probes, service_results, recording.folder,
                lambda text: placeholders.hide_in_error(text.replace(str(scratch), "{folder}")), _Progress(len(probes)),
            )  # fmt: skip
        except KeyboardInterrupt:
            echo(err=True)
            echo("Stopped. The answers so far are kept: the same command resumes.", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        finally:
            client.close()
    _conclude(service_results, probes, is_whole=is_whole)
    _pack(recording.folder, known)


def _open_results(folder: Path, host: str) -> ServiceResults:
    """Return the answers of a recording that was stopped, or none.

    Raises:
        UsageError: if they are of another version of eechips or another service.
    """
    from eechips.probes.results_file import RESULTS, ServiceResults, read_results

    empty = ServiceResults(host, dt.datetime.now(dt.timezone.utc).date().isoformat())
    path = folder / RESULTS
    if not path.exists():
        return empty
    service_results = read_results(path.read_text(encoding="utf-8"))
    if (service_results.service, service_results.eechips, service_results.client) != (
        host,
        empty.eechips,
        empty.client,
    ):
        raise UsageError(f"{folder} has answers of another service or version: choose another folder")
    return service_results


@contextmanager
def _recorder(recording: RecordingFolder, upstream: Upstream) -> Iterator[str]:
    """Run a recorder in a thread for the duration of the block; give its URL."""
    from eechips_local.recording.serving import serve_recorder

    ready: SimpleQueue[str | None] = SimpleQueue()
    end = threading.Event()

    def serve() -> None:
        try:
            serve_recorder(recording, upstream, 0, ready.put, end.wait)
        finally:
            ready.put(None)  # read only if there is no URL before it

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        url = ready.get()
        if url is None:
            raise OneSentence("the recorder did not start: no port of this machine is free")
        yield url
    finally:
        end.set()
        thread.join()


class _Progress:
    """Prints each answer: one line that changes in a terminal, else one for each group.

    Args:
        count: number of all probes.
    """

    def __init__(self, count: int) -> None:
        self._count, self._done = count, 0
        self._group = ""

    def __call__(self, probe: Probe, answer: ProbeResult) -> None:
        self._done += 1
        group = probe.name.partition("/")[0]
        if sys.stderr.isatty():
            replace_line(f"{self._done}/{self._count} {probe.name} {answer.seconds:.1f} s")
        elif group != self._group:
            echo(f"{self._done}/{self._count} {group}", err=True)
        self._group = group


def _conclude(service_results: ServiceResults, probes: list[Probe], *, is_whole: bool) -> None:
    """Print how many answers are as expected, which are not, and what it took."""
    from eechips.probes.fact_table import judge_results
    from eechips.probes.probe import Verdict

    verdicts = judge_results(service_results)
    counts = Counter(verdicts.values())
    echo(
        f"\n{format_count(len(service_results.results), 'answer')}: {counts[Verdict.CONFIRMED]:,} as expected, "
        f"{counts[Verdict.CONTRADICTED]:,} not, {counts[Verdict.ANSWERED]:,} to open questions, "
        f"{counts[Verdict.UNANSWERED]:,} without an answer."
    )
    echo(f"Took {service_results.seconds / 60:.1f} minutes and {service_results.eecu_seconds:.1f} EECU-seconds.")
    if not is_whole:
        left = sum(probe.name not in service_results.results for probe in probes)
        verb = "was" if left == 1 else "were"
        echo(f"The bound of compute is reached: {format_count(left, 'question')} {verb} not asked.")
    others = [name for name, verdict in verdicts.items() if verdict is Verdict.CONTRADICTED]
    for name in others[:_SHOWN]:
        echo(f"  not as expected: {name}")
    if len(others) > _SHOWN:
        echo(f"  and {len(others) - _SHOWN} more")


def _pack(folder: Path, known: list[str]) -> None:
    """Search a recording for secrets, and pack it.

    Raises:
        OneSentence: if it has some.
    """
    from eechips_local.recording.recording_archive import pack_recording
    from eechips_local.recording.secret_search import find_secrets

    secrets = find_secrets(folder, [*known, str(Path.home())])
    if secrets:
        listed = "; ".join(f"{secret.file} has {secret.kind}" for secret in secrets[:5])
        raise OneSentence(f"the recording is not packed, as it should not be published: {listed}. Remove these files")
    target = folder.with_name(f"{folder.name}.zip")
    size = pack_recording(folder, target)
    echo(f"Written: {target} ({size / _MEGABYTE:.1f} MB), without credentials, names and e-mail addresses.")
    echo("Attach it to an issue of eechips.")
