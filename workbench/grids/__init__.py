"""Grids of pictures: their axes, their cells, and the files they are given out as."""
