"""The guided main job on the shipped shapes world, and its report."""
