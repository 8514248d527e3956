"""Functions of numbers, texts, lists, dictionaries, dates, arrays and other values."""
