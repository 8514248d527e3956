"""The ledger of a run in SQLite: the record of every unit."""
