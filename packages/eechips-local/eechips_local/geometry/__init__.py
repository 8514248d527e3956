"""Measure, combine and project geometries on the ellipsoid."""
