"""Measure, estimate and forecast what requests and units cost."""
