"""Replace parts of libraries while a script runs."""
