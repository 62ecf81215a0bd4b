"""Searches: the language, what it means, and how each database answers it."""
