"""Scripts that people have already: executed as they are, with what they give their pools fetched as units of a run."""
