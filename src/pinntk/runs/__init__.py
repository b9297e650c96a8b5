"""One run: its settings, its folder, its training, its result."""
