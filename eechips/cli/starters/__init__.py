"""Recipes to start from, one for each kind of work unit: ``eechips init`` writes them."""
