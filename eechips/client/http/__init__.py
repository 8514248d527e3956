"""Send HTTP requests, and make sure that each receives its own response."""
