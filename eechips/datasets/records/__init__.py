"""The records of eechips: one TOML file for each dataset, named by its alias in lower case."""
