"""Functions of geometries, features and their collections."""
