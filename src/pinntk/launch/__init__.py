"""The command line, sweeps and their launchers."""
