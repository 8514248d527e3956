"""Run the server for one run: ``python -m eechips.emulator``. The parent process starts and ends it."""

from __future__ import annotations

import argparse
from pathlib import Path

from eechips.emulator.functions.registration import RegistrationError
from eechips.emulator.server import ServerConfig, serve
from eechips.emulator.server_options import OPTIONS, OptionError, configured
from eechips.emulator.stores import StoreConfig, StoreError


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m eechips.emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 for any that is free")
    parser.add_argument("--assets", type=Path, action="append", default=[], help="asset folder; may be repeated")
    parser.add_argument("--catalog", type=Path, action="append", default=[], help="catalogue; may be repeated")
    parser.add_argument(
        "--catalog-files", type=Path, action="append", default=[], help="folder of files that catalogues refer to"
    )
    parser.add_argument(
        "--demo", action=argparse.BooleanOptionalAction, default=True, help="also serve the synthetic demo planet"
    )
    parser.add_argument("--allow-remote", action="store_true", help="read assets' files on web servers")
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when standard input ends")
    for option in OPTIONS:
        parser.add_argument(f"--{option.name}", metavar=option.metavar, help=option.help)
    given = vars(parser.parse_args())
    try:
        base = ServerConfig(
            port=given["port"],
            store=StoreConfig(
                tuple(given["assets"]),
                given["demo"],
                given["allow_remote"],
                tuple(given["catalog"]),
                tuple(given["catalog_files"]),
            ),
            exit_with_parent=given["exit_with_parent"],
        )
        config = configured(base, {name: given[name] for name in (option.name.replace("-", "_") for option in OPTIONS)})
        serve(config)
    except (OptionError, RegistrationError, StoreError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
