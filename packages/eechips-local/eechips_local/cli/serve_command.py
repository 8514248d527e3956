"""Serve a local Earth Engine: ``eechips-local serve``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eechips_local.cli.console import HELP, CommandError, FunctionT, LocalPath, debug_option, echo, echo_lines
from eechips_local.cli.recording_options import RecordingOptions, recording_options, serve_recording
from eechips_local.server_options import ARCHIVE, OPTIONS, OptionError, configured, find_archives

if TYPE_CHECKING:
    from eechips_local.stores import StoreConfig


def _server_options(command: FunctionT) -> FunctionT:
    """Add the options that the server defines, as texts."""
    for option in reversed(OPTIONS):
        command = click.option(f"--{option.name}", metavar=option.metavar, help=option.help)(command)
    return command


@click.command("serve", context_settings=HELP)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Port; 0 for any free one."
)
@click.option(
    "--assets",
    type=LocalPath(file_okay=False, exists=True),
    multiple=True,
    metavar="DIR",
    help="Folder of assets to serve (eechips-local assets ingest). May be repeated.",
)
@click.option(
    "--catalog",
    type=LocalPath(file_okay=False, exists=True),
    multiple=True,
    metavar="DIR",
    help="Catalogue whose STAC collections to serve (eechips catalog, eechips catalog ingest). May be repeated.",
)
@click.option(
    "--catalog-files",
    type=LocalPath(file_okay=False, exists=True),
    multiple=True,
    metavar="DIR",
    help="Folder whose files catalogues may refer to, besides their own. May be repeated.",
)
@click.option("--archive", multiple=True, metavar=ARCHIVE.metavar, help=ARCHIVE.help)
@click.option("--demo", is_flag=True, help="Serve the demo planet; the default without other assets.")
@click.option(
    "--allow-remote", is_flag=True, help="Also read files on web servers and, of catalogues, in object stores."
)
@_server_options
@recording_options
@click.option("--coverage", is_flag=True, help="Print the number of implemented functions by class, and exit.")
@debug_option
def serve_command(
    port: int,
    assets: tuple[Path, ...],
    catalog: tuple[Path, ...],
    catalog_files: tuple[Path, ...],
    archive: tuple[str, ...],
    demo: bool,
    allow_remote: bool,
    record: Path | None,
    upstream: str | None,
    credentials: Path | None,
    send_credentials: bool,
    replay: Path | None,
    fill: bool,
    compare: Path | None,
    tolerance: float | None,
    as_json: bool,
    coverage: bool,
    **given: str | None,
) -> None:
    """Serve a local Earth Engine on the loopback interface until Ctrl-C, and print its URL.

    In a browser, the URL shows a page: assets, requests, slots in use, tasks and a map.
    Any Earth Engine script can use it: ee.Initialize(credentials, url=URL, project="local").
    Quota and limits are those of Earth Engine (in brackets below) unless others are given.

    \b
    Examples:
      eechips-local serve --demo
      eechips-local serve --assets my_assets --port 9000
      eechips-local serve --demo-datasets all
      eechips-local serve --catalog outputs/data/catalog
      eechips-local serve --catalog scenes --allow-remote
      eechips-local serve --archive earth-search
      eechips-local serve --record my_recording
      eechips-local serve --replay my_recording --fill
      eechips-local serve --compare my_recording --json
      eechips-local serve --concurrency 10 --rate 20 --latency lognormal:0.9,0.5
      EECHIPS_ENDPOINT=http://127.0.0.1:9000 eechips sample --dataset NAIP --per-ecoregion 5
    """
    from eechips_local.stores import StoreConfig, StoreError

    if coverage:
        from eechips_local.evaluation.function_coverage import coverage as counted
        from eechips_local.evaluation.function_coverage import summary

        echo_lines(summary(counted()).rstrip("\n").split("\n"))
        return
    recording = RecordingOptions(
        record, upstream, credentials, send_credentials, replay, fill, compare, tolerance, as_json
    )
    recording.check(has_assets=bool(demo or assets or catalog or archive or given["demo_datasets"]))
    is_demo = demo or not (assets or catalog or archive)
    try:
        archives = find_archives(archive)
        store = StoreConfig(assets, is_demo, allow_remote, catalog, catalog_files, archives=archives)
    except (OptionError, StoreError) as error:
        raise click.UsageError(str(error)) from error
    _serve(port, store, given, recording)


def _serve(port: int, store: StoreConfig, given: dict[str, str | None], recording: RecordingOptions) -> None:
    from eechips_local.functions.registration import RegistrationError
    from eechips_local.page.page_files import page_files
    from eechips_local.server import ServerConfig, serve
    from eechips_local.stores import StoreError

    try:
        config = configured(ServerConfig(port=port, store=store), given)
        if recording.is_used:
            serve_recording(recording, config, _announce)
        else:
            serve(replace(config, files=page_files()), announce=_announce_with_page)
    except (OptionError, StoreError) as error:
        raise click.UsageError(str(error)) from error
    except RegistrationError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"cannot listen on port {port}: {error.strerror or error}") from error


def _announce(url: str) -> None:
    echo(f"The local Earth Engine is at {url} (stop it with Ctrl-C)")


def _announce_with_page(url: str) -> None:
    _announce(url)
    echo("The same address in a browser shows its assets, requests, tasks and a map")
