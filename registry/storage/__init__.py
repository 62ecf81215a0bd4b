"""Keeping rows and bytes in agreement: garbage collection, the consistency check, relinking."""
