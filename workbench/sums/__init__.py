"""Sums of vectors: checked, composed, baked, converted, proved again."""
