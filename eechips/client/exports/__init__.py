"""Export results by batch tasks."""
