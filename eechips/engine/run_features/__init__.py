"""Run features: each takes part in a run by events, and the scheduler knows none of them."""
