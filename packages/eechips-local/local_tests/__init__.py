"""Tests of the local Earth Engine."""
