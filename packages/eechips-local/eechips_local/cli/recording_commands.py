"""Record Earth Engine, replay recordings and compare them: ``eechips-local record``, ``replay`` and ``compare``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eechips_local.cli.console import HELP, CommandError, LocalPath, debug_option, echo, echo_json, echo_lines
from eechips_local.cli.served_options import (
    announce,
    list_given,
    port_option,
    served_options,
    server_config,
    server_errors,
)

if TYPE_CHECKING:
    from eechips_local.recording.comparison import Comparison


@click.command("record", context_settings=HELP)
@click.argument("folder", type=LocalPath(file_okay=False), metavar="DIR")
@click.option(
    "--upstream",
    metavar="URL",
    help="Service to forward to: https, or http on this machine. [default: Earth Engine's high-volume endpoint]",
)
@click.option(
    "--credentials",
    type=LocalPath(dir_okay=False),
    metavar="FILE",
    help="File of credentials, as of a run. [default: those of earthengine authenticate, else application-default"
    " ones]",
)
@click.option(
    "--send-credentials",
    is_flag=True,
    help="Send credentials to --upstream even if it is not https at a host of Google.",
)
@port_option
@debug_option
def record_command(
    folder: Path, upstream: str | None, credentials: Path | None, send_credentials: bool, port: int
) -> None:
    """Forward requests to Earth Engine with your credentials, and keep the responses in a folder, until Ctrl-C.

    \b
    Examples:
      eechips-local record my_recording
      eechips-local record my_recording --upstream http://127.0.0.1:8765 --port 9000
    """
    from eechips_local.recording.google_credentials import open_upstream
    from eechips_local.recording.recording_folder import create_recording
    from eechips_local.recording.serving import serve_recorder
    from eechips_local.recording.upstream import HIGH_VOLUME, check_address

    with server_errors(port), recording_errors():
        try:
            address = check_address(upstream or HIGH_VOLUME)
            service, account = open_upstream(address, credentials, send_anywhere=send_credentials)
            recording = create_recording(folder)
        except ValueError as error:
            raise click.UsageError(f"--upstream: {error}") from error

        def announce_recorder(url: str) -> None:
            announce(url)
            if account.description:
                echo(f"Credentials of its requests: {account.description}")

        serve_recorder(recording, service, port, announce_recorder)


@click.command("replay", context_settings=HELP)
@click.argument("recording", type=LocalPath(exists=True), metavar="DIR|ZIP")
@click.option("--fill", is_flag=True, help="Evaluate requests that are not recorded locally.")
@port_option
@served_options
@debug_option
def replay_command(recording: Path, fill: bool, port: int, **options: Any) -> None:
    """Respond from a recording, without network, until Ctrl-C. Other requests are refused.

    With --fill, the other requests are evaluated over the demo planet, or what the other options name.

    \b
    Examples:
      eechips-local replay my_recording
      eechips-local replay my_recording --fill --assets my_assets
      eechips-local replay service-recording.zip
    """
    from eechips_local.recording.recording_archive import unpacked_recording
    from eechips_local.recording.serving import serve_replay

    if (unused := list_given(options)) and not fill:
        raise click.UsageError(f"without --fill, nothing is evaluated locally: leave out {', '.join(unused)}.")
    local = server_config(port, options) if fill else None
    with server_errors(port), recording_errors(), unpacked_recording(recording) as folder:
        serve_replay(folder, port, announce, local)


@click.command("compare", context_settings=HELP)
@click.argument("recording", type=LocalPath(exists=True), metavar="DIR|ZIP")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Relative difference of numbers that count as equal. [default: 1e-06]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@served_options
@debug_option
def compare_command(recording: Path, tolerance: float | None, as_json: bool, **options: Any) -> None:
    """Evaluate the requests of a recording locally, and list where values differ.

    The exit status is 1 if some do.

    \b
    Examples:
      eechips-local compare my_recording
      eechips-local compare service-recording.zip --json
    """
    from eechips_local.recording.recording_archive import unpacked_recording
    from eechips_local.recording.response_difference import RELATIVE
    from eechips_local.recording.serving import compare_locally

    config = server_config(0, options)
    with server_errors(0), recording_errors(), unpacked_recording(recording) as folder:
        comparison = compare_locally(folder, config, RELATIVE if tolerance is None else tolerance)
    if as_json:
        echo_json(comparison.to_json(), indent=1)
    else:
        echo_lines(_describe(comparison))
    if comparison.differences:
        click.get_current_context().exit(1)


@contextmanager
def recording_errors() -> Iterator[None]:
    """Raise an error of a recording, or of the service, in this block as one sentence.

    Raises:
        CommandError: if a folder is not a recording or cannot be written, or credentials are missing or do not work.
    """
    from eechips_local.assets.asset_errors import AssetWriteError
    from eechips_local.protocol.request_errors import UnavailableError
    from eechips_local.recording.recording_folder import RecordingError
    from eechips_local.recording.upstream import CredentialsError

    try:
        yield
    except (RecordingError, AssetWriteError, CredentialsError, UnavailableError) as error:
        raise CommandError(str(error)) from error


def _describe(comparison: Comparison) -> Iterator[str]:
    """Yield the lines of a comparison: counts, a table of functions, and the differences."""
    count = len(comparison.differences)
    requests = "request" if comparison.compared == 1 else "requests"
    yield f"{comparison.compared:,} {requests} evaluated locally, {count:,} with another result."
    if comparison.not_compared:
        listed = ", ".join(f"{number:,} {operation}" for operation, number in comparison.not_compared.items())
        yield f"Not compared: {listed}."
    yield (
        f"Equal numbers differ by {comparison.tolerance:g} of their value at most, arrays value by value; errors by"
        " status."
    )
    functions = [function_row for function_row in comparison.functions if function_row.different]
    if functions:
        width = max(len(function_row.function) for function_row in functions)
        yield ""
        yield f"{'function':<{width}}  requests  different"
        for function_row in functions:
            yield f"{function_row.function:<{width}}  {function_row.requests:>8,}  {function_row.different:>9,}"
    for one in comparison.differences:
        yield from ("", one.path, f"  {one.where}", f"  recorded: {one.recorded}", f"  local:    {one.local}")
