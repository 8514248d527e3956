"""Train on a run while it is fetched."""
