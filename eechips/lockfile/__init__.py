"""Lockfiles: what a run needs to be fetched again, and how the new results differ from the old ones.

Fetching belongs into :mod:`eechips.engine`. What is here reads runs and lockfiles, stores the plan of a lockfile in a
ledger, and compares.
"""
