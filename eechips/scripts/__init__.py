"""Run existing scripts unchanged: each item passed to one of their pools becomes a unit of the run."""
