"""Evaluate expression graphs: values, functions by their signatures, workers."""
