"""Figures of the book: one style, and pictures that react."""
