"""Keep the requests of processes, runs and machines within a project's quota."""
