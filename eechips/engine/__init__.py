"""Run recipes: plan the units, have workers fetch them, and record the results.

The entry point is :func:`eechips.engine.run.run`. Nothing is imported here: a help text needs the options of
``RunConfig`` alone."""
