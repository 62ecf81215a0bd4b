"""Faces: what people touch. No logic lives here; everything is a use case of `workbench`."""
