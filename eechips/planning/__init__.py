"""The planner: regions, samplers and grids, asked from the server in as few requests as can be."""
