"""Draw places at random, on grids, and in strata."""
