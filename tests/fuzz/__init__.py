"""Fuzzers: random inputs, and what must hold for all of them. See budget.py."""
