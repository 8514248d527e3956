"""``eechips serve``."""

from __future__ import annotations

from pathlib import Path

import click

from eechips.cli.group import OneSentence
from eechips.cli.options import HELP, debug_option


@click.command("serve", context_settings=HELP)
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes any free port.")
@click.option(
    "--assets",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    multiple=True,
    metavar="DIR",
    help="Folder of assets to serve (eechips assets ingest); may be repeated.",
)
@click.option("--demo", is_flag=True, help="The demo planet; also what is served where --assets is not given.")
@debug_option
def command(port: int, assets: tuple[Path, ...], demo: bool) -> None:
    """Serve a local Earth Engine on loopback until Ctrl-C; print its URL.

    Point any Earth Engine script at it: ee.Initialize(credentials, url=URL, project="local").

    \b
    Examples:
      eechips serve --demo
      eechips serve --assets my_assets --port 9000
      EECHIPS_ENDPOINT=http://127.0.0.1:9000 eechips sample --dataset NAIP --per-ecoregion 5
    """
    from eechips.emulator.server import ServerConfig, serve
    from eechips.emulator.stores import StoreConfig

    store = StoreConfig(folders=assets, demo=demo or not assets)
    try:
        serve(ServerConfig(port=port, store=store), announce=_announce)
    except OSError as error:
        raise OneSentence(f"cannot listen on port {port}: {error.strerror or error}") from error


def _announce(url: str) -> None:
    click.echo(f"The local Earth Engine answers at {url} (Ctrl-C stops it)")
