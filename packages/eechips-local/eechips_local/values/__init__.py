"""Define the values of expressions, and convert, compare and format them."""
