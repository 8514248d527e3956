"""What happened to every unit: the ledger while a run goes on, its export, and the run as seen afterwards."""
