"""The command ``earthengine`` of the client, in this process, with the connection that tests have."""

from __future__ import annotations

import argparse

from ee.cli import eecli, utils


class _Config(utils.CommandLineConfig):
    def ee_init(self) -> None:
        """Keep the connection: the command would look for an account."""


def earthengine(*arguments: str) -> None:
    """Run the command with arguments, as its ``main`` does."""
    parser = argparse.ArgumentParser(prog="earthengine")
    dispatcher = eecli.CommandDispatcher(parser)
    dispatcher.run(parser.parse_args(arguments), _Config())
