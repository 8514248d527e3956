"""Questions that only Earth Engine itself can answer, and what is expected of its answers.

A probe is an entry of a tuple: a name, a question, a few lines that ask it with the real client, the expected answer,
and the fact of the documentation that the answer confirms. ``eechips-local record-service`` asks them all.
"""
