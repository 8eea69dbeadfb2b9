"""The KL-SSL paper: Self-supervision with quantum classifiers (NOLTA 16(3), 2025)."""
