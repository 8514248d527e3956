"""Tests of eechips."""
