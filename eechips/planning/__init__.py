"""Plan units: regions, samplers and pixel grids, computed in as few requests as possible.

Fetching of results belongs to :mod:`eechips.engine`; coordinate reference systems and grids without requests to
:mod:`eechips.geo`.
"""
