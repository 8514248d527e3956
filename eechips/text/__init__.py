"""Text for people: quantities, safe lines, times, suggestions, records of logs."""
