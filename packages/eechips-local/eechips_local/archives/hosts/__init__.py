"""Ask hosts: which are allowed, with which credentials, how often."""
