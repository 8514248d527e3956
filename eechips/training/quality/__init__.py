"""Check the pixels of a run, flag defects, and compute statistics."""
