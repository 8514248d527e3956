"""Lay out, merge and commit the partitions of a catalogue, and index the ids in them."""
