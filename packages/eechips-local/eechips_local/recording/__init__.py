"""Record responses of an Earth Engine service, replay them without it, and compare them with local evaluation.

A recording is a folder of pretty JSON files, one for each request, with binary responses beside them. Requests are
found by a hash of their canonical form, so that equal requests of different clients are one.
"""
