"""The parts of the Compose page: its address, its terms, their verdict, the picture, and what is kept of it."""
