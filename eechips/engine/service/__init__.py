"""Connect a run to its service, check it beforehand, and start a local one."""
