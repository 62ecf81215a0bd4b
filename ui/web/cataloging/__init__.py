"""The parts of the Catalog page."""
