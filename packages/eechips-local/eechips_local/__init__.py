"""A local Earth Engine: the REST protocol and the expression graphs, over local rasters, tables and a demo planet.

Nothing here imports from the rest of eechips, and nothing but the command line and the tests imports this:
shared grid code would hide shared mistakes.
"""
