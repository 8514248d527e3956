"""Record Earth Engine's responses, replay them, and compare them: options of ``eechips-local serve``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eechips_local.cli.console import CommandError, FunctionT, LocalPath, echo, echo_json, echo_lines

if TYPE_CHECKING:
    from eechips_local.recording.comparison import Comparison
    from eechips_local.server import ServerConfig


@dataclass(frozen=True, slots=True)
class RecordingOptions:
    """What to do with a recording.

    Attributes:
        record: folder to record into, or None.
        upstream: URL of the service that is recorded; None for Earth Engine's high-volume endpoint.
        credentials: file of credentials; None for those that runs find.
        send_credentials: whether a service that is not Google's gets credentials.
        replay: folder or archive to respond from, or None.
        fill: whether a replay evaluates requests that are not recorded.
        compare: folder or archive to compare, or None.
        tolerance: greatest relative difference of equal numbers; None for the default.
        as_json: whether a comparison is printed as JSON.
    """

    record: Path | None = None
    upstream: str | None = None
    credentials: Path | None = None
    send_credentials: bool = False
    replay: Path | None = None
    fill: bool = False
    compare: Path | None = None
    tolerance: float | None = None
    as_json: bool = False

    @property
    def is_used(self) -> bool:
        """Return whether one of the options is given."""
        return self != RecordingOptions()

    def check(self, *, has_assets: bool) -> None:
        """Check that the options go together.

        Args:
            has_assets: whether assets to serve are given.

        Raises:
            click.UsageError: if they do not.
        """
        if sum(folder is not None for folder in (self.record, self.replay, self.compare)) > 1:
            raise click.UsageError("--record, --replay and --compare exclude each other.")
        if self.upstream is not None and self.record is None:
            raise click.UsageError("--upstream needs --record.")
        if (self.credentials is not None or self.send_credentials) and self.record is None:
            raise click.UsageError("--credentials and --send-credentials need --record.")
        if self.fill and self.replay is None:
            raise click.UsageError("--fill needs --replay.")
        if (self.as_json or self.tolerance is not None) and self.compare is None:
            raise click.UsageError("--json and --tolerance need --compare.")
        if has_assets and (self.record or (self.replay and not self.fill)):
            raise click.UsageError(
                "--demo, --assets, --catalog and --archive are for --compare, and for --replay with --fill."
            )


def recording_options(command: FunctionT) -> FunctionT:
    """Add the options of recordings."""
    folder = LocalPath(file_okay=False)
    existing = LocalPath(exists=True)
    for option in reversed(
        (
            click.option(
                "--record", type=folder, metavar="DIR",
                help="Forward requests to Earth Engine with your credentials, and keep the responses.",
            ),
            click.option(
                "--upstream", metavar="URL",
                help="Service that --record forwards to: https, or http on this machine. [default: Earth Engine's "
                "high-volume endpoint]",
            ),
            click.option(
                "--credentials", type=LocalPath(dir_okay=False), metavar="FILE",
                help="Of --record: file of credentials, as of a run. [default: those of earthengine authenticate, else "
                "application-default ones]",
            ),
            click.option(
                "--send-credentials", is_flag=True,
                help="Of --record: send credentials to --upstream even if it is not https at a host of Google.",
            ),
            click.option(
                "--replay", type=existing, metavar="DIR|ZIP",
                help="Respond from a recording, without network. Other requests are refused.",
            ),
            click.option("--fill", is_flag=True, help="With --replay: evaluate the other requests locally."),
            click.option(
                "--compare", type=existing, metavar="DIR|ZIP",
                help="Evaluate the requests of a recording locally, list where values differ, and exit.",
            ),
            click.option(
                "--tolerance", type=click.FloatRange(0, 1), metavar="SHARE",
                help="Of --compare: relative difference of numbers that count as equal. [default: 1e-06]",
            ),
            click.option("--json", "as_json", is_flag=True, help="Of --compare: print JSON."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def _compare(folder: Path, config: ServerConfig, options: RecordingOptions) -> None:
    """Print a comparison; exit with status 1 if there are differences."""
    from eechips_local.recording.response_difference import RELATIVE
    from eechips_local.recording.serving import compare_locally

    found = compare_locally(folder, config, RELATIVE if options.tolerance is None else options.tolerance)
    if options.as_json:
        echo_json(found.to_json(), indent=1)
    else:
        echo_lines(_describe(found))
    if found.differences:
        click.get_current_context().exit(1)


def _describe(found: Comparison) -> Iterator[str]:
    """Yield the lines of a comparison: counts, a table of functions, and the differences."""
    count = len(found.differences)
    requests = "request" if found.compared == 1 else "requests"
    yield f"{found.compared:,} {requests} evaluated locally, {count:,} with another result."
    if found.not_compared:
        listed = ", ".join(f"{number:,} {operation}" for operation, number in found.not_compared.items())
        yield f"Not compared: {listed}."
    yield (
        f"Equal numbers differ by {found.tolerance:g} of their value at most, arrays value by value; errors by status."
    )
    functions = [each for each in found.functions if each.different]
    if functions:
        width = max(len(each.function) for each in functions)
        yield ""
        yield f"{'function':<{width}}  requests  different"
        for each in functions:
            yield f"{each.function:<{width}}  {each.requests:>8,}  {each.different:>9,}"
    for one in found.differences:
        yield from ("", one.path, f"  {one.where}", f"  recorded: {one.recorded}", f"  local:    {one.local}")


def _record(folder: Path, port: int, options: RecordingOptions, announce: Callable[[str], None]) -> None:
    """Record until Ctrl-C; see :func:`serve_recording` for errors."""
    from eechips_local.recording.google_credentials import open_upstream
    from eechips_local.recording.recording_folder import create_recording
    from eechips_local.recording.serving import serve_recorder
    from eechips_local.recording.upstream import HIGH_VOLUME, check_address

    address = check_address(options.upstream or HIGH_VOLUME)
    recording = create_recording(folder)
    upstream, credentials = open_upstream(address, options.credentials, send_anywhere=options.send_credentials)

    def announce_recorder(url: str) -> None:
        announce(url)
        if credentials:
            echo(f"Credentials of its requests: {credentials}")

    serve_recorder(recording, upstream, port, announce_recorder)


def serve_recording(options: RecordingOptions, config: ServerConfig, announce: Callable[[str], None]) -> None:
    """Record or replay until Ctrl-C, or compare.

    Args:
        options: checked.
        config: port, and the local Earth Engine for ``--fill``.
        announce: called with the URL when the server is ready.

    Raises:
        click.UsageError: if the URL of the service cannot be used.
        CommandError: if a folder is not a recording or cannot be written, or credentials are missing or do not work.
        StoreError, RegistrationError, OSError: as of :func:`eechips_local.server.serve`.
    """
    from eechips_local.assets.asset_errors import AssetWriteError
    from eechips_local.protocol.request_errors import UnavailableError
    from eechips_local.recording.recording_archive import unpacked_recording
    from eechips_local.recording.recording_folder import RecordingError
    from eechips_local.recording.serving import serve_replay
    from eechips_local.recording.upstream import CredentialsError

    try:
        if options.record is not None:
            _record(options.record, config.port, options, announce)
        elif options.compare is not None:
            with unpacked_recording(options.compare) as folder:
                _compare(folder, config, options)
        elif options.replay is not None:
            with unpacked_recording(options.replay) as folder:
                serve_replay(folder, config.port, announce, config if options.fill else None)
    except ValueError as error:
        if options.record is None:
            raise
        raise click.UsageError(f"--upstream: {error}") from error
    except (RecordingError, AssetWriteError, CredentialsError, UnavailableError) as error:
        raise CommandError(str(error)) from error
