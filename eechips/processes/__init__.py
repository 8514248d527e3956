"""What a process sets for itself: its children, its threads and its warnings."""
