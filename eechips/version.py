"""Say which version of eechips is installed."""

from importlib.metadata import version

__version__ = version("eechips")
