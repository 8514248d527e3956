"""Classifiers, clusterers, confusion matrices."""
