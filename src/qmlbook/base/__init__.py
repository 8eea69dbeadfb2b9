"""What every room stands on: errors, paths, files, random streams."""
