"""The phases of which plans are made: one optimiser each, with its settings."""
