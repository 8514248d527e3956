"""Render chips of a run as small pictures."""
