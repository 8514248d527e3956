"""What carries units out: processes of this machine, its threads, or a cluster."""
