"""Data encoding and expressive power: Schuld, Sweke and Meyer, Phys. Rev. A 103, 032430 (2021)."""
