"""Commit results, record them, and assemble them."""
