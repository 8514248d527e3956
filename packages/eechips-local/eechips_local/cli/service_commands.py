"""Record what the service answers to the probes: ``eechips-local record-service``."""

from __future__ import annotations

import datetime as dt
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from eechips_local.cli.console import HELP, CommandError, LocalPath, Names, confirm, debug_option, echo
from eechips_local.cli.recording_commands import recording_errors
from eechips_local.recording.upstream import HIGH_VOLUME

if TYPE_CHECKING:
    from eechips_local.probes.probe import Probe, ProbeResult
    from eechips_local.probes.results_file import ServiceResults
    from eechips_local.recording.recording_folder import RecordingFolder
    from eechips_local.recording.upstream import Upstream

_FAILURES = 1
"""Exit status where nothing was recorded, as the user has said no."""
_INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 + SIGINT."""
_MEGABYTE = 1_000_000
_SHOWN = 20  # answers with another result than expected


@click.command("record-service", context_settings=HELP)
@click.option(
    "--project",
    envvar="EECHIPS_PROJECT",
    show_envvar=True,
    help="Project of the requests. [default: that of the credentials]",
)
@click.option("--credentials", type=LocalPath(dir_okay=False), metavar="FILE", help="As for record.")
@click.option("--upstream", default=HIGH_VOLUME, show_default=True, metavar="URL", help="Service that is recorded.")
@click.option("--send-credentials", is_flag=True, help="As for record.")
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
@debug_option
def record_service_command(
    project: str | None,
    credentials: Path | None,
    upstream: str,
    send_credentials: bool,
    out: Path,
    groups: tuple[str, ...] | None,
    has_consent: bool,
    yes: bool,
) -> None:
    """Record how Earth Engine answers some 290 small questions, and pack the answers into one file.

    The file tells the developers of eechips what they cannot know without an account. It has no credentials, and
    neither your name nor that of your project: it is searched for them before it is packed. Attach it to an issue.

    Takes some ten minutes and at most 0.1 EECU-hours. Nothing is written to your project without --export. Ctrl-C
    stops; the same command resumes.

    \b
    Examples:
      eechips-local record-service --project my-project
      eechips-local record-service --project my-project --groups types,files
      eechips-local replay service-recording.zip
      eechips-local compare service-recording.zip
    """
    from eechips_local.probes.probe_run import MOST_EECU_SECONDS, list_groups, select_probes
    from eechips_local.recording.google_credentials import open_upstream
    from eechips_local.recording.recording_folder import create_recording

    unknown = set(groups or ()) - set(list_groups())
    if unknown:
        raise click.UsageError(f"--groups: there is no {min(unknown)!r}; choose from {', '.join(list_groups())}.")
    probes = select_probes(groups or (), has_consent=has_consent)
    with recording_errors():
        try:
            service, account = open_upstream(upstream, credentials, send_anywhere=send_credentials)
        except ValueError as error:
            raise click.UsageError(f"--upstream: {error}") from error
        project = project or account.project
        if not project:
            raise CommandError("no Google Cloud project: name one that is registered for Earth Engine (--project)")
        host = urlsplit(upstream).hostname or upstream
        echo(f"Asks {host} {len(probes):,} questions, for the project {project}.")
        echo(f"Credentials: {account.description or 'none'}.")
        echo("Subjects: functions, types, small files, regions, datasets, errors.")
        echo(f"Takes some ten minutes, and at most {MOST_EECU_SECONDS / 3600:g} EECU-hours.")
        echo("Exports an asset of one pixel to the project, and deletes it." if has_consent
             else "Writes nothing to the project.")  # fmt: skip
        if not yes and not confirm(f"Write the answers to {out}, and start?"):
            raise click.exceptions.Exit(_FAILURES)
        _record(create_recording(out), service, project, host, probes, [project, *account.secrets])


def _record(
    recording: RecordingFolder, upstream: Upstream, project: str, host: str, probes: list[Probe], known: list[str]
) -> None:
    """Ask the probes through a recorder, and pack the recording."""
    from eechips_local.probes.probe_client import ProbeClient, RefusedAccountError
    from eechips_local.probes.probe_run import ask_probes
    from eechips_local.recording.placeholders import Placeholders

    service_results = _open_results(recording.folder, host)
    left = sum(probe.name not in service_results.results for probe in probes)
    if left < len(probes):
        echo(f"Answered already: {len(probes) - left:,}.")
    with _recorder(recording, upstream) as url:
        hide = Placeholders(project, (url,)).hide_in_error
        try:
            with closing(ProbeClient(url, project)) as client:
                report = _report_groups(len(probes))
                is_whole = ask_probes(client, probes, service_results, recording.folder, hide, report)
        except RefusedAccountError as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            echo(err=True)
            echo("Stopped. The answers so far are kept: the same command resumes.", err=True)
            raise click.exceptions.Exit(_INTERRUPTED) from None
    _conclude(service_results, probes, is_whole=is_whole)
    _pack(recording.folder, known)


def _open_results(folder: Path, host: str) -> ServiceResults:
    """Return the answers of a recording that was stopped, or none.

    Raises:
        CommandError: if they are of another version of eechips-local or another service.
    """
    from eechips_local.probes.results_file import RESULTS, ServiceResults, read_results

    empty = ServiceResults(host, dt.datetime.now(dt.timezone.utc).date().isoformat())
    path = folder / RESULTS
    if not path.exists():
        return empty
    service_results = read_results(path.read_text(encoding="utf-8"))
    known = (service_results.service, service_results.recorder, service_results.client)
    if known != (host, empty.recorder, empty.client):
        raise CommandError(f"{folder} has answers of another service or version: choose another folder")
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
            raise CommandError("the recorder did not start: no port of this machine is free")
        yield url
    finally:
        end.set()
        thread.join()


def _report_groups(count: int) -> Callable[[Probe, ProbeResult], None]:
    """Return a function that prints each group of the probes, of which there are so many, once it has begun."""
    groups: list[str] = []

    def report(probe: Probe, _: ProbeResult) -> None:
        groups.append(probe.name.partition("/")[0])
        if groups[-1] not in groups[:-1]:
            echo(f"{len(groups)}/{count} {groups[-1]}", err=True)

    return report


def _conclude(service_results: ServiceResults, probes: list[Probe], *, is_whole: bool) -> None:
    """Print how many answers are as expected, which are not, and what it took."""
    from eechips_local.probes.fact_table import judge_results
    from eechips_local.probes.probe import Verdict

    verdicts = judge_results(service_results)
    counts = Counter(verdicts.values())
    echo(
        f"\n{len(service_results.results):,} answers: {counts[Verdict.CONFIRMED]:,} as expected, "
        f"{counts[Verdict.CONTRADICTED]:,} not, {counts[Verdict.ANSWERED]:,} to open questions, "
        f"{counts[Verdict.UNANSWERED]:,} without an answer."
    )
    echo(f"Took {service_results.seconds / 60:.1f} minutes and {service_results.eecu_seconds:.1f} EECU-seconds.")
    if not is_whole:
        left = sum(probe.name not in service_results.results for probe in probes)
        echo(f"The bound of compute is reached; questions that were not asked: {left:,}.")
    others = [name for name, verdict in verdicts.items() if verdict is Verdict.CONTRADICTED]
    for name in others[:_SHOWN]:
        echo(f"  not as expected: {name}")
    if len(others) > _SHOWN:
        echo(f"  and {len(others) - _SHOWN} more")


def _pack(folder: Path, known: list[str]) -> None:
    """Search a recording for secrets, and pack it.

    Raises:
        CommandError: if it has some.
    """
    from eechips_local.recording.recording_archive import pack_recording
    from eechips_local.recording.secret_search import find_secrets

    secrets = find_secrets(folder, [*known, str(Path.home())])
    if secrets:
        listed = "; ".join(f"{secret.file} has {secret.kind}" for secret in secrets[:5])
        raise CommandError(f"the recording is not packed, as it should not be published: {listed}. Remove these files")
    target = folder.with_name(f"{folder.name}.zip")
    size = pack_recording(folder, target)
    echo(f"Written: {target} ({size / _MEGABYTE:.1f} MB), without credentials, names and e-mail addresses.")
    echo("Attach it to an issue of eechips.")
