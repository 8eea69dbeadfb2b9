"""The C2Q paper: Classical-to-quantum convolutional network transfer learning (2023)."""
