"""Split a run into training, validation and test sets without leakage."""
