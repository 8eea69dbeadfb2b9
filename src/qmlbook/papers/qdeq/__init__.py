"""The QDEQ paper: Quantum deep equilibrium models (NeurIPS 37, 2024)."""
