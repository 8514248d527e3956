"""Render pixels, and encode them in the service's file formats."""
