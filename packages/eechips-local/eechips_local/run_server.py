"""Run the server for one run: ``python -m eechips_local.run_server``. The parent process starts and ends it."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eechips_local.deferred_imports import defer_imports
from eechips_local.functions.registration import RegistrationError
from eechips_local.server_options import ARCHIVE, OPTIONS, OptionError, configured, find_archives
from eechips_local.stores import StoreConfig, StoreError

if TYPE_CHECKING:
    from eechips_local.server import ServerConfig


def create_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m eechips_local.run_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 for any that is free")
    parser.add_argument("--assets", type=Path, action="append", default=[], help="asset folder; may be repeated")
    parser.add_argument("--catalog", type=Path, action="append", default=[], help="catalogue; may be repeated")
    parser.add_argument(
        "--catalog-files", type=Path, action="append", default=[], help="folder of files that catalogues refer to"
    )
    parser.add_argument(
        "--demo", action=argparse.BooleanOptionalAction, default=True, help="also serve the synthetic demo planet"
    )
    parser.add_argument("--archive", action="append", default=[], metavar=ARCHIVE.metavar, help=ARCHIVE.help)
    parser.add_argument("--allow-remote", action="store_true", help="read assets' files on web servers")
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when standard input ends")
    parser.add_argument(
        "--stubs-file", type=Path, help="append the ids of datasets whose stubs are loaded to this file, one a line"
    )
    parser.add_argument("--key", type=Path, help="write the key of a service account of this server to this file")
    for option in OPTIONS:
        parser.add_argument(f"--{option.name}", metavar=option.metavar, help=option.help)
    return parser


def read_config(arguments: Mapping[str, Any]) -> ServerConfig:
    """Return the configuration that arguments stand for.

    Args:
        arguments: the parsed arguments by name.

    Raises:
        OptionError: if a value cannot be used.
    """
    from eechips_local.server import ServerConfig

    store = StoreConfig(
        tuple(arguments["assets"]),
        arguments["demo"],
        arguments["allow_remote"],
        tuple(arguments["catalog"]),
        tuple(arguments["catalog_files"]),
        archives=find_archives(arguments["archive"]),
    )
    names = (option.name.replace("-", "_") for option in OPTIONS)
    config = ServerConfig(port=arguments["port"], store=store, stubs_file=arguments["stubs_file"], key=arguments["key"])
    return configured(config, {name: arguments[name] for name in names})


def main() -> None:
    """Read the arguments and serve."""
    gc.set_threshold(10_000)  # nearly all that is imported stays
    defer_imports()
    from eechips_local.server import serve, wait_for_parent

    parser = create_parser()
    arguments = vars(parser.parse_args())
    try:
        serve(read_config(arguments), wait_for_end=wait_for_parent if arguments["exit_with_parent"] else None)
    except (OptionError, RegistrationError, StoreError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
