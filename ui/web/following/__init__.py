"""The parts of the Jobs page: one job, and the form of a new training."""
