"""Make, store, compare and extend the plan of a run."""
