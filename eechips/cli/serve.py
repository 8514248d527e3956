"""``eechips serve``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from eechips.cli.command import VerbCommand
from eechips.cli.group import OneSentence
from eechips.cli.options import HELP, FunctionT, debug_option
from eechips.emulator.options import OPTIONS, OptionError, configured

if TYPE_CHECKING:
    from eechips.emulator.stores import StoreConfig


def _server_options(command: FunctionT) -> FunctionT:
    """Add the options that the server defines, as texts."""
    for option in reversed(OPTIONS):
        command = click.option(f"--{option.name}", metavar=option.metavar, help=option.help)(command)
    return command


@click.command("serve", cls=VerbCommand, context_settings=HELP)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Port; 0 for any free one."
)
@click.option(
    "--assets",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    multiple=True,
    metavar="DIR",
    help="Folder of assets to serve (eechips assets ingest). May be repeated.",
)
@click.option(
    "--catalog",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    multiple=True,
    metavar="DIR",
    help="Catalogue whose STAC collections to serve (eechips catalog, eechips catalog ingest). May be repeated.",
)
@click.option(
    "--catalog-files",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    multiple=True,
    metavar="DIR",
    help="Folder whose files catalogues may refer to, besides their own. May be repeated.",
)
@click.option("--demo", is_flag=True, help="Serve the demo planet; the default without other assets.")
@click.option(
    "--allow-remote", is_flag=True, help="Also read files on web servers and, of catalogues, in object stores."
)
@_server_options
@click.option("--coverage", is_flag=True, help="Print the number of implemented functions by class, and exit.")
@debug_option
def command(
    port: int,
    assets: tuple[Path, ...],
    catalog: tuple[Path, ...],
    catalog_files: tuple[Path, ...],
    demo: bool,
    allow_remote: bool,
    coverage: bool,
    **given: str | None,
) -> None:
    """Serve a local Earth Engine on the loopback interface until Ctrl-C, and print its URL.

    Any Earth Engine script can use it: ee.Initialize(credentials, url=URL, project="local").
    Quota and limits are those of Earth Engine (in brackets below) unless others are given.

    \b
    Examples:
      eechips serve --demo
      eechips serve --assets my_assets --port 9000
      eechips serve --catalog outputs/data/catalog
      eechips serve --catalog scenes --allow-remote
      eechips serve --concurrency 10 --rate 20 --latency lognormal:0.9,0.5
      EECHIPS_ENDPOINT=http://127.0.0.1:9000 eechips sample --dataset NAIP --per-ecoregion 5
    """
    from eechips.emulator.stores import StoreConfig, StoreError

    try:
        if coverage:
            from eechips.emulator.coverage import coverage as counted
            from eechips.emulator.coverage import summary

            click.echo(summary(counted()), nl=False)
        else:
            is_demo = demo or not (assets or catalog)
            try:
                store = StoreConfig(assets, is_demo, allow_remote, catalog, catalog_files)
            except StoreError as error:
                raise click.UsageError(str(error)) from error
            _serve(port, store, given)
    except ModuleNotFoundError as error:
        raise OneSentence(f"{error.name} is not installed: pip install 'eechips[local]'") from error


def _serve(port: int, store: StoreConfig, given: dict[str, str | None]) -> None:
    from eechips.emulator.functions.registry import RegistrationError
    from eechips.emulator.server import ServerConfig, serve
    from eechips.emulator.stores import StoreError

    try:
        config = configured(ServerConfig(port=port, store=store), given)
        serve(config, announce=_announce)
    except (OptionError, StoreError) as error:
        raise click.UsageError(str(error)) from error
    except RegistrationError as error:
        raise OneSentence(str(error)) from error
    except OSError as error:
        raise OneSentence(f"cannot listen on port {port}: {error.strerror or error}") from error


def _announce(url: str) -> None:
    click.echo(f"The local Earth Engine is at {url} (stop it with Ctrl-C)")
