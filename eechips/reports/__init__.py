"""What a finished run looks like. Reads its manifest and its files, and asks nobody."""
