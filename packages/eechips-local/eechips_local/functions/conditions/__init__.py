"""Filters and joins."""
