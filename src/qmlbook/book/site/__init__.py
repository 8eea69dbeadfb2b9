"""The HTML book: staging, building, and the Sphinx extensions of its pages."""
