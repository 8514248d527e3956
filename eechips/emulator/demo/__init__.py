"""The demo planet: land that looks like land, computed when it is looked at.

Every value is a function of the place (and the date, for what changes), so any window equals the same part of any
larger one, on every machine. ``store.DemoStore`` hands it out under the ids of Earth Engine's catalogue; ``cover``
paints the ground that all sensors share.
"""

from eechips.emulator.demo.store import DemoStore

__all__ = ["DemoStore"]
