"""The QSSL paper: Quantum self-supervised learning (Quantum Sci. Technol. 7, 2022)."""
