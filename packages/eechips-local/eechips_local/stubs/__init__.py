"""Stubs: synthetic assets for datasets that the demo planet does not paint, made from descriptions of the datasets.

A stub has the id, the bands, the types, the pixel size and the dates of its dataset. Its pixels follow from the land of
the demo planet; no measured data belong here.
"""
