"""Fetch neighbouring units by shared requests."""
