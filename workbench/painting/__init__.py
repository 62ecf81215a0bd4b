"""Pictures of what a recipe paints: how, where, by whom, and painted again from themselves."""
