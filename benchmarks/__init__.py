"""Measurements beside rivals and the reproduction of the main claim. Never shipped."""
