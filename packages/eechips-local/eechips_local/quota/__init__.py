"""Count requests and compute, and enforce a project's quota."""
