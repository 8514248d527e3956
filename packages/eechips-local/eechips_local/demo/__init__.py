"""The demo planet: realistic land, computed on request.

Every value is a function of the place (and the date, for what changes), so any window equals the same part of any
larger one, on every machine. ``demo_store.DemoStore`` serves it under the ids of Earth Engine's catalogue;
``ground_cover`` paints the ground that all sensors share. It is synthetic and says so: no measured data belong here.
"""

from eechips_local.demo.demo_store import DemoStore

__all__ = ["DemoStore"]
