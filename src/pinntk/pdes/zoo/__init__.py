"""Further problems, one file each, and the numerical methods that solve them for comparison."""
