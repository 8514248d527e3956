"""``eechips serve``."""

from __future__ import annotations

from pathlib import Path

import click

from eechips.cli.options import HELP, debug_option


@click.command("serve", context_settings=HELP)
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes any free port.")
@click.option(
    "--assets",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Folder of assets to serve (eechips assets ingest).",
)
@click.option("--demo", is_flag=True, help="The demo planet; also what is served where --assets is not given.")
@debug_option
def command(port: int, assets: Path | None, demo: bool) -> None:
    """Serve a local Earth Engine on loopback until Ctrl-C; print its URL.

    Point any Earth Engine script at it: ee.Initialize(credentials, url=URL, project="local").

    \b
    Examples:
      eechips serve --demo
      eechips serve --assets my_assets --port 9000
      EECHIPS_ENDPOINT=http://127.0.0.1:9000 eechips sample --dataset NAIP --per-ecoregion 5
    """
    from eechips.emulator.server import ServerConfig, serve

    serve(ServerConfig(port=port, assets=assets, demo=demo or assets is None))
