"""Claims, statistics, run records, sweeps and the report."""
