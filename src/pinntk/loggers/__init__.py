"""Loggers: metrics.csv, Weights & Biases, TensorBoard. Each module is imported by its own name, as it is chosen."""
