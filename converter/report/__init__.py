"""What people see: the live lines of a run, the closing table, listings, and the benchmark."""
