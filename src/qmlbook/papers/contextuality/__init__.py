"""Contextuality: Arbitrary polynomial separations in trainable QML (Quantum 10, 1976, 2026)."""
