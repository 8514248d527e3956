"""Run existing scripts unchanged: each call of one of their pools becomes a unit of the run.

Recipes of two functions belong to :mod:`eechips.recipe`.
"""
