"""Training and its workers."""
