"""The built-in recipes, one for each command that fetches, and the commands as Python functions.

Command-line options belong to :mod:`eechips.cli`; running a recipe to :mod:`eechips.engine`.
"""
