"""The queue as people see it, and the workers on this machine."""
