"""Fetch image chips and time series from Google Earth Engine in large numbers.

The commands of the command line are functions here, with the same names and options::

    import eechips

    run = eechips.sample("NAIP", per_ecoregion=25, local=True)
    run.units, run.failures

``__init__.pyi`` declares the names. They are imported when they are first used, so that ``import eechips`` is fast.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
