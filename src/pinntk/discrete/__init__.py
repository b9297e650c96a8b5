"""Difference schemes on space-time grids, and their preconditioners."""
