"""The recipe of ``eechips sample``: image chips at places."""
