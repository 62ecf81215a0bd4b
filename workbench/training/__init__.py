"""Trainings: what is ordered, looked over before it starts, and run; and the data."""
