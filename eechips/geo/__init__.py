"""Coordinate reference systems, pixel grids, and polygons in longitude and latitude.

Everything here is computed on this machine and sends no request. Planning of chips and tiles belongs to
:mod:`eechips.planning`.
"""
