"""Run the command ``eechips``: ``python -m eechips``."""

from eechips.cli import main

if __name__ == "__main__":
    main()
