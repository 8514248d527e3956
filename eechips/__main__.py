"""``python -m eechips`` is the command ``eechips``."""

from eechips.cli import main

if __name__ == "__main__":
    main()
