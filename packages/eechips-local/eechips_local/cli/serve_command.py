"""Serve a local Earth Engine: ``eechips-local serve``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from eechips_local.cli.console import HELP, LocalPath, debug_option, echo, echo_lines
from eechips_local.cli.served_options import announce, port_option, served_options, server_config, server_errors


@click.command("serve", context_settings=HELP)
@port_option
@served_options
@click.option(
    "--key",
    type=LocalPath(dir_okay=False),
    metavar="FILE",
    help="Write the key of a service account of this server to FILE, for clients that take one. Only this user can read"
    " it.",
)
@click.option("--coverage", is_flag=True, help="Print the number of implemented functions by class, and exit.")
@debug_option
def serve_command(port: int, key: Path | None, coverage: bool, **options: Any) -> None:
    """Serve a local Earth Engine on the loopback interface until Ctrl-C, and print its URL.

    In a browser, the URL shows a page: assets, requests, slots in use, tasks and a map.
    Any Earth Engine script can use it: ee.Initialize(credentials, url=URL, project="eechips-local").
    Requests need no credentials. With --key, access tokens that a request carries must be this server's.
    Quota and limits are those of Earth Engine (in brackets below) unless others are given.

    \b
    Examples:
      eechips-local serve --demo
      eechips-local serve --assets my_assets --port 9000
      eechips-local serve --demo-datasets all
      eechips-local serve --key local.json
      eechips-local serve --catalog outputs/data/catalog
      eechips-local serve --catalog scenes --allow-remote
      eechips-local serve --archive earth-search
      eechips-local serve --concurrency 10 --rate 20 --latency lognormal:0.9,0.5
      EECHIPS_ENDPOINT=http://127.0.0.1:9000 eechips sample --dataset NAIP --per-ecoregion 5
    """
    if coverage:
        from eechips_local.evaluation.function_coverage import coverage as counted
        from eechips_local.evaluation.function_coverage import summary

        echo_lines(summary(counted()).rstrip("\n").split("\n"))
        return
    from eechips_local.page.page_files import page_files
    from eechips_local.server import serve

    config = server_config(port, options)
    with server_errors(port):
        serve(replace(config, files=page_files(), key=key), announce=_announce_with_page)


def _announce_with_page(url: str) -> None:
    announce(url)
    echo("The same address in a browser shows its assets, requests, tasks and a map")
