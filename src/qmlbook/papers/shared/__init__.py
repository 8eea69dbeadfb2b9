"""What several papers need, once."""
