"""Run the command line: ``python -m eechips_local``."""

from eechips_local.cli import main

main(prog_name="eechips-local")
