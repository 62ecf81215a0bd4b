"""Bytes by what they hold: the stores, the way into them, and where else a file may lie."""
