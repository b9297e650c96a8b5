"""More complex problems."""
