"""The parts of the Grid page."""
