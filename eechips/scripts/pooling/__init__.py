"""Pools whose calls are units of a run, in the place of a script's own."""
